"""A study file: what to measure, as YAML. Options of `servewatt run` override it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from servewatt.cli.options import flag_of
from servewatt.errors import InputError, nearest
from servewatt.file_kinds import recognise
from servewatt.records import Boundary, Procedure, Provider, Stop, Via


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


Place = tuple[int | str, ...]
"""Where in a study file something stands: keys, and numbers of entries in a list."""

Names = Annotated[list[str], BeforeValidator(_as_list)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=False)


class ModelPart(_Strict):
    """Which model."""

    name: str = "bundled"
    weights: Literal["trained", "random"] = "trained"
    revision: str | None = None
    seed: int = 0


class WorkloadPart(_Strict):
    """Which prompts, and how much of an answer."""

    prompts: str = "bundled"
    limit: int | None = Field(default=None, ge=1)
    new_tokens: int = 64
    stop: Stop = Stop.LENGTH


class ConfigurationPart(_Strict):
    """Configurations: the named ones, or else the product of these lists, less what an engine cannot do."""

    named: Names | None = None
    """By name, as reports write it. What a name leaves out comes from the lists."""
    engines: Names | None = None
    """None means every installed engine."""
    providers: Annotated[list[Provider], BeforeValidator(_as_list)] | None = None
    """None means cpu, and cuda where a GPU is found."""
    precisions: Names = ["fp32"]
    batches: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], BeforeValidator(_as_list)] = [1]
    via: Annotated[list[Via], BeforeValidator(_as_list)] = [Via.PROCESS]
    threads: int | None = Field(default=None, ge=1)
    options: dict[str, str | int | float | bool] = {}


class ProcedurePart(_Strict):
    """How to measure; see docs/method.md."""

    blocks: int = Field(default=Procedure.blocks, ge=1, le=1000)
    seed: int = Procedure.seed
    settle_s: float = Field(default=Procedure.settle_s, ge=0)
    idle_s: float = Field(default=Procedure.idle_s, gt=0)
    window_s: float = Field(default=Procedure.window_s, gt=0)
    warmup_s: float = Field(default=Procedure.warmup_s, ge=0)
    timeout_s: float = Field(default=Procedure.timeout_s, gt=0)
    foreign_limit: float = Field(default=Procedure.foreign_limit, gt=0, le=1)
    retries: int = Field(default=Procedure.retries, ge=0, le=20)
    sample_interval_s: float = Field(default=Procedure.sample_interval_s, ge=0.02)
    meters: Names = []
    cpu_watts: tuple[float, float] | None = None
    boundary: Boundary = Boundary.MACHINE

    def procedure(self) -> Procedure:
        """The record the harness reads."""
        return Procedure(**{**self.model_dump(), "meters": tuple(self.meters)})


class RunFile(_Strict):
    """A whole study file."""

    model: ModelPart = ModelPart()
    workload: WorkloadPart = WorkloadPart()
    configurations: ConfigurationPart = ConfigurationPart()
    procedure: ProcedurePart = ProcedurePart()


def read(path: Path) -> RunFile:
    """The study file at `path`.

    Raises InputError for a file that cannot be read, is not YAML, or has an unknown key or a wrong value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "give the path of a study file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        if (other := recognise(path)) is not None:
            raise InputError(f"{path} is {other[0]}, not a study file", other[1]) from error
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}", "see examples/demo.yaml") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path} holds no mapping", "see examples/demo.yaml")
    return validate(content or {}, str(path))


def validate(content: dict[str, Any], source: str) -> RunFile:
    """`content` as a study file; InputError names the first wrong key or value and the nearest known key."""
    return _validate(content, lambda place: f"{source}: {'.'.join(map(str, place))}")


def validate_options(content: dict[str, Any]) -> RunFile:
    """What a command's options say, as a study file; InputError names the option whose value is wrong."""
    return _validate(content, flag_of)


def _validate(content: dict[str, Any], called: Callable[[Place], str]) -> RunFile:
    try:
        return RunFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        if first["type"] == "extra_forbidden":
            name = ".".join(map(str, place))
            hint = nearest(str(place[-1]), list(_part(place[:-1]).model_fields))
            raise InputError(f"{called(place).removesuffix(name)}unknown key {name!r}", hint) from error
        raise InputError(f"{called(place)}: {_fault(first)}", _form(first)) from error


_RULES: Mapping[str, str] = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
}
"""What a value must be, by pydantic's types of errors, with what it tells of each."""


def _fault(error: ErrorDetails) -> str:
    """What is wrong with a value, in plain words."""
    found = error["input"]
    if error["type"] == "missing":
        return "is missing"
    if rule := _RULES.get(error["type"]):
        wanted = rule.format(**error.get("ctx", {})).replace("'", "")
    else:
        wanted = error["msg"].replace("Input should", "must", 1)
    if found in (None, ""):
        return f"{wanted}, and is empty"
    return f"{wanted}, not {found:g}" if isinstance(found, float) else f"{wanted}, not {found}"


def _form(error: ErrorDetails) -> str:
    """How to write a part of a study file that was given as a single value."""
    if error["type"] == "dict_type":
        return f"write it as `{error['loc'][-1]}: {{NAME: VALUE}}`"
    if error["type"] != "model_type":
        return ""
    part = _part(error["loc"])
    first, field = next(iter(part.model_fields.items()))
    try:
        part.model_validate({first: error["input"]})
        value = error["input"]
    except ValidationError:
        value = field.default
    return f"write it as `{error['loc'][-1]}: {{{first}: {value}}}`"


def _part(place: Place) -> type[BaseModel]:
    """The part of a study file at `place`."""
    part: type[BaseModel] = RunFile
    for name in place:
        annotation = part.model_fields[str(name)].annotation
        assert isinstance(annotation, type)
        part = annotation
    return part

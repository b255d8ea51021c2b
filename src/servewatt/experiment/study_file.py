"""A study file: what to measure, as YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from servewatt.errors import InputError, nearest
from servewatt.experiment.ranges import RANGES
from servewatt.experiment.yaml_text import read_yaml
from servewatt.file_kinds import recognise
from servewatt.input_files import read_text, shown
from servewatt.records import Boundary, Procedure, Provider, Race, Stop, Via

DEFAULT_BUDGET_S = 1800.0
_MOST_BYTES = 2**20
"""Of a study file."""
_LONGEST_TEXT = 4096
_LONGEST_TOLD = 60
"""Characters of a wrong value that are repeated to its user."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _providers(value: Any) -> Any:
    return None if value in ("all", ["all"]) else _as_list(value)


Place = tuple[int | str, ...]
"""Where in a study file something stands: keys, and numbers of entries in a list."""


def _short(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        raise PydanticCustomError("text_too_long", f"must have at most {_LONGEST_TEXT} characters")
    return text


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("text_not_unicode", "must be text in UTF-8") from error
    return text


PathText = Annotated[str, AfterValidator(_short)]
"""The name of a file may be of any bytes; those that are not UTF-8 are surrogates here."""
Text = Annotated[PathText, AfterValidator(_unicode)]
Names = Annotated[list[Text], BeforeValidator(_as_list)]
_Some = Field(min_length=1)


def _range(part: str, field: str) -> Any:
    return RANGES[part, field].check()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=False, allow_inf_nan=False)


class ModelPart(_Strict):
    """Which model."""

    name: PathText = "bundled"
    weights: Literal["trained", "random"] = "trained"
    revision: Text | None = None
    seed: Annotated[int, _range("model", "seed")] = 0


class WorkloadPart(_Strict):
    """Which prompts, and how much of an answer."""

    prompts: PathText = "bundled"
    limit: Annotated[int, _range("workload", "limit")] | None = None
    new_tokens: Annotated[int, _range("workload", "new_tokens")] = 64
    stop: Stop = Stop.LENGTH


class ConfigurationPart(_Strict):
    """Configurations: the named ones, or else the product of these lists, less what an engine cannot do."""

    named: Names | None = None
    """By name, as reports write it. What a name leaves out comes from the lists."""
    engines: Names | None = None
    """None means every installed engine, as `all` does among the names."""
    providers: Annotated[list[Provider] | None, BeforeValidator(_providers)] = None
    """None, or `all`, means cpu, and cuda where a GPU is found."""
    precisions: Annotated[Names, _Some] = ["fp32"]
    batches: Annotated[list[Annotated[int, _range("configurations", "batches")]], _Some, BeforeValidator(_as_list)] = [
        1
    ]
    via: Annotated[list[Via], _Some, BeforeValidator(_as_list)] = [Via.PROCESS]
    threads: Annotated[int, _range("configurations", "threads")] | None = None
    options: dict[Text, Text] = {}


def _watts_in_order(watts: tuple[float, float]) -> tuple[float, float]:
    if not watts[0] < watts[1]:
        raise PydanticCustomError("watts_order", "must be the watts idle and then the larger ones at full load")
    return watts


class ProcedurePart(_Strict):
    """How to measure; see docs/explanation/joule.md."""

    blocks: Annotated[int, _range("procedure", "blocks")] = Procedure.blocks
    seed: Annotated[int, _range("procedure", "seed")] = Procedure.seed
    settle_s: Annotated[float, _range("procedure", "settle_s")] = Procedure.settle_s
    idle_s: Annotated[float, _range("procedure", "idle_s")] = Procedure.idle_s
    window_s: Annotated[float, _range("procedure", "window_s")] = Procedure.window_s
    warmup_s: Annotated[float, _range("procedure", "warmup_s")] = Procedure.warmup_s
    timeout_s: Annotated[float, _range("procedure", "timeout_s")] = Procedure.timeout_s
    foreign_limit: Annotated[float, _range("procedure", "foreign_limit")] = Procedure.foreign_limit
    retries: Annotated[int, _range("procedure", "retries")] = Procedure.retries
    sample_interval_s: Annotated[float, _range("procedure", "sample_interval_s")] = Procedure.sample_interval_s
    meters: Names = []
    cpu_watts: (
        Annotated[
            tuple[
                Annotated[float, _range("procedure", "cpu_watts")], Annotated[float, _range("procedure", "cpu_watts")]
            ],
            AfterValidator(_watts_in_order),
        ]
        | None
    ) = None
    boundary: Boundary = Boundary.MACHINE
    slice_s: Annotated[float, _range("procedure", "slice_s")] = Procedure.slice_s

    def procedure(self) -> Procedure:
        """The record the harness reads."""
        return Procedure(**{**self.model_dump(), "meters": tuple(self.meters)})


class RacePart(_Strict):
    """When to stop measuring, where `procedure.blocks` does not say it."""

    budget_s: Annotated[float, _range("race", "budget_s")] = DEFAULT_BUDGET_S
    tie: Annotated[float, _range("race", "tie")] = Race.tie
    confidence: Annotated[float, _range("race", "confidence")] = Race.confidence
    twin: bool | None = None

    def race(self) -> Race:
        """The record the harness reads."""
        return Race(**self.model_dump())


class StudyFile(_Strict):
    """A whole study file."""

    model: ModelPart = ModelPart()
    workload: WorkloadPart = WorkloadPart()
    configurations: ConfigurationPart = ConfigurationPart()
    procedure: ProcedurePart = ProcedurePart()
    race: RacePart = RacePart()


def read(path: Path) -> StudyFile:
    """The study file at `path`.

    Raises InputError for a file that cannot be read, is not YAML, or has an unknown key or a wrong value.
    """
    if (other := recognise(path)) is not None:
        raise InputError(f"{shown(path)} is {other[0]}, not a study file", other[1])
    content = read_yaml(read_text(path, "give the path of a study file", most_bytes=_MOST_BYTES), path)
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{shown(path)} holds no mapping", "see examples/demo.yaml")
    return validate(content or {}, shown(path))


def validate(content: dict[str, Any], source: str) -> StudyFile:
    """`content` as a study file; InputError names the first wrong key or value and the nearest known key."""
    return check(content, lambda place: f"{source}: {'.'.join(map(str, place))}")


def check(content: dict[str, Any], called: Callable[[Place], str]) -> StudyFile:
    """The same for what did not come from a file; `called` is how its giver calls the field at a place."""
    try:
        return StudyFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        if first["type"] == "extra_forbidden":
            name = ".".join(map(str, place))
            hint = nearest(str(place[-1]), list(_part(place[:-1]).model_fields))
            raise InputError(f"{called(place).removesuffix(name)}unknown key {name!r}", hint) from error
        raise InputError(f"{called(place)}: {_fault(first)}", _form(first) or _allowed(place)) from error


_RULES: Mapping[str, str] = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "int_parsing_size": "must be a number of 64 bits",
    "finite_number": "must be a finite number",
    "too_short": "must have an entry",
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
    told = f"{found:g}" if isinstance(found, float) else str(found).encode("utf-8", "backslashreplace").decode()
    return f"{wanted}, not {told if len(told) <= _LONGEST_TOLD else told[:_LONGEST_TOLD] + ' ...'}"


def _allowed(place: Place) -> str:
    """The numbers that the field at `place` takes; empty where it takes others than numbers."""
    found = RANGES.get((str(place[0]), str(place[1]))) if len(place) > 1 else None
    return f"allowed: {found}" if found is not None else ""


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
    part: type[BaseModel] = StudyFile
    for name in place:
        annotation = part.model_fields[str(name)].annotation
        assert isinstance(annotation, type)
        part = annotation
    return part

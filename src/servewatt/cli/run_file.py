"""A study file: what to measure, as YAML. Options of `servewatt run` override it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from servewatt.errors import InputError, nearest
from servewatt.records import Boundary, Procedure, Provider, Stop, Via


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


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
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}", "see examples/demo.yaml") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path} holds no mapping", "see examples/demo.yaml")
    return validate(content or {}, str(path))


def validate(content: dict[str, Any], source: str) -> RunFile:
    """`content` as a study file; InputError names the first wrong key or value and the nearest known key."""
    try:
        return RunFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            hint = nearest(str(first["loc"][-1]), _known_keys(first["loc"][:-1]))
            raise InputError(f"{source}: unknown key {place!r}", hint) from error
        raise InputError(f"{source}: {place}: {first['msg']}", f"found {first['input']!r}") from error


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    part: type[BaseModel] = RunFile
    for name in path:
        annotation = part.model_fields[str(name)].annotation
        assert isinstance(annotation, type)
        part = annotation
    return list(part.model_fields)

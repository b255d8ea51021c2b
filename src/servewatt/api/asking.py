"""Plain records for a caller's request, validated as a study file is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from servewatt.experiment import naming, study_file
from servewatt.experiment.study_file import StudyFile
from servewatt.records import Configuration, Procedure, Stop, Weights


@dataclass(frozen=True)
class ModelChoice:
    """Which model, where its name alone does not say it."""

    name: str = "bundled"
    """`bundled`, a folder with config.json and safetensors, a hub id, or a name of the catalogue."""
    weights: Weights = Weights.TRAINED
    """Random ones take the same energy and time, and need no download."""
    revision: str | None = None
    """Commit of a hub model; None for the catalogue's, or its main branch."""
    seed: int = 0
    """Of random weights."""


@dataclass(frozen=True)
class Work:
    """Which prompts, and how much of an answer."""

    prompts: str | Path = "bundled"
    """`bundled`, `bundled:4` (the first four), a text file with one on each line, or HumanEval as JSON lines."""
    limit: int | None = None
    """Use the first so many."""
    new_tokens: int = 64
    """Tokens out for each prompt: exactly so many, or at most, by `stop`."""
    stop: Stop = Stop.LENGTH


def request(
    model: str | Path | ModelChoice, work: Work | None, procedure: Procedure | None, engines: Sequence[str] = ()
) -> StudyFile:
    """The checked request. Raises InputError, with the field's place such as `procedure.blocks`, for a wrong value."""
    chosen = model if isinstance(model, ModelChoice) else ModelChoice(str(model))
    content = {
        "model": asdict(chosen),
        "workload": {**asdict(work or Work()), "prompts": str((work or Work()).prompts)},
        "procedure": _checked_part(procedure or Procedure()),
    }
    if engines:
        content["configurations"] = {"engines": list(engines)}
    return study_file.check(content, lambda place: ".".join(map(str, place)))


def configurations_of(asked: Sequence[Configuration | str] | None) -> tuple[Configuration, ...] | None:
    """Configurations and names of them, such as `onnx/int4`; what a name leaves out is as `Configuration` has it.

    Raises InputError for a name that means none. None stays None: every engine that is installed.
    """
    if asked is None:
        return None
    return tuple(naming.configuration(each) if isinstance(each, str) else each for each in asked)


def _checked_part(procedure: Procedure) -> dict[str, object]:
    values = asdict(procedure)
    values["meters"] = list(procedure.meters)
    return {name: values[name] for name in study_file.ProcedurePart.model_fields}

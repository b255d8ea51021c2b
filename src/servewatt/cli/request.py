"""The request of a command line: a study file overridden by options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.errors import InputError
from servewatt.experiment import study_file
from servewatt.experiment.study_file import StudyFile


def read_request(file: Path | None, options: dict[str, Any]) -> StudyFile:
    """The study file, if any, with the command line's options laid over it."""
    asked = study_file.read(file) if file is not None else StudyFile()
    content = asked.model_dump(exclude_unset=True)
    for name, value in options.items():
        part, _, key = name.partition("__")
        if key and value is not None:
            content.setdefault(part, {})[key] = value
    if options.get("configurations__named"):
        # Named on the command line, they stand in place of what a file lists.
        for listed in ("engines", "options"):
            if options.get("configurations__" + listed) is None:
                content["configurations"].pop(listed, None)
    if options.get("options"):
        pairs = [_pair(text) for text in options["options"]]
        content.setdefault("configurations", {})["options"] = dict(pairs)
    if options.get("cpu_watts"):
        content.setdefault("procedure", {})["cpu_watts"] = _watts(options["cpu_watts"])
    return validate_options(content)


def validate_options(content: dict[str, Any]) -> StudyFile:
    """What a command's options say, as a study file; InputError names the option whose value is wrong."""
    return study_file.check(content, flag_of)


def flag_of(place: tuple[int | str, ...]) -> str:
    """How the command that is running lets its user set the field at `place` of a study file: `--batch`.

    A parameter's name is the field's, with or without its part: `configurations__batches`, or `batches`. A field that
    no option sets is named by its path.
    """
    context = click.get_current_context(silent=True)
    for parameter in context.command.params if context is not None else ():
        field = tuple((parameter.name or "").split("__"))
        if place[:2][-len(field) :] == field:
            return max(parameter.opts, key=len)
    return ".".join(map(str, place))


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InputError(f"--option {text!r} is not NAME=VALUE", "such as --option step_ms=2")
    return name, value


def _watts(text: str) -> tuple[float, float]:
    try:
        idle, most = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--cpu-watts {text!r} is not IDLE,MAX", "such as --cpu-watts 12,65") from error
    if not 0 <= idle < most:
        raise InputError(f"--cpu-watts {text!r}: IDLE must be less than MAX", "such as --cpu-watts 12,65")
    return idle, most

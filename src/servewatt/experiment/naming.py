"""Configurations by the names that reports give them: `onnx/cpu/int4/b1/activations=int8`."""

from __future__ import annotations

import re
from typing import Any

from servewatt import engines
from servewatt.engines.environments import builds
from servewatt.errors import InputError
from servewatt.experiment.ranges import RANGES
from servewatt.records import Configuration, Precision, Provider, Via

FORM = "ENGINE[/PROVIDER][/PRECISION][/bBATCH][/tTHREADS][/OPTION=VALUE...][/http]"


def fields(name: str) -> dict[str, Any]:
    """The fields of `Configuration` that `name` gives; what may be left out of a name, and is, is not among them.

    Raises InputError for an engine that does not exist, for a part that means nothing, and for one given twice.
    """
    engine, *parts = (part.strip() for part in name.split("/"))
    engines.entry(engine)
    found: dict[str, Any] = {"engine": engine}
    options: dict[str, str] = {}
    for part in parts:
        field, value = _meaning(name, part)
        kept = options if field == "options" else found
        if field == "options":
            field, _, value = part.partition("=")
        if field in kept:
            raise InputError(f"configuration {name!r} has {field} twice", f"a name is {FORM}")
        kept[field] = value
    if options:
        found["options"] = tuple(sorted(options.items()))
    return found


def configuration(name: str) -> Configuration:
    """The configuration called `name`; what is left out has the defaults of `Configuration`."""
    return Configuration(**fields(name))


def _meaning(name: str, part: str) -> tuple[str, Any]:
    if part in set(Provider):
        return "provider", Provider(part)
    if part in set(Precision):
        return "precision", Precision(part)
    if part in set(Via):
        return "via", Via(part)
    if number := re.fullmatch(r"([bt])([1-9]\d*)", part):
        field, listed = {"b": ("batch", "batches"), "t": ("threads", "threads")}[number[1]]
        allowed = RANGES["configurations", listed]
        # Its digits are counted first: Python reads no number of thousands of them.
        if len(number[2]) > 9 or int(number[2]) > allowed.most:
            raise InputError(f"{_short(part)!r} in configuration {_short(name)!r}: allowed is {allowed}")
        return field, int(number[2])
    if part.startswith("@"):
        return "build", builds.find(part[1:]).name
    if re.fullmatch(r"[^=]+=.+", part):
        return "options", part
    raise InputError(f"{_short(part)!r} in configuration {_short(name)!r} means nothing", f"a name is {FORM}")


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}..."

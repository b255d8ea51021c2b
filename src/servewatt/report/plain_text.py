"""Text from outside (names, reasons, logs) as plain text that cannot change how what surrounds it is shown."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from enum import Enum
from typing import TypeVar, cast

T = TypeVar("T")

MOST_CHARACTERS = 400
"""Of a reason or a warning; the JSON form has all of it."""

GLUE = "\ue000"
"""Stands for a space at which no line may end, while rich lays text out: it breaks lines at U+00A0 too."""

_UNIT = re.compile(r"(?<=[0-9]) (?=(?:%|(?:[pnµmkMG]?[JWs]|[KMGT]i?B|kB|B|bytes|min|h|tokens/s)\b))")
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # such as colours and movements of the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # such as titles and links
    r"|\x1b[ -/]*[0-~]?"
)
"""Escape sequences of terminals (ECMA-48)."""


def plain(text: str, most: int | None = None) -> str:
    """`text` in one line: without terminal sequences and invisible marks of direction, other controls as U+FFFD.

    Longer text than `most` characters is cut with an ellipsis.
    """
    # Cut before the search for sequences too, so that a log of megabytes costs nothing.
    begun = text if most is None else text[: 4 * most]
    shown = begun
    if not begun.isprintable():
        shown = re.sub(r"\s+", " ", "".join(map(_plain_character, _ESCAPES.sub("", begun)))).strip()
    if most is None or (len(shown) <= most and len(text) <= 4 * most):
        return shown
    return shown[: most - 1].rstrip() + "…"


def glued(text: str, glue: str = GLUE) -> str:
    """`text` with numbers tied to the units behind them."""
    return _UNIT.sub(glue, text)


def cleaned(record: T) -> T:
    """The record (frozen dataclasses and tuples) with `plain` in place of each text; itself where nothing changes."""
    return cast("T", _cleaned(record))


def _cleaned(value: object) -> object:
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, tuple):
        if not value or isinstance(value[0], int | float):
            return value
        found = tuple(map(_cleaned, value))
        return found if any(a is not b for a, b in zip(found, value, strict=True)) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {}
        for field in dataclasses.fields(value):
            old = getattr(value, field.name)
            new = _cleaned(old)
            if new is not old and field.init:
                changes[field.name] = new
        return dataclasses.replace(value, **changes) if changes else value
    return value


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if character.isspace():
        return character if category == "Zs" else " "
    return "\N{REPLACEMENT CHARACTER}" if category in {"Cc", "Cs"} else character

"""Advice on the next step, worded so that the CLI and the API can insert their own names.

Below the command line nobody knows its flags. Advice names settings and actions as Python and study files do; who
shows it may put it in other terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Setting(StrEnum):
    """Something that one may ask for differently; the value is its name in Python and in study files."""

    BLOCKS = "blocks"
    FOREIGN_LIMIT = "foreign_limit"
    METERS = "meters"
    QUALITY = "quality"
    RUN_TESTS = "run_tests"
    THREADS = "threads"

    def to(self, value: object) -> Mention:
        """This setting with the value to give it."""
        return Mention(self, str(value))


class Action(StrEnum):
    """Something else to do; the value says it in words, with `{}` for what it is done to where that matters."""

    ASSESS_QUALITY = "servewatt.assess_quality"
    DOCTOR = "the doctor's list of this machine's meters, engines and disturbances"
    LIST_ENGINES = "the list of engines"
    REPORT = "servewatt.load opens it"

    def of(self, subject: object) -> Mention:
        """This action with what it is done to."""
        return Mention(self, str(subject))


@dataclass(frozen=True)
class Mention:
    """A setting or an action where advice names it."""

    what: Setting | Action
    value: str = ""

    def __str__(self) -> str:
        if isinstance(self.what, Action):
            return self.what.value.format(self.value)
        return f"{self.what.value}={self.value}" if self.value else self.what.value


Part = str | Setting | Action | Mention


class Advice(str):
    """A hint: a `str` in Python's terms, which `worded` puts in others."""

    parts: tuple[str | Mention, ...]

    def __new__(cls, *parts: Part) -> Self:
        """From text and what it mentions, in order; the parts of other advice among them stay what they are."""
        flat: list[str | Mention] = []
        for part in parts:
            if isinstance(part, Advice):
                flat += part.parts
            elif isinstance(part, Setting | Action):
                flat.append(Mention(part))
            else:
                flat.append(part)
        made = super().__new__(cls, "".join(map(str, flat)))
        made.parts = tuple(flat)
        return made

    def worded(self, name: Callable[[Mention], str]) -> str:
        """The same with what it mentions called as `name` calls it."""
        return "".join(part if isinstance(part, str) else name(part) for part in self.parts)

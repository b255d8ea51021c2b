"""How a request that has no answer is told: to its client as JSON, and in one line on standard error."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass

from servewatt.errors import ServewattError, brief, printable

_LONGEST_LINE = 300


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    type: str
    """Name of the exception's class."""
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What `error` says."""
        message, hint = (error.message, error.hint) if isinstance(error, ServewattError) else (str(error), "")
        return cls(type(error).__name__, brief(message), brief(hint))


def log(request: str, status: int, failure: Failure) -> None:
    """One line: what was asked, the status, and why."""
    line = f"{request} {status} {failure.type}: {failure.message}"
    sys.stderr.write(f"servewatt serve: {' '.join(printable(line[:_LONGEST_LINE]).split())}\n")
    sys.stderr.flush()


_told: set[str] = set()


def log_traceback(error: BaseException) -> None:
    """Where `error` was raised, the first time that one comes from there."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{type(error)} {frames[-1].filename}:{frames[-1].lineno}" if frames else str(type(error))
    if place not in _told:
        _told.add(place)
        traceback.print_exception(error)

"""Reports failed requests: to the client as JSON, and in one line on standard error."""

from __future__ import annotations

import sys
import traceback

from servewatt.errors import printable
from servewatt.records.served import Failure

_LONGEST_LINE = 300


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

"""Times and sizes as people type them: a number and its unit, never a number alone."""

from __future__ import annotations

import re

from servewatt.errors import InputError
from servewatt.models.cache import parse_bytes

_TIMES = {
    **dict.fromkeys(("us", "µs", "μs"), 1e-6),  # the micro sign and the Greek letter
    "ms": 1e-3,
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
}
_NUMBER = r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
_MOST_TIME_S = 7 * 24 * 3600
_MOST_SIZE_BYTES = 2**50
_TOLD = 60
"""Characters of a wrong text that are repeated."""


def parse_time_s(text: str, option: str) -> float:
    """Seconds in `80ms`, `1.5 s`, `2min`. InputError names the option; a number without a unit is refused."""
    hint = "write it as 80ms, 1.5s or 2min"
    found = re.fullmatch(_NUMBER + r"\s*([^\W\d_]*)\s*", text)
    unit = found[2].lower() if found else ""
    if found and not unit:
        raise InputError(f"{option}: {_told(text)} has no unit", f"write {found[1]}ms or {found[1]}s")
    if found and unit == "m":
        raise InputError(
            f"{option}: {_told(text)} may be minutes or milliseconds", f"write {found[1]}min or {found[1]}ms"
        )
    if found is None or unit not in _TIMES:
        raise InputError(f"{option}: {_told(text)} is no time", hint)
    seconds = float(found[1]) * _TIMES[unit]
    if not 0 < seconds <= _MOST_TIME_S:
        raise InputError(f"{option} must be more than zero and at most a week, not {_told(text)}", hint)
    return seconds


def parse_size_bytes(text: str, option: str) -> int:
    """Bytes in `2GB`, `512 MiB`. InputError names the option; a number other than 0 without a unit is refused."""
    if (found := re.fullmatch(_NUMBER + r"\s*", text)) and float(found[1]):
        raise InputError(f"{option}: {_told(text)} has no unit", f"write {found[1]}GB or {found[1]}MiB, for example")
    try:
        size = parse_bytes(text)
    except InputError as error:
        raise InputError(f"{option}: {_told(text)} is no amount of bytes", "write it like 2GB or 512MiB") from error
    if size > _MOST_SIZE_BYTES:
        raise InputError(f"{option} must be at most 1024 TiB, not {_told(text)}", "write it like 2GB or 512MiB")
    return size


def parse_limit_bytes(text: str, option: str) -> int:
    """The same, and more than zero."""
    size = parse_size_bytes(text, option)
    if size <= 0:
        raise InputError(f"{option} must be more than zero", "write it like 2GB or 512MiB")
    return size


def parse_share(text: str, option: str) -> float:
    """The share in `3%` or `0.03`. InputError names the option."""
    found = re.fullmatch(_NUMBER + r"\s*(%?)\s*", text)
    if found is None:
        raise InputError(f"{option}: {_told(text)} is no share", "write it as 3% or 0.03")
    return float(found[1]) / (100 if found[2] else 1)


def _told(text: str) -> str:
    return repr(text if len(text) <= _TOLD else text[:_TOLD] + " ...")

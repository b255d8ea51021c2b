"""Times and sizes as people type them."""

from __future__ import annotations

import re

from servewatt.errors import InputError
from servewatt.models.cache import parse_bytes

_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def parse_time_s(text: str, option: str) -> float:
    """Seconds in `80ms`, `1.5 s`, `2min`; a bare number is seconds. InputError names the option."""
    hint = "write it as 80ms, 1.5s or 2min"
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    unit = (match.group(2).lower() or "s") if match else ""
    if match is None or unit not in _TIMES:
        raise InputError(f"{option}: {text!r} is no time", hint)
    return _positive(float(match.group(1)) * _TIMES[unit], option, hint)


def parse_size_bytes(text: str, option: str) -> int:
    """Bytes in `2GB`, `512 MiB`; a bare number is bytes. InputError names the option."""
    try:
        size = parse_bytes(text)
    except InputError as error:
        raise InputError(f"{option}: {error.message}", error.hint) from error
    return int(_positive(size, option, "write it like 20GiB, 500MB or 1000000"))


def _positive(value: float, option: str, hint: str) -> float:
    if value <= 0:
        raise InputError(f"{option} must be more than zero", hint)
    return value

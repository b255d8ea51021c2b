"""Times and sizes as people type them."""

from __future__ import annotations

import re

from servewatt.errors import InputError

_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_SIZES = {
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}


def parse_time_s(text: str, option: str) -> float:
    """Seconds in `80ms`, `1.5 s`, `2min`; a bare number is seconds. InputError names the option."""
    return _parse(text, _TIMES, "s", option, "80ms, 1.5s or 2min")


def parse_size_bytes(text: str, option: str) -> int:
    """Bytes in `2GB`, `512 MiB`; a bare number is bytes. InputError names the option."""
    return int(_parse(text, _SIZES, "b", option, "2GB, 512MiB or 800000000"))


def _parse(text: str, units: dict[str, float] | dict[str, int], bare: str, option: str, examples: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    unit = match.group(2).lower() or bare if match else ""
    if match is None or unit not in units:
        raise InputError(f"{option} {text!r} is not a quantity", f"write it as {examples}")
    value = float(match.group(1)) * units[unit]
    if value <= 0:
        raise InputError(f"{option} must be more than zero", f"write it as {examples}")
    return value

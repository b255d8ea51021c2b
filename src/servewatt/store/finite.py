"""Numbers that JSON cannot hold: not a number, and infinite ones."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass


def non_finite(record: object) -> str:
    """The place of the first float in a record that is not finite, such as `sections.3.duration_s`; empty for none."""
    if isinstance(record, float):
        return "" if math.isfinite(record) else "value"
    if is_dataclass(record):
        parts = ((field.name, getattr(record, field.name)) for field in fields(record))
    elif isinstance(record, tuple | list):
        parts = ((str(index), part) for index, part in enumerate(record))
    else:
        return ""
    for name, part in parts:
        if place := non_finite(part):
            return name if place == "value" else f"{name}.{place}"
    return ""

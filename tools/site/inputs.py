"""The table of the numbers that study files may hold."""

from __future__ import annotations

from servewatt.experiment.ranges import RANGES


def ranges() -> str:
    """A row a field."""
    rows = [f"| {part} | `{field}` | {allowed} |" for (part, field), allowed in RANGES.items()]
    return "\n".join(["| part | field | numbers |", "|---|---|---|", *rows])

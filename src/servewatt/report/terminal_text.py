"""Prose in a terminal: lines that hang behind a sign, numbers that stay with their units."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from servewatt.report.plain_text import GLUE


class Unglued:
    """What is laid out with `GLUE` between numbers and units, shown with spaces there."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield Segment(segment.text.replace(GLUE, " "), segment.style, segment.control)


def hanging(lead: str, text: Text, style: str = "") -> RenderableType:
    """Text whose further lines begin where the first one does, behind `lead`."""
    grid = Table.grid()
    grid.add_column(width=len(lead))
    grid.add_column(overflow="fold")
    grid.add_row(Text(lead, style=style), text)
    return grid

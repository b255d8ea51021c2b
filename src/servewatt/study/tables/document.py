"""`servewatt study compare` for the terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servewatt.errors import counted
from servewatt.records import Weights
from servewatt.report.table_forms import markdown_text, renderable
from servewatt.report.table_forms import to_markdown as table_markdown
from servewatt.study.published.beside import BesidePublished, Source
from servewatt.study.published.medians import SOURCE
from servewatt.study.tables.beside import tables

if TYPE_CHECKING:
    from rich.console import Console

NOT_COMPARABLE = (
    "Published figures are of whole passes, ours per generated token, and the machines and the boundaries of energy "
    "differ: only orders and ratios within one source compare."
)


def render_terminal(console: Console, shown: BesidePublished) -> None:
    """Print the whole comparison to `console`."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(_title(shown), style="bold"))
    for source in shown.sources:
        console.print(Text(_name(source), style="cyan"))
        for line in _source_lines(source):
            console.print(Padding(Text(line, style="yellow" if line.startswith("weights: random") else "dim"), (0, 2)))
    if len(shown.sources) > 1:
        console.print(Text(NOT_COMPARABLE, style="dim"))
    for table in tables(shown):
        console.print()
        console.print(renderable(table, console.width))


def to_markdown(shown: BesidePublished) -> str:
    """The whole comparison as Markdown."""
    lines = [f"# {_title(shown)}", ""]
    lines += [f"- **{markdown_text(_name(s))}**: {markdown_text('; '.join(_source_lines(s)))}" for s in shown.sources]
    if len(shown.sources) > 1:
        lines += ["", NOT_COMPARABLE]
    for table in tables(shown):
        lines += ["", f"## {markdown_text(table.title)}", "", table_markdown(table).rstrip("\n")]
    return "\n".join(lines) + "\n"


def _title(shown: BesidePublished) -> str:
    what = "The published table, checked" if len(shown.sources) == 1 else "Our results beside the published ones"
    return f"{what}, by {shown.by.value}"


def _name(source: Source) -> str:
    return source.name if not source.citation else f"{source.name}: {source.citation}"


def _source_lines(source: Source) -> list[str]:
    fewest, most = source.repetitions
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    times = "repetitions" if source.name == SOURCE else "blocks" if most > 1 else "block"
    lines = [source.machine] if source.machine else []
    lines += [f"{source.work}; {counted(source.models, 'model')}, {count} {times}", f"energy: {source.boundary}"]
    if source.weights != Weights.TRAINED.value:
        lines.append(f"weights: {source.weights}")
    if source.estimated:
        lines.append("~ marks figures that contain an estimated energy")
    if source.stand_ins:
        lines.append(f"shown under the published labels: {', '.join(source.stand_ins)}")
    if source.unmatched:
        lines.append(f"without a published counterpart: {', '.join(source.unmatched)}")
    return lines

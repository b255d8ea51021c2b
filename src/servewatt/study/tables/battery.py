"""Findings on samples for a terminal: the conclusion, tables, refused tests with reasons, and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.text import Text

from servewatt.errors import counted
from servewatt.report.table import Table
from servewatt.report.table_forms import renderable
from servewatt.report.terminal_text import hanging
from servewatt.study.data.samples import title_of
from servewatt.study.tables.describe import description_table
from servewatt.study.tables.tests import normality_table, omnibus_table, pair_table, refusals
from servewatt.study.tests.examine import Examination


def render_examinations(console: Console, examinations: Sequence[Examination], notes: Iterable[str] = ()) -> None:
    """Print examinations one after another, then what the numbers mean; `notes` are about the whole input."""
    for note in notes:
        console.print(_item("! ", note, "yellow"))
    for examination in examinations:
        console.print(examination_report(examination, console.width))
    if examinations:
        console.print(Text(_legend(examinations), style="dim"))


def examination_report(examination: Examination, width: int) -> RenderableType:
    """One variable of one subject, for a terminal of `width` columns."""
    battery, decision = examination.battery, examination.decision
    parts: list[RenderableType] = [_head(examination)]
    if decision is not None:
        colour = "yellow" if decision.rivals else "green"
        parts.append(_item("servewatt: ", decision.sentence, f"bold {colour}"))
        if decision.unknown:
            parts.append(_item("           ", f"without a valid value: {', '.join(decision.unknown)}", "dim"))
        parts += [_item("differs: ", text, "yellow") for text in examination.disagreements]
    elif examination.conclusion:
        parts.append(_item("servewatt: ", examination.conclusion, "bold"))
    for table in _tables(examination):
        parts += [Text(), renderable(table, width)]
    parts += [Text()]
    parts += [_item("refused: ", text, "yellow") for text in refusals(battery)]
    parts += [_item("note: ", note, "dim") for note in battery.notes]
    return Group(*parts, Text())


def _tables(examination: Examination) -> list[Table]:
    """Those that have a row; the head names the subject, and the legend says once what all of them mean."""
    made = [
        description_table([examination]) if examination.descriptions else None,
        normality_table(examination),
        omnibus_table(examination),
        _computed_pairs(examination),
    ]
    shown = [t for t in made if t is not None and t.rows]
    return [t.selected([c.name for c in t.columns if c.name != "model"], notes=(), grouped=0) for t in shown]


def _computed_pairs(examination: Examination) -> Table:
    """Pairs of which at least one test or the difference was computed; refusals are told below the tables."""
    table = pair_table([examination], "pairs")
    computed = (row for row in table.rows if any(entry.value is not None for entry in row[3:]))
    rows = tuple(tuple(replace(entry, notes=()) for entry in row) for row in computed)
    return replace(table, rows=rows, title="Pairs")


def _head(examination: Examination) -> Text:
    head = Text(examination.battery.subject, style="bold cyan")
    head.append(f"  {title_of(examination.battery.variable)}", style="bold")
    return head


def _legend(examinations: Sequence[Examination]) -> str:
    alphas = ", ".join(f"{alpha:g}" for alpha in sorted({a.battery.alpha for a in examinations}))
    count = sum(not f.refused for a in examinations if not a.same_as for f in a.battery.findings)
    tests = counted(count, "finding")
    every = [d for one in examinations for d in one.differences]
    how = "within blocks" if every and all(d.paired for d in every) else "of observations that are not paired"
    difference = (
        f"difference: of geometric means, first over second, {how}, all pairs together (the conclusion needs those "
        "with the least alone) · "
    )
    difference = difference if every else ""
    return (
        f"* p below {alphas} · p: as each test's procedure gives it · family: corrected after Holm over all findings "
        f"of the same test shown here ({tests} of all tests) · {difference}Cliff's delta: -1 where every value of the "
        "first is below every value of the second · intervals at 95 %"
    )


def _item(lead: str, text: str, style: str) -> RenderableType:
    """A line with its continuation indented under itself."""
    return hanging(lead, Text(text, style=style), style)

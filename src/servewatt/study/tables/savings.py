"""The table of savings by several definitions, ours beside the published ones."""

from __future__ import annotations

from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.study.data.cells import By, Cell
from servewatt.study.data.names import STUDY
from servewatt.study.published import savings
from servewatt.study.published.savings import Saving, Savings
from servewatt.study.view import StudyView


def savings_table(view: StudyView) -> Table:
    """The range over models of what is saved, by every definition, ours and the published one line under the other."""
    columns = (
        Column("definition", "definition"),
        Column("of", "of"),
        Column("source", "source"),
        Column("models", "models", Form.COUNT),
        Column("least_share", "least", Form.PERCENT, units.PERCENT),
        Column("least_of", "by"),
        Column("most_share", "most", Form.PERCENT, units.PERCENT),
        Column("most_of", "by"),
    )
    found = [
        savings.savings(cells, definition, by)
        for definition in savings.DEFINITIONS
        for by in By
        for cells in _sources(view)
    ]
    rows = [_savings_row(one) for one in found if one.values]
    notes = ["A saving is 1 - saver / against; negative where the saver needs more"]
    for source in dict.fromkeys(one.source for one in found):
        names = dict.fromkeys(one.definition.name for one in found if one.source == source and not one.values)
        if names:
            notes.append(f"{source}: no model has all configurations that these need: {', '.join(names)}")
    if any(c.source == "published" for cells in _sources(view) for c in cells):
        notes.append(f"published: {STUDY}; its JIT rows are one forward pass, not generation")
    return Table("savings", "Savings, by definition", columns, tuple(rows), tuple(notes), grouped=2)


def _sources(view: StudyView) -> list[tuple[Cell, ...]]:
    """Cells source by source: ours, then the published ones."""
    every = (*view.cells, *view.published)
    return [tuple(c for c in every if c.source == source) for source in dict.fromkeys(c.source for c in every)]


def _savings_row(found: Savings) -> Row:
    models = {s.model for s in found.values}
    alike: dict[tuple[str, ...], list[str]] = {}
    for one in found.absent:
        alike.setdefault(one.lacks, []).append(one.model)
    lacking = "; ".join(
        f"{', '.join(names)} lack{'s' if len(names) == 1 else ''} {', '.join(lacks)}" for lacks, names in alike.items()
    )
    absent = (f"{found.source}, {found.definition.name}: {lacking}",) if lacking else ()
    return (
        Entry(found.definition.name, notes=(f"{found.definition.name}: {found.definition.sentence}",)),
        Entry(found.by.value),
        Entry(found.source),
        Entry(float(len(models)), notes=absent),
        *_extreme(found.least),
        *_extreme(found.most),
    )


def _extreme(saving: Saving | None) -> tuple[Entry, Entry]:
    if saving is None:
        return Entry(), Entry()
    return Entry(saving.share), Entry(f"{saving.model}: {saving.saver} against {saving.against}")

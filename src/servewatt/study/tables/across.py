"""The table of what holds over all models: pairs of configurations, each model one observation."""

from __future__ import annotations

from servewatt.errors import InputError
from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.study.data.cells import By, Cell
from servewatt.study.tests.across import LEAST_MODELS, AcrossModels, across_models, comparable
from servewatt.study.view import StudyView


def across_table(view: StudyView) -> Table:
    """Ratios of every two configurations of one provider over the models, ours, or the published where alone.

    Raises InputError where no two configurations have two models in common.
    """
    cells = view.cells or view.published
    sources = dict.fromkeys(c.source for c in cells)
    found = [
        one for source in sources for by in By for one in across_models((c for c in cells if c.source == source), by)
    ]
    if not found:
        raise InputError(
            "no two configurations of one provider have two models in common", "measure more models: `study run`"
        )
    columns = (
        Column("source", "source"),
        Column("of", "of"),
        Column("first", "first"),
        Column("second", "second"),
        Column("models", "models", Form.COUNT),
        Column("ratio", "first / second", Form.QUANTITY, units.PLAIN, bounds=True, ratio=True),
        Column("least", "least", Form.QUANTITY, units.PLAIN),
        Column("greatest", "greatest", Form.QUANTITY, units.PLAIN),
        Column("first_less", "first less", Form.COUNT),
        Column("sign_p_family", "sign test p", Form.P_VALUE),
    )
    notes = [
        "first / second: geometric mean over the models of their ratios of medians over blocks; the intervals of a "
        "source and quantity hold together at 95 % and take the models for a sample of models like them",
        "first less: models in which the first needs less; sign test: exact, Holm-corrected over the pairs",
    ]
    if any(one.ratio.n < LEAST_MODELS for one in found):
        notes.append(f"no interval from fewer than {LEAST_MODELS} models")
    title = "Pairs of configurations over the models"
    return Table("across", title, columns, tuple(map(_row, found)), tuple(notes), grouped=2)


def can_compare(view: StudyView) -> bool:
    """Whether the table would have a row."""
    return any(map(comparable, _sources(view)))


def _sources(view: StudyView) -> list[tuple[Cell, ...]]:
    """Our cells by campaign, or the published ones where they are alone."""
    every = view.cells or view.published
    return [tuple(c for c in every if c.source == source) for source in dict.fromkeys(c.source for c in every)]


def _row(one: AcrossModels) -> Row:
    return (
        Entry(one.source),
        Entry(one.by.value),
        Entry(one.first),
        Entry(one.second),
        Entry(one.ratio.n),
        Entry(one.ratio),
        Entry(one.least),
        Entry(one.greatest),
        Entry(one.first_less),
        Entry(one.p_family),
    )

"""Descriptive statistics of samples as a table."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.report.units import Scale
from servewatt.study.data.observations import VARIABLES
from servewatt.study.data.samples import title_of
from servewatt.study.tests.describe import Description
from servewatt.study.tests.examine import Examination
from servewatt.study.view import scale_of


def description_table(
    examinations: Sequence[Examination], name: str = "descriptives", subject: str = "model", group: str = "group"
) -> Table:
    """Every group of each sample: how many observations, median with its interval, mean, spread and extremes.

    `examinations` are of one variable; `subject` is what a sample is of, `group` what its groups are.
    """
    described = [d for one in examinations for d in one.descriptions]
    scale = _scale(examinations[0].battery.variable, described) if examinations else units.PLAIN
    columns = (
        Column(subject, subject),
        Column(group, group),
        Column("n", "n", Form.COUNT),
        Column("median", "median", Form.QUANTITY, scale, bounds=True),
        Column("mean", "mean", Form.QUANTITY, scale),
        Column("sd", "sd", Form.QUANTITY, scale),
        Column("least", "least", Form.QUANTITY, scale),
        Column("greatest", "greatest", Form.QUANTITY, scale),
    )
    rows = tuple(_row(one.battery.subject, d) for one in examinations for d in one.descriptions)
    title = f"Descriptive statistics: {title_of(examinations[0].battery.variable)}" if examinations else ""
    notes = ("median with its 95 % interval, from three observations on; sd: sample standard deviation",)
    return Table(name, title, columns, rows, notes)


def _row(subject: str, one: Description) -> Row:
    missing = ("no observation",) if one.n == 0 else ()
    return (
        Entry(subject),
        Entry(one.group),
        Entry(float(one.n)),
        Entry(one.median, notes=missing),
        *(Entry(value) for value in (one.mean, one.sd, one.least, one.greatest)),
    )


def _scale(name: str, described: Sequence[Description]) -> Scale:
    """The unit of a response variable; a CSV column has none that we know."""
    if not any(v.name == name for v in VARIABLES):
        return units.PLAIN
    medians = [d.median.estimate for d in described if d.median is not None]
    return scale_of(name, medians, "token" if "per_token" in name else "")

"""Everything that was found on samples as tables: conclusions, descriptives, tests and pairs."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.errors import InputError, nearest
from servewatt.report.table import Column, Entry, Table
from servewatt.study.data.samples import title_of
from servewatt.study.tables.describe import description_table
from servewatt.study.tables.tests import pair_table, test_table
from servewatt.study.tests.examine import Examination

KINDS = ("conclusions", "descriptives", "tests", "pairs")
"""Tables by name; of `descriptives` and `pairs` there is one a variable, named after it where there are several."""


def sample_tables(
    examinations: Sequence[Examination], subject: str = "subject", kinds: Sequence[str] = ()
) -> tuple[Table, ...]:
    """The tables of these kinds, or of all if none is named; `subject` is what a sample is of.

    Raises InputError for a kind that is none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"no table is called {kind!r}", nearest(kind, KINDS))
    wanted = kinds or KINDS
    by_variable = {
        variable: [e for e in examinations if e.battery.variable == variable]
        for variable in dict.fromkeys(e.battery.variable for e in examinations)
    }
    ends = {variable: "" if len(by_variable) == 1 else f"-{variable}" for variable in by_variable}
    made: list[Table] = []
    if "conclusions" in wanted:
        made.append(conclusion_table(examinations, subject))
    for variable, own in by_variable.items():
        if "descriptives" in wanted:
            made.append(description_table(own, f"descriptives{ends[variable]}", subject))
    if "tests" in wanted:
        made.append(test_table(examinations, subject))
    for variable, own in by_variable.items():
        if "pairs" in wanted:
            made.append(pair_table(own, f"pairs{ends[variable]}", subject))
    return tuple(made)


def conclusion_table(examinations: Sequence[Examination], subject: str = "subject") -> Table:
    """What each sample shows, in a sentence, and where a test of pairs judges otherwise."""
    columns = (Column(subject, subject), Column("variable", "variable"), Column("conclusion", "conclusion"))
    rows = tuple(
        (
            Entry(one.battery.subject),
            Entry(title_of(one.battery.variable)),
            Entry(one.conclusion, notes=one.disagreements),
        )
        for one in examinations
    )
    return Table("conclusions", "Conclusions", columns, rows)

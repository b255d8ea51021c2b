"""The table of what HTTP adds."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.errors import InputError
from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Table
from servewatt.stats.records import Interval
from servewatt.study.tests.http_share import http_shares
from servewatt.study.view import StudyView


def http_table(view: StudyView) -> Table:
    """HTTP's share of energy and time where a configuration was measured through a server.

    Columns that would be empty are left out. Raises InputError where nothing was.
    """
    shares = http_shares(view.observations)
    if not shares:
        raise InputError(
            "nothing was measured through HTTP, or only without the engine's seconds",
            "servewatt study run --via process,http",
        )
    columns = [Column("campaign", "campaign"), Column("model", "model"), Column("configuration", "configuration")]
    cells = [[Entry(one.campaign), Entry(one.model), Entry(one.configuration)] for one in shares]
    notes = []

    def add(name: str, title: str, found: Sequence[Interval | None], why_not: str) -> None:
        columns.append(Column(name, title, Form.QUANTITY, units.PERCENT, bounds=True))
        for row, interval in zip(cells, found, strict=True):
            row.append(Entry(interval, notes=() if interval is not None else (why_not,)))

    if any(one.outside_engine is not None for one in shares):
        unknown = "measured by a version that did not record the engine's seconds"
        add("outside_engine_share", "outside engine", [one.outside_engine for one in shares], unknown)
        notes.append(
            "outside engine: of the time a client waits for answers, the part in which the engine does not work, both "
            "timed in the same trial; time, not energy, and without what waiting between requests costs the engine"
        )
    if any(one.energy is not None or one.time is not None for one in shares):
        add("energy_share", "of energy", [one.energy for one in shares], "not metered in both ways")
        add("time_share", "of time", [one.time for one in shares], "not measured in both ways")
        notes.append("of energy, of time: 1 - process / HTTP per generated token, paired by block")
    notes.append("intervals hold together at 95 %")
    return Table("http", "The share of HTTP", tuple(columns), tuple(map(tuple, cells)), tuple(notes))

"""The race as a table: what was dropped, when, what it took, and what each could still save."""

from __future__ import annotations

from servewatt.recommendation.records import Beaten, Recommendation
from servewatt.recommendation.sentence import WIDEST_PROMISE, share
from servewatt.report import units
from servewatt.report.run.cells import CONFIGURATION, names, told
from servewatt.report.table import Column, Entry, Form, Mark, Row, Table
from servewatt.report.units import DASH, PERCENT, Quantity
from servewatt.stats.race.raced import Raced
from servewatt.stats.records import Analysis

TITLE = "The race"


def race_table(analysis: Analysis, recommendation: Recommendation) -> Table:
    """One row a configuration that was compared, the choice first; no rows where fewer than two were."""
    named = names(analysis)
    beaten = {b.configuration.key: b for b in recommendation.beaten}
    raced = analysis.race if len(analysis.race) > 1 else ()
    block = "block" if analysis.run.plan.race is None else "episode"
    columns = (
        CONFIGURATION,
        Column(f"{block}s", f"{block}s", Form.COUNT),
        Column("measured_s", "took", Form.QUANTITY),
        Column("out_after", "out after", Form.COUNT),
        Column("beaten_by", "beaten by"),
        Column("costs_at_least", "costs at least", Form.QUANTITY, short="at least"),
        Column("could_save", "could save at most", Form.QUANTITY, PERCENT, short="could save"),
    )
    candidates = {c.key for c in recommendation.candidates}
    choice = recommendation.choice.key if recommendation.choice is not None else ""
    return Table(
        "race",
        f"{TITLE}: what is out, since when, and what each could still save over the choice",
        columns,
        tuple(_row(way, named[way.configuration], beaten.get(way.configuration), named) for way in raced),
        told=told(analysis),
        grouped=0,
        marks=tuple(_mark(way.configuration, choice, candidates) for way in raced),
        notes=(f"Took: loading, idling and generating of all its processes. Out after: the {block}, from 1",)
        if raced
        else (),
    )


def _row(way: Raced, name: Entry, out: Beaten | None, named: dict[str, Entry]) -> Row:
    least = Entry("") if out is None else Entry(out.ratio_low, text=Quantity(f"{units.number(out.ratio_low)} times"))
    return (
        name,
        Entry(way.episodes),
        Entry(way.measured_s, text=Quantity(units.duration(way.measured_s), value=way.measured_s)),
        Entry(text=Quantity("")) if out is None else Entry(out.block),
        Entry("") if out is None else named.get(out.beaten_by.key, Entry(out.beaten_by.key)),
        least,
        _could_save(way, out),
    )


def _could_save(way: Raced, out: Beaten | None) -> Entry:
    if out is not None:
        return Entry(text=Quantity("nothing"))
    saved = way.could_save
    if saved is None:
        return Entry(text=Quantity(DASH if way.steps else ""))
    text = "not told yet" if saved >= WIDEST_PROMISE else share(saved).removesuffix(" %") if saved else "0"
    return Entry(saved, text=Quantity(text, value=saved))


def _mark(key: str, choice: str, candidates: set[str]) -> Mark:
    return Mark.CHOICE if key == choice else Mark.CANDIDATE if key in candidates else Mark.NONE

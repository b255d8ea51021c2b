"""The tables of `servewatt study compare`: our results beside the published ones, or the published table checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from servewatt.errors import counted
from servewatt.records import Grade
from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Table
from servewatt.report.units import Scale
from servewatt.study.data.cells import By
from servewatt.study.published.beside import BesidePublished, Row, Source
from servewatt.study.published.checks import WHOLE
from servewatt.study.published.claims import ClaimCheck, Reading
from servewatt.study.published.medians import SOURCE
from servewatt.study.published.ranks import OverallAgreement, RankAgreement
from servewatt.study.published.savings import DEFINITIONS, Saving, Savings

PER_MODEL = ("within-cuda", "cuda-torch-onnx", "within-cpu", "cpu-onnx-torch", "cpu-ov-torch", "cuda-cpu-best")
"""Definitions that give one saving a model."""


def tables(shown: BesidePublished) -> tuple[Table, ...]:
    """Every table of the comparison, the answer first; none that would be empty."""
    made = [
        *(claim_table(shown, one) for one in shown.claims),
        *(ranks_table(shown, source) for source in shown.sources[1:]),
        *(values_table(shown, source) for source in shown.sources[1:]),
        savings_table(shown),
        *(models_table(shown, source) for source in shown.sources),
        boundaries_table(shown),
        steps_table(shown),
        definitions_table(shown),
    ]
    return tuple(table for table in made if table.rows)


def claim_table(shown: BesidePublished, one: ClaimCheck) -> Table:
    """One headline figure: what the published table gives by each definition, and what ours gives by the same."""
    columns = (
        Column("definition", "definition"),
        Column("source", "source"),
        Column("share", "saves", Form.PERCENT, units.PERCENT),
        Column("models", "models" if one.claim.percent is not None else "models\nthat save"),
        Column("from", "from"),
    )
    rows = tuple(_claim_rows(shown, one))
    return Table(one.claim.name, f"{one.claim.text}: {one.verdict.value}", columns, rows, grouped=0)


def ranks_table(shown: BesidePublished, source: Source) -> Table:
    """The published order of configurations and ours, model by model, with Kendall's tau."""
    columns = (
        Column("model", "model"),
        Column("published_order", "published, least first"),
        Column("order", f"{source.name}, least first"),
        Column("n", "n", Form.COUNT),
        Column("tau", "tau", Form.EFFECT),
        Column("p_value", "p", Form.P_VALUE),
        Column("tau_without_jit", "tau\nno JIT", Form.EFFECT),
    )
    own = [r for r in shown.ranks if r.source == source.name]
    without = {r.model: r for r in own if not r.jit}
    rows = tuple(_rank_row(one, without.get(one.model)) for one in own if one.jit)
    notes = [
        "tau is Kendall's tau-b over the configurations that both have, p its exact two-sided value; "
        "the published JIT rows are other work, one forward pass."
    ]
    notes += [_overall(one) for one in shown.overall if one.source == source.name]
    least = {r.n: r.p_least for r in own if r.p_least is not None}
    notes += [f"with {counted(n, 'configuration')} p is at least {p:.2g}" for n, p in sorted(least.items())]
    notes += sorted({f"no tau {_jit(r.jit)}: {r.refused}" for r in own if r.refused})
    title = f"Order by {shown.by.value}: {source.name} and published"
    return Table("ranks", title, columns, rows, tuple(notes), grouped=0)


def values_table(shown: BesidePublished, source: Source) -> Table:
    """Both sides' values, and each over the least of its side."""
    own = [r for r in shown.rows if r.source == source.name]
    unit = "J" if shown.by is By.ENERGY else "s"
    theirs, ours = (units.si(values, unit) for values in ([r.published for r in own], [r.ours for r in own]))
    field = "energy_j" if shown.by is By.ENERGY else "time_s"
    columns = (
        Column("model", "model"),
        Column("configuration", "configuration"),
        Column(f"published_{field}", "published, a pass", Form.QUANTITY, theirs),
        Column("published_relative", "over least", Form.QUANTITY),
        Column(f"{field}_per_token", f"{source.name}, a token", Form.QUANTITY, ours),
        Column("relative", "over least", Form.QUANTITY),
    )
    grade = _grade(shown, source)
    rows = tuple(_value_row(r, grade) for r in own)
    return Table("values", f"Values by {shown.by.value}: {source.name} and published", columns, rows)


def savings_table(shown: BesidePublished) -> Table:
    """The extremes over models of each definition of savings, with the rows they come from."""
    columns = (
        Column("definition", "definition"),
        Column("source", "source"),
        Column("models", "n", Form.COUNT),
        Column("end", "end"),
        Column("share", "saves", Form.PERCENT, units.PERCENT),
        Column("from", "from"),
    )
    rows = [row for one in shown.savings for row in _savings_rows(one, _grade_of(shown, one.source))]
    notes = ("n: models that have what the definition needs",)
    return Table("savings", f"Savings of {shown.by.value} by definition", columns, tuple(rows), notes, grouped=3)


def models_table(shown: BesidePublished, source: Source) -> Table:
    """Savings model by model, of the definitions in `PER_MODEL`."""
    single = [s for s in shown.savings if s.source == source.name and s.values and s.definition.name in PER_MODEL]
    in_percent = Scale("", units.PERCENT.divisor)  # the title says the unit
    columns = [Column("model", "model")]
    columns += [Column(s.definition.name, _heading(s.definition.name), Form.PERCENT, in_percent) for s in single]
    grade = _grade(shown, source)
    table = {s.definition.name: {v.model: v.share for v in s.values} for s in single}
    models = dict.fromkeys(v.model for s in single for v in s.values)
    rows = tuple(
        (Entry(model), *(Entry(row.get(model), grade if model in row else None) for row in table.values()))
        for model in models
    )
    title = f"Savings of {shown.by.value} per model, %: {source.name}"
    return Table(f"models-{source.name}", title, tuple(columns), rows, grouped=0)


def boundaries_table(shown: BesidePublished) -> Table:
    """The published CPU configurations in order, by each boundary of energy that the study measured."""
    columns = (
        Column("model", "model"),
        Column("boundary", "boundary of energy"),
        Column("order", "least first"),
        Column("changed", "order"),
    )
    own = {b.model: b.configurations for b in reversed(shown.boundaries)}
    rows = tuple(
        (
            Entry(b.model),
            Entry(b.boundary),
            Entry(_order(b.configurations)),
            Entry("" if b.configurations == own[b.model] else "changes"),
        )
        for b in shown.boundaries
    )
    notes = (
        "From the published utilisation, where GPU energy and wall power of CPU rows could be recovered; JIT left out.",
    )
    return Table("boundaries", "CPU configurations by the boundary of energy: published", columns, rows, notes)


def steps_table(shown: BesidePublished) -> Table:
    """The time of one published request in steps of the quickest one."""
    columns = (
        Column("model", "model"),
        Column("s_per_request", "a request", Form.QUANTITY, Scale("s", 1.0)),
        Column("steps", "steps", Form.QUANTITY),
        Column("whole", "whole number"),
    )
    rows = tuple(
        (Entry(s.model), Entry(s.s_per_request), Entry(s.steps), Entry("yes" if s.whole else "")) for s in shown.steps
    )
    label = shown.steps[0].configuration if shown.steps else ""
    notes = (
        f"A step is the quickest published request. Within {WHOLE:.0%} of a whole number: "
        f"{sum(s.whole for s in shown.steps)} of {len(shown.steps)}.",
    )
    return Table("steps", f"Time of a request in {label}: published", columns, rows, notes, grouped=0)


def definitions_table(shown: BesidePublished) -> Table:
    """What each definition of savings means."""
    used = {s.definition.name for s in shown.savings}
    columns = (Column("definition", "definition"), Column("sentence", "how savings are computed"))
    rows = tuple((Entry(d.name), Entry(d.sentence)) for d in DEFINITIONS if d.name in used)
    return Table("definitions", "Definitions", columns, rows, grouped=0)


def _claim_rows(shown: BesidePublished, one: ClaimCheck) -> Iterable[tuple[Entry, ...]]:
    for reading in one.readings:
        yield _reading_row(shown, one, reading)
        same = [r for r in one.ours if r.definition == reading.definition]
        measured = [r for r in same if r.saving is not None]
        yield from (_reading_row(shown, one, r) for r in measured)
        if same and not measured:
            yield (Entry(reading.definition), Entry("ours"), Entry(), Entry(""), Entry("not measured"))
    if one.nearest is not None:
        share, source = Entry(one.nearest.share), Entry(_from(one.nearest))
        yield (Entry("the nearest figure"), Entry(SOURCE), share, Entry(""), source)


def _reading_row(shown: BesidePublished, one: ClaimCheck, reading: Reading) -> tuple[Entry, ...]:
    saving, count = reading.saving, f"{reading.models}"
    if one.claim.percent is None:
        count = f"{reading.above_zero} of {reading.models}"
    return (
        Entry(reading.definition),
        Entry(reading.source),
        Entry(None if saving is None else saving.share, _grade_of(shown, reading.source)),
        Entry("" if saving is None else count),
        Entry("" if saving is None else _from(saving)),
    )


def _rank_row(one: RankAgreement, without: RankAgreement | None) -> tuple[Entry, ...]:
    return (
        Entry(one.model),
        Entry(_order(one.published)),
        Entry("the same" if one.published == one.ours else _order(one.ours)),
        Entry(float(one.n)),
        Entry(one.tau),
        Entry(one.p_value),
        Entry(without.tau if without else None),
    )


def _overall(one: OverallAgreement) -> str:
    told = f"the same order in {one.same_order} of {counted(one.compared, 'model')}"
    if one.median_tau is not None:
        told += f", median tau {one.median_tau:+.2f} over {one.models}"
    return f"{_jit(one.jit)}: {told}"


def _jit(included: bool) -> str:
    return "with JIT" if included else "without JIT"


def _value_row(row: Row, grade: Grade | None) -> tuple[Entry, ...]:
    return (
        Entry(row.model),
        Entry(row.configuration),
        Entry(row.published),
        Entry(row.published_relative),
        Entry(row.ours, grade),
        Entry(row.ours_relative, grade),
    )


def _savings_rows(one: Savings, grade: Grade | None) -> Iterable[tuple[Entry, ...]]:
    models = float(len({v.model for v in one.values}))
    ends = [("least", one.least), ("most", one.most)] if one.least != one.most else [("only", one.least)]
    for end, saving in ends:
        if saving is not None:
            share = Entry(saving.share, grade)
            yield (
                Entry(one.definition.name),
                Entry(one.source),
                Entry(models),
                Entry(end),
                share,
                Entry(_from(saving)),
            )


def _grade(shown: BesidePublished, source: Source) -> Grade | None:
    return _estimated(source, shown.by)


def _grade_of(shown: BesidePublished, name: str) -> Grade | None:
    return next((_estimated(s, shown.by) for s in shown.sources if s.name == name), None)


def _estimated(source: Source, by: By) -> Grade | None:
    return Grade.ESTIMATED if source.estimated and by is By.ENERGY else None


def _from(saving: Saving) -> str:
    """The rows that a saving comes from, such as `phi2: TORCH against ONNX on CUDA`."""
    provider, engine = _parts(saving.saver)
    other, against = _parts(saving.against)
    if provider == other:
        return f"{saving.model}: {engine} against {against} on {provider}"
    return f"{saving.model}: {saving.saver} against {saving.against}"


def _parts(label: str) -> tuple[str, str]:
    """`<CUDA, ONNX, bf16>` -> `CUDA` and `ONNX, bf16`."""
    provider, _, rest = label.strip("<>").partition(", ")
    return provider, rest


def _order(labels: Sequence[str]) -> str:
    """Labels in order, without the provider where all share it."""
    parts = [_parts(label) for label in labels]
    if len({provider for provider, _ in parts}) == 1:
        return " < ".join(engine for _, engine in parts)
    return " < ".join(labels)


def _heading(name: str) -> str:
    """A definition's name in lines as short as its words allow."""
    return name.replace("-", "-\n")

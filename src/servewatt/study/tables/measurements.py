"""The study's tables of measurements: energy and time, size groups, utilisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from servewatt.records import Grade, Weights
from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.study.data.names import SIZE_GROUPS, STUDY
from servewatt.study.data.summaries import GroupMean, Measure, Summary, group_means
from servewatt.study.view import StudyView, scale_of, variable

ENERGIES = ("energy_j_per_token", "cpu_energy_j_per_token", "gpu_energy_j_per_token")
_ENERGY_AND_TIME = (*ENERGIES, "s_per_token")
_UTILISATION = ("cpu_percent", "rss_bytes", "gpu_percent", "gpu_memory_bytes")

_SOURCE = Column("campaign", "campaign")
_MODEL = Column("model", "model")
_CONFIGURATION = Column("configuration", "configuration")
_OK = Column("blocks_ok", "ok", Form.COUNT)
_BLOCKS = Column("blocks", "of", Form.COUNT)


def energy_table(view: StudyView) -> Table:
    """Energy and time of every model in every configuration."""
    return _per_cell(view, "energy", "Energy and time by model and configuration", _ENERGY_AND_TIME)


def utilisation_table(view: StudyView) -> Table:
    """Utilisation of CPU, memory and GPU of every model in every configuration."""
    return _per_cell(view, "utilisation", "Utilisation of resources by model and configuration", _UTILISATION)


def size_group_table(view: StudyView) -> Table:
    """Energy and time by size group: means over models of their medians, as the study aggregates."""
    means = group_means(view.summaries)
    columns = [
        Column("size_group", "size group"),
        _CONFIGURATION,
        Column("models", "models", Form.COUNT),
        *_columns(view, {name: [_value(m, name) for m in means] for name in _ENERGY_AND_TIME}, bounds=False),
    ]
    rows = [_group_row(mean) for mean in means]
    title = "Energy and time by size group"
    notes = [f"Means over the models of a size group of their medians{_work(view)}", *_notes(view, rows)]
    return _with_source(view, Table("size-groups", title, tuple(columns), tuple(rows), tuple(notes)), means)


def _per_cell(view: StudyView, name: str, title: str, variables: Sequence[str]) -> Table:
    shown = view.summaries
    columns = [_MODEL, _CONFIGURATION, _OK, _BLOCKS]
    medians = {name: [s.estimate(name) for s in shown] for name in variables}
    columns += _columns(view, medians, bounds=not view.is_published)
    rows = [_row(summary, view, variables) for summary in shown]
    kind = "" if view.is_published else " with 95 % intervals"
    work = _work(view) if any("per_token" in name for name in variables) else ""
    notes = [f"Medians over blocks{kind}{work}", *_notes(view, rows)]
    return _with_source(view, Table(name, title, tuple(columns), tuple(rows), tuple(notes)), shown)


def _columns(view: StudyView, medians: Mapping[str, Sequence[float | None]], *, bounds: bool) -> list[Column]:
    """A column for each variable; energies share a unit. A published energy's name says that it is of a whole pass."""
    energies = [e for name in ENERGIES for e in medians.get(name, ())]
    columns = []
    for name, values in medians.items():
        energy = name in ENERGIES
        columns.append(
            Column(
                name.replace("_per_token", f"_per_{view.work}"),
                variable(name).title,
                Form.QUANTITY,
                scale_of(name, energies if energy else values, view.work if "per_token" in name else ""),
                bounds=bounds,
                graded=energy and not view.is_published,
            )
        )
    return columns


def _row(summary: Summary, view: StudyView, variables: Sequence[str]) -> Row:
    failure = (summary.failure,) if summary.failure else ()
    entries = [
        Entry(summary.model, notes=_weights(summary, view) if len(view.sources) < 2 else ()),
        Entry(summary.configuration),
        Entry(float(summary.ok), notes=failure if summary.ok else ()),
        Entry(float(summary.blocks)),
    ]
    for index, name in enumerate(variables):
        missing = failure if index == 0 and not summary.ok else ()
        entries.append(_entry(summary.measure(name), missing))
    return tuple(entries)


def _entry(measure: Measure | None, missing: tuple[str, ...]) -> Entry:
    if measure is None:
        return Entry(notes=missing)
    return Entry(measure.interval, None if measure.grade is Grade.MISSING else measure.grade)


def _group_row(mean: GroupMean) -> Row:
    absent = (f"without {', '.join(mean.absent)}",) if mean.absent else ()
    entries = [Entry(SIZE_GROUPS[mean.group]), Entry(mean.configuration), Entry(float(len(mean.models)), notes=absent)]
    for name in _ENERGY_AND_TIME:
        found = mean.mean(name)
        grade = found.grade if found is not None and found.grade is not Grade.MISSING else None
        entries.append(Entry(_value(mean, name), grade))
    return tuple(entries)


def _value(mean: GroupMean, name: str) -> float | None:
    found = mean.mean(name)
    return None if found is None else found.value


def _with_source(view: StudyView, table: Table, shown: Sequence[Summary | GroupMean]) -> Table:
    """The table with a column for the campaign, if there is more than one."""
    if len(view.sources) < 2:
        return table
    rows = tuple(
        (row[0], Entry(one.source, notes=_weights(one, view) if isinstance(one, Summary) else ()), *row[1:])
        for row, one in zip(table.rows, shown, strict=True)
    )
    columns = (table.columns[0], _SOURCE, *table.columns[1:])
    return Table(table.name, table.title, columns, rows, table.notes, grouped=2)


def _weights(summary: Summary, view: StudyView) -> tuple[str, ...]:
    if summary.weights is Weights.RANDOM and not view.all_random:
        return ("weights: random",)
    return ()


def _work(view: StudyView) -> str:
    return "" if view.is_published else ", per generated token"


def _notes(view: StudyView, rows: Sequence[Row]) -> list[str]:
    """What holds for the whole table."""
    if view.is_published:
        return [
            f"Published: {STUDY}; one pass over its 164 prompts",
            "Each column is a median of its own, so CPU and GPU energy need not add up to the global one",
        ]
    notes = []
    if view.all_random and view.summaries:
        notes.append("weights: random; energy and time as with trained ones, outputs without meaning")
    if any(e.grade is Grade.ESTIMATED for row in rows for e in row):
        notes.append("~ contains an estimated energy")
    if any(e.value is None and not e.notes for row in rows for e in row):
        notes.append(f"{units.DASH} without a letter: not metered, or explained by the first letter of its line")
    return notes

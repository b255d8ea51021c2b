"""The study's tables of conclusions: savings by several definitions, and its tests with effect sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from servewatt.errors import InputError
from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.stats.records import Interval
from servewatt.study.data.cells import By, Cell
from servewatt.study.data.names import STUDY
from servewatt.study.data.observations import usable
from servewatt.study.published import savings
from servewatt.study.published.savings import Saving, Savings
from servewatt.study.tests.effects import CLIFFS_DELTA
from servewatt.study.tests.findings import Battery, Effect, Finding
from servewatt.study.tests.http_share import http_shares
from servewatt.study.view import ALPHA, StudyView, variable

OMNIBUS = ("levene", "welch-anova", "kruskal-wallis")
PAIRWISE = ("dunn-holm", "games-howell")
_LEVEL = f"p-values below {ALPHA:g} reject equality; `family`: Holm-corrected over all models and variables as well"


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


def test_table(view: StudyView) -> Table:
    """The study's tests over all configurations of a model, for energy and time."""
    columns = (
        Column("model", "model"),
        Column("variable", "variable"),
        Column("groups", "groups", Form.COUNT),
        Column("n_least", "least n", Form.COUNT),
        Column("shapiro_rejected", "not normal", Form.COUNT),
        Column("levene_p", "Levene p", Form.P_VALUE),
        Column("welch_p", "Welch p", Form.P_VALUE),
        Column("welch_p_family", "family", Form.P_VALUE),
        Column("welch_omega_squared", "ω²", Form.EFFECT),
        Column("kruskal_p", "Kruskal p", Form.P_VALUE),
        Column("kruskal_p_family", "family", Form.P_VALUE),
    )
    rows = tuple(_test_row(battery) for battery in view.batteries)
    notes = (
        _LEVEL,
        "not normal: configurations in which Shapiro-Wilk rejects normality",
        f"{units.DASH} without a letter: explained by a letter before it in its line",
    )
    return Table("tests", "Tests over all configurations of a model", columns, rows, notes)


def pair_table(view: StudyView, name: str, table: str) -> Table:
    """Every pair of configurations of every model: Dunn and Games-Howell tests, and Cliff's delta.

    Raises InputError if no model has a valid value of the variable.
    """
    if not has_pairs(view, name):
        raise InputError(f"no valid trial tells {variable(name).title}", "see `--table energy`")
    columns = (
        Column("model", "model"),
        Column("first", "first"),
        Column("second", "second"),
        Column("dunn_p", "Dunn-Holm p", Form.P_VALUE),
        Column("dunn_p_family", "family", Form.P_VALUE),
        Column("games_howell_p", "Games-Howell p", Form.P_VALUE),
        Column("games_howell_p_family", "family", Form.P_VALUE),
        Column("cliffs_delta", "Cliff's δ", Form.EFFECT),
        Column("magnitude", "magnitude"),
    )
    batteries = [b for b in view.batteries if b.variable == name]
    rows = tuple(row for battery in batteries for row in _pair_rows(battery))
    notes = [
        _LEVEL,
        "Cliff's δ: -1 where every value of the first is less than every value of the second, 1 the reverse",
    ]
    notes += [f"{b.subject}: {n}" for b in batteries for n in b.notes]
    title = f"Pairs of configurations: {variable(name).title}"
    return Table(table, title, columns, rows, tuple(notes), grouped=2)


def has_pairs(view: StudyView, name: str) -> bool:
    """Whether any valid trial has a value of the variable."""
    return any(getattr(o, name) is not None for o in usable(view.observations))


def pairs(battery: Battery) -> dict[tuple[str, str], dict[str, Finding]]:
    """The pairs of a battery: both groups -> test -> finding."""
    found: dict[tuple[str, str], dict[str, Finding]] = {}
    for finding in battery.findings:
        if finding.test in PAIRWISE and len(finding.groups) == 2:
            first, second = finding.groups
            found.setdefault((first, second), {})[finding.test] = finding
    return found


def delta_of(findings: Iterable[Finding]) -> Effect | None:
    """Cliff's delta of a pair, of whichever of its findings carries it."""
    return next((f.effect for f in findings if f.effect is not None and f.effect.name == CLIFFS_DELTA), None)


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


def _test_row(battery: Battery) -> Row:
    found = {f.test: f for f in battery.findings if f.test in OMNIBUS}
    normality = [f for f in battery.findings if f.test == "shapiro-wilk"]
    computed = [f.p_value for f in normality if f.p_value is not None]
    refused = tuple(dict.fromkeys(_refusal(f) for f in normality if f.refused))
    rejected = None if not computed else float(sum(p < battery.alpha for p in computed))
    welch = found.get("welch-anova")
    omega = None if welch is None or welch.effect is None else welch.effect.value
    return (
        Entry(battery.subject),
        Entry(variable(battery.variable).title),
        Entry(float(len(battery.groups))),
        Entry(float(min((n for _, n in battery.groups), default=0))),
        Entry(rejected, notes=refused),
        _p_value(found.get("levene")),
        _p_value(welch),
        Entry(None if welch is None else welch.p_family),
        Entry(omega),
        _p_value(found.get("kruskal-wallis")),
        Entry(None if (kruskal := found.get("kruskal-wallis")) is None else kruskal.p_family),
    )


def _pair_rows(battery: Battery) -> list[Row]:
    rows: list[Row] = []
    for (first, second), tests in pairs(battery).items():
        dunn, games = tests.get("dunn-holm"), tests.get("games-howell")
        effect = delta_of(tests.values())
        rows.append(
            (
                Entry(battery.subject),
                Entry(first),
                Entry(second),
                _p_value(dunn),
                Entry(None if dunn is None else dunn.p_family),
                _p_value(games),
                Entry(None if games is None else games.p_family),
                Entry(None if effect is None else effect.value),
                Entry(None if effect is None else effect.magnitude),
            )
        )
    return rows


def _p_value(finding: Finding | None) -> Entry:
    if finding is None:
        return Entry(notes=("not computed",))
    if finding.p_value is None:
        return Entry(notes=(_refusal(finding),))
    return Entry(finding.p_value)


def _refusal(finding: Finding) -> str:
    return f"{finding.test}: {finding.refused}" if finding.refused else f"{finding.test}: not computed"

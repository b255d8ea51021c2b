"""The study's tests as tables: groups one by one, all groups together, and pairs with their differences and effects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from servewatt.errors import InputError
from servewatt.report import units
from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.report.units import Quantity
from servewatt.stats.records import Interval
from servewatt.study.data.observations import usable
from servewatt.study.data.samples import title_of
from servewatt.study.tests.battery import KRUSKAL_WALLIS, LEVENE, SHAPIRO_WILK, WELCH
from servewatt.study.tests.differences import PairDifference
from servewatt.study.tests.effects import CLIFFS_DELTA
from servewatt.study.tests.examine import Examination
from servewatt.study.tests.findings import Battery, Effect, Finding
from servewatt.study.tests.posthoc import DUNN, GAMES_HOWELL
from servewatt.study.view import StudyView, variable

NAMES = {
    SHAPIRO_WILK: "Shapiro-Wilk",
    LEVENE: "Levene",
    WELCH: "Welch ANOVA",
    KRUSKAL_WALLIS: "Kruskal-Wallis",
    DUNN: "Dunn-Holm",
    GAMES_HOWELL: "Games-Howell",
}
"""Tests as they are called in print."""

PAIRWISE = (DUNN, GAMES_HOWELL)

_DELTA = "Cliff's δ: -1 where every value of the first is less than every value of the second, 1 the reverse"


def normality_table(examination: Examination) -> Table:
    """Shapiro-Wilk of one sample, group by group."""
    battery = examination.battery
    found = {f.groups[0]: f for f in battery.findings if f.test == SHAPIRO_WILK}
    columns = (
        Column("group", "group"),
        Column("n", "n", Form.COUNT),
        Column("shapiro_wilk_w", "Shapiro-Wilk W", Form.QUANTITY),
        Column("shapiro_wilk_p", "p", Form.P_VALUE),
        Column("shapiro_wilk_p_family", "family", Form.P_VALUE),
    )
    rows = tuple(
        (Entry(name), Entry(float(n)), _statistic(found.get(name)), *p_entries(found.get(name), battery.alpha))
        for name, n in battery.groups
    )
    return Table("normality", "Normality", columns, rows, grouped=0)


def omnibus_table(examination: Examination) -> Table:
    """The tests over all groups of one sample that were computed."""
    battery = examination.battery
    columns = (
        Column("test", "all groups"),
        Column("statistic", "statistic", Form.QUANTITY),
        Column("p", "p", Form.P_VALUE),
        Column("p_family", "family", Form.P_VALUE),
        Column("omega_squared", "omega squared", Form.EFFECT, bounds=True),
        Column("magnitude", "magnitude"),
    )
    rows = tuple(
        (
            Entry(NAMES.get(f.test, f.test)),
            _statistic(f),
            *p_entries(f, battery.alpha),
            effect_entry(f.effect),
            Entry(f.effect.magnitude if f.effect else ""),
        )
        for f in battery.findings
        if len(f.groups) > 1 and f.test not in PAIRWISE and not f.refused
    )
    return Table("all-groups", "All groups", columns, rows, grouped=0)


def test_table(examinations: Sequence[Examination], subject: str = "model") -> Table:
    """The tests over all groups of each sample, a row a sample; `subject` is what a sample is of."""
    columns = (
        Column(subject, subject),
        Column("variable", "variable"),
        Column("groups", "groups", Form.COUNT),
        Column("n_least", "least n", Form.COUNT),
        Column("shapiro_rejected", "not normal", Form.COUNT),
        Column("levene_p", "Levene p", Form.P_VALUE),
        Column("welch_p", "Welch p", Form.P_VALUE),
        Column("welch_p_family", "family", Form.P_VALUE),
        Column("welch_omega_squared", "ω²", Form.EFFECT, bounds=True),
        Column("kruskal_p", "Kruskal p", Form.P_VALUE),
        Column("kruskal_p_family", "family", Form.P_VALUE),
    )
    rows = tuple(_test_row(one.battery) for one in examinations)
    notes = (
        _level(examinations),
        "not normal: groups in which Shapiro-Wilk rejects normality; ω²: with its 95 % interval",
        f"{units.DASH} without a letter: explained by a letter before it in its line",
    )
    return Table("tests", f"Tests over all groups of a {subject}", columns, rows, notes)


def pair_table(examinations: Sequence[Examination], name: str, subject: str = "model") -> Table:
    """Every pair of groups of each sample: their difference, Dunn's and the Games-Howell test, and Cliff's delta.

    `examinations` are of one variable, `subject` is what a sample is of, `name` is the table's. Differences are left
    out where none was computed.
    """
    known = {one.battery.subject: {(d.first, d.second): d for d in one.differences} for one in examinations}
    columns = (
        Column(subject, subject),
        Column("first", "first"),
        Column("second", "second"),
        Column("difference", "difference", Form.QUANTITY, units.PERCENT, bounds=True),
        Column("dunn_p", "Dunn-Holm p", Form.P_VALUE),
        Column("dunn_p_family", "family", Form.P_VALUE),
        Column("games_howell_p", "Games-Howell p", Form.P_VALUE),
        Column("games_howell_p_family", "family", Form.P_VALUE),
        Column("cliffs_delta", "Cliff's δ", Form.EFFECT, bounds=True),
        Column("magnitude", "magnitude"),
    )
    rows = tuple(row for one in examinations for row in _pair_rows(one.battery, known[one.battery.subject]))
    notes = [*_difference_notes(examinations), _level(examinations), f"{_DELTA}; with its 95 % interval"]
    notes += [f"{one.battery.subject}: {note}" for one in examinations for note in one.battery.notes]
    title = f"Pairs: {title_of(examinations[0].battery.variable)}" if examinations else "Pairs"
    made = Table(name, title, columns, rows, tuple(notes), grouped=2)
    if not any(known.values()):
        return made.selected([c.name for c in columns if c.name != "difference"])
    return made


def variables_tested(view: StudyView) -> Table:
    """The tests over all configurations, a row for each model and variable."""
    return replace(test_table(view.examinations), title="Tests over all configurations of a model")


def variable_pairs(view: StudyView, name: str, table: str) -> Table:
    """The table of pairs of one variable.

    Raises InputError if no model has a valid value of the variable.
    """
    if not has_pairs(view, name):
        raise InputError(f"no valid trial tells {variable(name).title}", "see `--table energy`")
    made = pair_table([e for e in view.examinations if e.battery.variable == name], table)
    return replace(made, title=f"Pairs of configurations: {variable(name).title}")


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


def refusals(battery: Battery) -> list[str]:
    """Each reason once, with the tests that it kept from being computed."""
    by_reason: dict[str, list[Finding]] = {}
    for finding in battery.findings:
        if finding.refused:
            by_reason.setdefault(finding.refused, []).append(finding)
    texts = []
    for reason, findings in by_reason.items():
        names = dict.fromkeys(f.test for f in findings)
        told = [_refused(test, [f for f in findings if f.test == test]) for test in names]
        texts.append(f"{', '.join(told)}: {reason}")
    return texts


def p_entries(finding: Finding | None, alpha: float) -> tuple[Entry, Entry]:
    """A test's p-value and that of the family, with a star below `alpha`; why there is none in a note."""
    if finding is None:
        return Entry(), Entry()
    return _p_entry(finding.p_value, alpha), _p_entry(finding.p_family, alpha)


def effect_entry(effect: Effect | None) -> Entry:
    """An effect size with its interval."""
    if effect is None:
        return Entry()
    bounds = "" if effect.low is None or effect.high is None else f"[{effect.low:.2f}, {effect.high:.2f}]"
    interval = Interval(effect.value, effect.low, effect.high, 0)
    return Entry(interval, text=Quantity(f"{effect.value:.2f}", bounds, effect.value))


def difference_entry(found: PairDifference | None, first: str) -> Entry:
    """How much more (or less, below zero) `first` needs than the other of a pair, as a share."""
    if found is None:
        return Entry()
    if found.ratio is None:
        return Entry(notes=("no ratio: a value is not above zero" if not found.paired else "no block in common",))
    ratio = found.ratio if found.first == first else units.inverse(found.ratio)
    share = Interval(
        ratio.estimate - 1,
        None if ratio.low is None else ratio.low - 1,
        None if ratio.high is None else ratio.high - 1,
        ratio.n,
    )
    return Entry(share, text=_percent(share))


def _percent(share: Interval) -> Quantity:
    """As many digits as the interval supports, however near to zero the difference itself is."""
    if share.low is None or share.high is None:
        return Quantity(units.number(100 * share.estimate, 1), value=share.estimate)
    values = [100 * value for value in (share.estimate, share.low, share.high)]
    digits = units.decimals(100.0, min(values[2] - values[1], 200.0) / 2)
    estimate, low, high = (units.number(value, digits) for value in values)
    return Quantity(estimate, f"[{low}, {high}]", share.estimate)


def _difference_notes(examinations: Sequence[Examination]) -> list[str]:
    every = [d for one in examinations for d in one.differences]
    if not every:
        return []
    level = units.percent(1 - examinations[0].battery.alpha)
    how = (
        "within blocks; the intervals stay valid however often one looks"
        if all(d.paired for d in every)
        else "of observations that are not paired (Welch's intervals of logarithms)"
    )
    return [
        f"difference: how much more the first needs than the second, by geometric means, {how}, and those of a "
        f"sample's pairs hold together at {level}"
    ]


def _level(examinations: Sequence[Examination]) -> str:
    alphas = ", ".join(f"{alpha:g}" for alpha in sorted({one.battery.alpha for one in examinations})) or "0.05"
    return f"* p-values below {alphas} reject equality; family: Holm-corrected over everything analysed as well"


def _test_row(battery: Battery) -> Row:
    found = {f.test: f for f in battery.findings if f.test in (LEVENE, WELCH, KRUSKAL_WALLIS)}
    normality = [f for f in battery.findings if f.test == SHAPIRO_WILK]
    computed = [f.p_value for f in normality if f.p_value is not None]
    refused = tuple(dict.fromkeys(_refusal(f) for f in normality if f.refused))
    rejected = None if not computed else float(sum(p < battery.alpha for p in computed))
    welch, kruskal = found.get(WELCH), found.get(KRUSKAL_WALLIS)
    return (
        Entry(battery.subject),
        Entry(title_of(battery.variable)),
        Entry(float(len(battery.groups))),
        Entry(float(min((n for _, n in battery.groups), default=0))),
        Entry(rejected, notes=refused),
        _p_or_why(found.get(LEVENE), battery.alpha),
        _p_or_why(welch, battery.alpha),
        p_entries(welch, battery.alpha)[1],
        effect_entry(None if welch is None else welch.effect),
        _p_or_why(kruskal, battery.alpha),
        p_entries(kruskal, battery.alpha)[1],
    )


def _pair_rows(battery: Battery, known: dict[tuple[str, str], PairDifference]) -> list[Row]:
    rows: list[Row] = []
    for (first, second), tests in pairs(battery).items():
        dunn, games = tests.get(DUNN), tests.get(GAMES_HOWELL)
        effect = delta_of(tests.values())
        rows.append(
            (
                Entry(battery.subject),
                Entry(first),
                Entry(second),
                difference_entry(known.get((first, second)) or known.get((second, first)), first),
                _p_or_why(dunn, battery.alpha),
                p_entries(dunn, battery.alpha)[1],
                _p_or_why(games, battery.alpha),
                p_entries(games, battery.alpha)[1],
                effect_entry(effect),
                Entry("" if effect is None else effect.magnitude),
            )
        )
    return rows


def _p_or_why(finding: Finding | None, alpha: float) -> Entry:
    """A p-value, or in a note why there is none."""
    if finding is None:
        return Entry(notes=("not computed",))
    if finding.p_value is None:
        return Entry(notes=(_refusal(finding),))
    return _p_entry(finding.p_value, alpha)


def _p_entry(p_value: float | None, alpha: float) -> Entry:
    if p_value is None:
        return Entry()
    shown = "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
    return Entry(p_value, text=Quantity(f"{shown}*", value=p_value)) if p_value < alpha else Entry(p_value)


def _statistic(finding: Finding | None) -> Entry:
    if finding is None or finding.statistic is None:
        return Entry()
    return Entry(finding.statistic, text=Quantity(f"{finding.statistic:.4g}", value=finding.statistic))


def _refusal(finding: Finding) -> str:
    return f"{finding.test}: {finding.refused}" if finding.refused else f"{finding.test}: not computed"


def _refused(test: str, findings: Sequence[Finding]) -> str:
    name = NAMES.get(test, test)
    if test == SHAPIRO_WILK:
        return f"{name} of {', '.join(f.groups[0] for f in findings)}"
    if test not in PAIRWISE:
        return name
    if len(findings) == 1:
        return f"{name} of {' and '.join(findings[0].groups)}"
    return f"{name} of {len(findings)} pairs"

"""The study's battery of tests in a terminal: tables, what was refused and why, notes, and servewatt's own decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from servewatt.errors import counted
from servewatt.report.units import DASH
from servewatt.study.data.observations import VARIABLES
from servewatt.study.tests.battery import KRUSKAL_WALLIS, LEVENE, SHAPIRO_WILK, WELCH
from servewatt.study.tests.examine import Examination
from servewatt.study.tests.findings import Battery, Effect, Finding
from servewatt.study.tests.posthoc import DUNN, GAMES_HOWELL

_NAMES = {
    SHAPIRO_WILK: "Shapiro-Wilk",
    LEVENE: "Levene",
    WELCH: "Welch ANOVA",
    KRUSKAL_WALLIS: "Kruskal-Wallis",
    DUNN: "Dunn-Holm",
    GAMES_HOWELL: "Games-Howell",
}
_PAIRWISE = (DUNN, GAMES_HOWELL)


def render_examinations(console: Console, examinations: Sequence[Examination], notes: Iterable[str] = ()) -> None:
    """Print examinations one after another, then what the numbers mean; `notes` are about the whole input."""
    for note in notes:
        console.print(_item("! ", note, "yellow"))
    for examination in examinations:
        console.print(battery_report(examination))
    if examinations:
        console.print(Text(_legend(examinations), style="dim"))


def battery_report(examination: Examination) -> RenderableType:
    """One variable of one subject."""
    battery = examination.battery
    parts: list[RenderableType] = [_head(battery)]
    parts += [t for t in (normality_table(battery), omnibus_table(battery), pair_table(battery)) if t.row_count]
    parts += [_item("refused: ", text, "yellow") for text in refusals(battery)]
    parts += [_item("note: ", note, "dim") for note in battery.notes]
    decision = examination.decision
    if decision is not None:
        colour = "yellow" if decision.rivals else "green"
        parts.append(_item("servewatt: ", decision.sentence, f"bold {colour}"))
        if decision.unknown:
            parts.append(_item("           ", f"without a valid value: {', '.join(decision.unknown)}", "dim"))
        parts += [_item("differs: ", text, "yellow") for text in examination.disagreements]
    return Group(*parts, Text())


def normality_table(battery: Battery) -> Table:
    """Shapiro-Wilk, group by group."""
    found = {f.groups[0]: f for f in battery.findings if f.test == SHAPIRO_WILK}
    table = _table("group", "n", "Shapiro-Wilk W", "p", "family")
    for name, n in battery.groups:
        finding = found.get(name)
        table.add_row(name, str(n), _statistic(finding), *_p_values(finding, battery.alpha))
    return table


def omnibus_table(battery: Battery) -> Table:
    """The tests over all groups that were computed."""
    table = _table("all groups", "statistic", "p", "family", "omega squared")
    for finding in battery.findings:
        if len(finding.groups) > 1 and finding.test not in _PAIRWISE and not finding.refused:
            effect = Text(DASH) if finding.effect is None else _effect(finding.effect)
            cells = (_statistic(finding), *_p_values(finding, battery.alpha), effect)
            table.add_row(_NAMES.get(finding.test, finding.test), *cells)
    return table


def pair_table(battery: Battery) -> Table:
    """Every pair of which at least one test was computed."""
    table = _table("first", "second", "Dunn-\nHolm p", "family", "Games-\nHowell p", "family", "Cliff's delta")
    pairs: dict[tuple[str, ...], dict[str, Finding]] = {}
    for finding in battery.findings:
        if finding.test in _PAIRWISE:
            pairs.setdefault(finding.groups, {})[finding.test] = finding
    for (first, second), tests in pairs.items():
        if all(f.refused for f in tests.values()):
            continue
        effect = next((f.effect for f in tests.values() if f.effect), None)
        p_values = [p for test in _PAIRWISE for p in _p_values(tests.get(test), battery.alpha)]
        table.add_row(first, second, *p_values, Text(DASH) if effect is None else _effect(effect))
    return table


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


def _refused(test: str, findings: Sequence[Finding]) -> str:
    name = _NAMES.get(test, test)
    if test == SHAPIRO_WILK:
        return f"{name} of {', '.join(f.groups[0] for f in findings)}"
    if test not in _PAIRWISE:
        return name
    if len(findings) == 1:
        return f"{name} of {' and '.join(findings[0].groups)}"
    return f"{name} of {len(findings)} pairs"


def _head(battery: Battery) -> Text:
    known = next((v for v in VARIABLES if v.name == battery.variable), None)
    head = Text(battery.subject, style="bold cyan")
    head.append(f"  {battery.variable if known is None else known.title}", style="bold")
    return head


def _legend(examinations: Sequence[Examination]) -> str:
    alphas = ", ".join(f"{alpha:g}" for alpha in sorted({a.battery.alpha for a in examinations}))
    count = sum(not f.refused for a in examinations if not a.same_as for f in a.battery.findings)
    tests = counted(count, "finding")
    return (
        f"* p below {alphas} · p: as each test's procedure gives it · family: corrected after Holm over all findings "
        f"of the same test shown here ({tests} of all tests) · Cliff's delta: -1 where every value of the "
        "first is below every value of the second"
    )


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="left" if name == "second" else "right", overflow="fold")
    return table


def _statistic(finding: Finding | None) -> str:
    return DASH if finding is None or finding.statistic is None else f"{finding.statistic:.4g}"


def _p_values(finding: Finding | None, alpha: float) -> tuple[Text, Text]:
    if finding is None:
        return Text(DASH), Text(DASH)
    return _p_value(finding.p_value, alpha), _p_value(finding.p_family, alpha)


def _p_value(p_value: float | None, alpha: float) -> Text:
    if p_value is None:
        return Text(DASH)
    text = "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
    return Text(f"{text}*", style="bold") if p_value < alpha else Text(f"{text} ")


def _effect(effect: Effect) -> Text:
    return Text(f"{effect.value:.2f} {effect.magnitude}")


def _item(lead: str, text: str, style: str) -> RenderableType:
    """A line with its continuation indented under itself."""
    grid = Table.grid()
    grid.add_column(width=len(lead))
    grid.add_column(overflow="fold")
    grid.add_row(Text(lead, style=style), Text(text, style=style))
    return Padding(grid, (0, 0))

"""Figures of comparisons: which pairs of configurations differ, and our order beside the published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from servewatt.report.figures.canvas import BLUE, INK, ORANGE, QUIET, RULE
from servewatt.study.data.names import STUDY
from servewatt.study.data.summaries import Summary
from servewatt.study.figures.drawing import Drawn, finished, rgb
from servewatt.study.figures.panels import (
    SMALL,
    engine_legend,
    finish,
    head,
    light_grid,
    look,
    name_rows,
    row_labels,
    rows_of,
    small_multiples,
    spread_axis,
    tell,
    wants_log,
)
from servewatt.study.published.savings import JIT
from servewatt.study.tables.tests import PAIRWISE, delta_of, pairs
from servewatt.study.tests.findings import Battery, Finding
from servewatt.study.view import ALPHA, StudyView, caption, from_the_top, variable

_TOLD = {
    (False, False): ("told apart by neither", 0.06),
    (False, True): ("by Games-Howell only", 0.3),
    (True, False): ("by Dunn only", 0.55),
    (True, True): ("by both", 0.85),
}
"""By Dunn's test, by Games-Howell's -> what the legend says, and how dark the cell is."""


def test_grid(view: StudyView, name: str, figure: str) -> Drawn | None:
    """Pairs of configurations, model by model: below the diagonal Cliff's delta, above it who tells them apart.

    Configurations of different campaigns are not set against each other; their squares stay empty.
    """
    examined = (e.battery for e in view.examinations)
    batteries = {b.subject: b for b in examined if b.variable == name and len(b.groups) > 1}
    several = len(view.sources) > 1
    found = {
        model: {
            source: battery
            for source in view.sources
            if (battery := batteries.get(f"{model} ({source})" if several else model)) is not None
        }
        for model in view.models
    }
    found = {model: by_source for model, by_source in found.items() if by_source}
    if not found:
        return None
    tested = {(s, g) for by_source in found.values() for s, b in by_source.items() for g, _ in b.groups}
    keys = [key for key in rows_of(view) if key in tested]
    # Labels of columns stand upright under the panels.
    below = 0.35 + 0.068 * max(map(len, row_labels(keys, view)))
    panels = small_multiples(len(found), 0.4 + 0.22 * len(keys), below=below)
    for index, (axes, (model, by_source)) in enumerate(zip(panels.axes, found.items(), strict=True)):
        head(axes, model)
        for source in view.sources:
            places = {label: place for place, (campaign, label) in enumerate(keys) if campaign == source}
            _grid(axes, by_source.get(source), places)
        bottom = index + panels.columns >= len(found)
        _grid_labels(axes, row_labels(keys, view), left=index % panels.columns == 0, bottom=bottom)
    title = f"Pairs of configurations: {variable(name).title}"
    level = f"told apart at {ALPHA:g}, corrected over all models and variables"
    apart = "; empty: of different campaigns, not compared" if several else ""
    note = f"below the diagonal: row against column; above: {level}{apart} · {caption(view, (name,))}"
    finish(panels, title, note, _grid_legend())
    words = " ".join(_in_words(battery) for by_source in found.values() for battery in by_source.values())
    alt = f"Grids of Cliff's delta and of test results for {variable(name).title}. {words}"
    return finished(figure, title, alt, panels.drawing)


def published_beside_ours(view: StudyView) -> Drawn | None:
    """Each configuration's energy relative to the best of the same model and source, published and ours.

    Without JIT: the published rows of it are other work.
    """
    theirs = {
        (c.model, c.configuration): c.energy_j for c in view.published if c.energy_j and c.configuration not in JIT
    }
    shown = [(model, rows) for model in view.models if (rows := _common(view, model, theirs))]
    if not shown:
        return None
    panels = small_multiples(len(shown), 0.62 + 0.24 * max(len(rows) for _, rows in shown))
    ratios = [_ratios(rows, theirs) for _, rows in shown]
    values = [[v for pair in part.values() for v in pair] for part in ratios]
    log = wants_log(values)
    for index, (axes, (model, rows)) in enumerate(zip(panels.axes, shown, strict=True)):
        head(axes, model)
        light_grid(axes, "x")
        axes.margins(x=0.1)
        axes.axvline(1, color=INK, linewidth=0.8, zorder=1)
        for row, summary in enumerate(rows):
            _pair_of_dots(axes, row, summary, ratios[index].get(summary))
        spread_axis(axes.xaxis, log=log)
        name_rows(axes, rows, view, labelled=True)
    for one in panels.axes[-panels.columns :]:
        one.set_xlabel("times the best", fontsize=9)
    title = "Energy relative to the model's best: ours and published"
    what = f"of those that both measured, within each campaign; JIT left out{from_the_top(view)}"
    note = f"{what} · {caption(view, ('energy_j_per_token',))} · published: {STUDY}"
    drawn = [s for _, rows in shown for s in rows]
    finish(panels, title, note, [*engine_legend(drawn), *_published_legend()])
    words = [
        f"{s.model} {s.configuration} {own:.3g}, published {other:.3g}"
        for part in ratios
        for s, (own, other) in part.items()
    ]
    alt = f"Dot plot of energy relative to the best configuration, ours and published: {'; '.join(words)}."
    return finished("published", title, alt, panels.drawing)


def _common(view: StudyView, model: str, theirs: Mapping[tuple[str, str], float]) -> list[Summary]:
    """The configurations that both tried; a campaign with fewer than two results has nothing to compare."""
    rows: list[Summary] = []
    for source in view.sources:
        common = [s for s in view.of(source, model) if (model, s.configuration) in theirs]
        rows += common if sum(s.estimate("energy_j_per_token") is not None for s in common) > 1 else []
    return rows


def _ratios(rows: Sequence[Summary], theirs: Mapping[tuple[str, str], float]) -> dict[Summary, tuple[float, float]]:
    """Ours and the published energy over the least of the same campaign's rows."""
    ratios: dict[Summary, tuple[float, float]] = {}
    for source in dict.fromkeys(r.source for r in rows):
        pairs_j = {
            r: (own, theirs[r.model, r.configuration])
            for r in rows
            if r.source == source and (own := r.estimate("energy_j_per_token"))
        }
        least = [min(pair[side] for pair in pairs_j.values()) for side in (0, 1)]
        ratios |= {r: (own / least[0], other / least[1]) for r, (own, other) in pairs_j.items()}
    return ratios


def _pair_of_dots(axes: Any, row: int, summary: Summary, ratios: tuple[float, float] | None) -> None:
    if ratios is None:
        tell(axes, row, summary)
        return
    own, other = ratios
    shape = look(summary.configuration)
    axes.plot([own, other], [row, row], color=RULE, linewidth=2, zorder=1)
    hollow = {"marker": "D", "markerfacecolor": "#ffffff", "markeredgecolor": QUIET, "linestyle": ""}
    axes.plot([other], [row], markersize=6, zorder=2, **hollow)
    filled = {"marker": shape.marker, "color": shape.colour, "markeredgecolor": INK, "linestyle": ""}
    axes.plot([own], [row], markersize=6.5, markeredgewidth=0.6, zorder=3, **filled)


def _published_legend() -> list[tuple[str, Any]]:
    from matplotlib.lines import Line2D

    hollow = Line2D([], [], marker="D", markersize=6, markerfacecolor="#ffffff", markeredgecolor=QUIET, linestyle="")
    return [("published", hollow)]


def _grid(axes: Any, battery: Battery | None, places: Mapping[str, int]) -> None:
    """The pairs of one campaign; `places` gives each configuration's row and column."""
    found = {} if battery is None else pairs(battery)
    for first, low in places.items():
        for second, high in places.items():
            if low >= high:
                continue
            turned = (first, second) not in found
            tests = found.get((second, first) if turned else (first, second), {})
            effect = delta_of(tests.values())
            # The row below the diagonal is the second of the pair, so the sign turns.
            delta = None if effect is None else (effect.value if turned else -effect.value)
            _cell(axes, low, high, BLUE if (delta or 0.0) < 0 else ORANGE, None if delta is None else abs(delta))
            told = _told(tests)
            _cell(axes, high, low, INK, None if told is None else _TOLD[told][1])


def _told(tests: Mapping[str, Finding]) -> tuple[bool, bool] | None:
    """Whether Dunn's and Games-Howell's test tell a pair apart; None where neither was computed."""
    p_values = [_p_value(tests.get(test)) for test in PAIRWISE]
    if all(p is None for p in p_values):
        return None
    dunn, games = (p is not None and p < ALPHA for p in p_values)
    return dunn, games


def _p_value(finding: Finding | None) -> float | None:
    if finding is None:
        return None
    return finding.p_value if finding.p_family is None else finding.p_family


def _cell(axes: Any, x: int, y: int, colour: str, depth: float | None) -> None:
    """A square of the grid; hatched where there is nothing to show."""
    from matplotlib.patches import Rectangle

    square = Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, linewidth=0)
    if depth is None:
        square.set(facecolor="none", hatch="////", edgecolor=RULE)
    else:
        square.set(facecolor=(*rgb(colour), max(depth, 0.06)))
    axes.add_patch(square)


def _grid_labels(axes: Any, labels: Sequence[str], *, left: bool, bottom: bool) -> None:
    count = len(labels)
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_aspect("equal")
    axes.set_yticks(range(count), labels, fontsize=SMALL - 0.5)
    axes.set_xticks(range(count), labels, fontsize=SMALL - 0.5, rotation=90)
    axes.tick_params(length=0, labelleft=left, labelbottom=bottom)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _grid_legend() -> list[tuple[str, Any]]:
    from matplotlib.patches import Patch

    rows = [
        ("row needs less (δ = -1)", BLUE, 1.0),
        ("δ = -0.5", BLUE, 0.5),
        ("δ = 0.5", ORANGE, 0.5),
        ("row needs more (δ = 1)", ORANGE, 1.0),
    ]
    rows += [(words, INK, depth) for words, depth in _TOLD.values()]
    handles = [(name, Patch(facecolor=(*rgb(colour), depth), edgecolor="none")) for name, colour, depth in rows]
    return [*handles, ("not computed", Patch(facecolor="none", edgecolor=RULE, hatch="////", linewidth=0))]


def _in_words(battery: Battery) -> str:
    told = [_told(tests) for tests in pairs(battery).values()]
    games, both = sum(t is not None and t[1] for t in told), told.count((True, True))
    return f"{battery.subject}: pairs {len(told)}, Games-Howell tells {games} apart, both tests {both}."

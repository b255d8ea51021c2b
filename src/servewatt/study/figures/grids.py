"""Figures of comparisons: which pairs of configurations differ, and our order beside the published one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from servewatt.report.figures.canvas import (
    BLUE,
    INK,
    ORANGE,
    PAPER,
    QUIET,
    RULE,
    Figure,
    Row,
    Specification,
    described,
    layered,
    plot,
    said,
)
from servewatt.study.data.names import STUDY
from servewatt.study.data.summaries import Summary
from servewatt.study.figures.panels import (
    SMALL,
    Grid,
    boundaries,
    ended,
    engine_legend,
    grid,
    look,
    marked,
    panels_of,
    reasons,
    row_labels,
    row_pixels,
    row_scale,
    rows_of,
    shades_of,
    value_axis,
    wants_log,
    wide_for,
)
from servewatt.study.published.savings import JIT
from servewatt.study.tables.tests import PAIRWISE, delta_of, pairs
from servewatt.study.tests.findings import Battery, Finding
from servewatt.study.view import ALPHA, StudyView, caption, from_the_top, variable

_DIAMOND = "M0,-1L1,0L0,1L-1,0Z M0,-.62L-.62,0L0,.62L.62,0Z"
_BARE: dict[str, Any] = {
    "labelFontSize": SMALL - 1,
    "labelLimit": 0,
    "labelOverlap": False,
    "ticks": False,
    "domain": False,
    "grid": False,
}
_TOLD = {
    (False, False): ("told apart by neither", 0.06),
    (False, True): ("by Games-Howell only", 0.3),
    (True, False): ("by Dunn only", 0.55),
    (True, True): ("by both", 0.85),
}
"""By Dunn's test, by Games-Howell's -> what the legend says, and how dark the cell is."""


def test_grid(view: StudyView, name: str, figure: str) -> Figure | None:
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
    labels = row_labels(keys, view)

    def draw(width: int) -> Specification:
        where = grid(width, len(found), labels, columns=min(3, len(found)))
        panels = []
        for index, (model, by_source) in enumerate(found.items()):
            cells: list[Row] = []
            for source in view.sources:
                places = {label: place for place, (campaign, label) in enumerate(keys) if campaign == source}
                cells += _cells(by_source.get(source), places, model)
            bottom = index + where.columns >= len(found)
            panels.append(_squares(where, index, model, cells, labels, bottom=bottom))
        return panels_of(panels, where.columns, _grid_legend(width))

    title = f"Pairs of configurations: {variable(name).title}"
    level = f"told apart at {ALPHA:g}, corrected over all models and variables"
    apart = "; empty: of different campaigns, not compared" if several else ""
    note = f"below the diagonal: row against column; above: {level}{apart} · {caption(view, (name,))}"
    words = " ".join(_in_words(battery) for by_source in found.values() for battery in by_source.values())
    alt = f"Grids of Cliff's delta and of test results for {variable(name).title}. {words}"
    return Figure(figure, title, alt, note, draw, wide_for(len(found), min(3, len(found))))


def published_beside_ours(view: StudyView) -> Figure | None:
    """Each configuration's energy relative to the best of the same model and source, published and ours.

    Without JIT: the published rows of it are other work.
    """
    theirs = {
        (c.model, c.configuration): c.energy_j for c in view.published if c.energy_j and c.configuration not in JIT
    }
    shown = [(model, rows) for model in view.models if (rows := _common(view, model, theirs))]
    if not shown:
        return None
    ratios = [_ratios(rows, theirs) for _, rows in shown]
    log = wants_log([[v for pair in part.values() for v in pair] for part in ratios])
    drawn = [s for _, rows in shown for s in rows]
    names = [row_labels([(s.source, s.configuration) for s in rows], view) for _, rows in shown]

    def draw(width: int) -> Specification:
        panels = []
        for (model, rows), part, labels in zip(shown, ratios, names, strict=True):
            # Each panel names its own rows, which may be others than its neighbour's.
            where = grid(width, 2 * len(shown), labels, columns=min(3, len(shown)))
            panels.append(_dots(where, model, rows, part, labels, log))
        key = engine_legend(drawn, width, ("published", QUIET, _DIAMOND))
        return panels_of(panels, grid(width, len(shown), [], columns=min(3, len(shown))).columns, key)

    what = f"of those that both measured, within each campaign; JIT left out{from_the_top(view)}"
    words = [
        f"{s.model} {s.configuration} {own:.3g}, published {other:.3g}"
        for part in ratios
        for s, (own, other) in part.items()
    ]
    return Figure(
        "published",
        "Energy relative to the model's best: ours and published",
        f"Dot plot of energy relative to the best configuration, ours and published: {'; '.join(words)}.",
        f"{what} · {caption(view, ('energy_j_per_token',))} · published: {STUDY}",
        draw,
        wide_for(len(shown), min(3, len(shown))),
    )


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


def _dots(
    where: Grid,
    model: str,
    rows: Sequence[Summary],
    ratios: Mapping[Summary, tuple[float, float]],
    labels: Sequence[str],
    log: bool,
) -> Specification:
    """A panel of our and the published ratios."""
    import altair as alt

    y = row_scale(where, 0, len(rows))
    xs = value_axis([1.0, *(v for pair in ratios.values() for v in pair)], where.beside, log=log)
    x = alt.X("x:Q", title="times the best", scale=xs.scale, axis=marked(xs))
    pairs: list[Row] = []
    dots: list[Row] = []
    empty = []
    for row, summary in enumerate(rows):
        if summary not in ratios:
            empty.append((row, ended(summary)))
            continue
        own, other = ratios[summary]
        shape = look(summary.configuration)
        name = f"{model} {labels[row]}"
        pairs.append({"row": row, "x": own, "end": other})
        told = said(name, "published", f"{other:.3g} times the best")
        dots.append({"row": row, "x": other, "path": _DIAMOND, "fill": QUIET, "said": told})
        told = said(name, *shape.parts, f"{own:.3g} times the best")
        dots.append({"row": row, "x": own, "path": shape.path, "fill": shape.colour, "said": told})
    layers = [
        plot([{"x": 1.0}]).mark_rule(color=INK, strokeWidth=0.8, aria=False).encode(x=x),
        plot(pairs).mark_rule(color=RULE, strokeWidth=2, aria=False).encode(x=x, x2="end:Q", y=y),
        plot(dots)
        .mark_point(filled=True, size=64, opacity=1)
        .encode(
            x=x,
            y=y,
            fill=alt.Fill("fill:N", scale=None),
            shape=alt.Shape("path:N", scale=None),
            description=described(),
        ),
        *reasons(empty, y),
        *boundaries(rows, y),
    ]
    return layered(*layers, width=where.beside, height=row_pixels(where, len(rows)), title=model)


def _cells(battery: Battery | None, places: Mapping[str, int], model: str) -> list[Row]:
    """The pairs of one campaign; `places` gives each configuration's row and column."""
    found = {} if battery is None else pairs(battery)
    cells: list[Row] = []
    for first, low in places.items():
        for second, high in places.items():
            if low >= high:
                continue
            turned = (first, second) not in found
            tests = found.get((second, first) if turned else (first, second), {})
            effect = delta_of(tests.values())
            # The row below the diagonal is the second of the pair, so the sign turns.
            delta = None if effect is None else (effect.value if turned else -effect.value)
            colour = BLUE if (delta or 0.0) < 0 else ORANGE
            names = said(f"{model}: {second} against {first}")
            words = "not computed" if delta is None else f"Cliff's delta {delta:+.2f}"
            cells.append(_cell(low, high, colour, None if delta is None else abs(delta), said(names, words)))
            told = _told(tests)
            words, depth = ("not computed", None) if told is None else _TOLD[told]
            cells.append(_cell(high, low, INK, depth, said(names, words)))
    return cells


def _squares(
    where: Grid, index: int, model: str, cells: Sequence[Row], labels: Sequence[str], *, bottom: bool
) -> Specification:
    import altair as alt

    count = len(labels)
    side = min(where.inner, 22.0 * count)
    places = list(range(count))
    scale = alt.Scale(domain=[-0.6, count - 0.4], nice=False)
    down = alt.Scale(domain=[count - 0.4, -0.6], nice=False)
    names = f"{json.dumps([' '.join(label) for label in where.labels])}[datum.value]"
    below = alt.Axis(
        values=places, labelExpr=names if bottom else "''", labelAngle=-90, labelBaseline="middle", **_BARE
    )
    beside = alt.Axis(values=places, labelExpr=names if where.is_left(index) else "''", **_BARE)
    square = (
        plot(cells)
        .mark_rect(strokeWidth=0.8)
        .encode(
            x=alt.X("left:Q", title=None, scale=scale, axis=below),
            x2="right:Q",
            y=alt.Y("top:Q", title=None, scale=down, axis=beside),
            y2="under:Q",
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
            fillOpacity=alt.FillOpacity("depth:Q", scale=None),
            description=described(),
        )
    )
    return layered(square, width=side, height=side, title=model)


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


def _cell(x: int, y: int, colour: str, depth: float | None, told: str) -> Row:
    """A square of the grid; empty in a thin frame where there is nothing to show."""
    return {
        "left": x - 0.45,
        "right": x + 0.45,
        "top": y - 0.45,
        "under": y + 0.45,
        "fill": PAPER if depth is None else colour,
        "stroke": RULE if depth is None else PAPER,
        "depth": 1.0 if depth is None else max(depth, 0.06),
        "said": told,
    }


def _grid_legend(width: int) -> Specification:
    rows = [
        ("row needs less (δ = -1)", BLUE, 1.0),
        ("δ = -0.5", BLUE, 0.5),
        ("δ = 0.5", ORANGE, 0.5),
        ("row needs more (δ = 1)", ORANGE, 1.0),
    ]
    rows += [(words, INK, depth) for words, depth in _TOLD.values()]
    return shades_of([*rows, ("not computed", PAPER, 1.0)], width)


def _in_words(battery: Battery) -> str:
    told = [_told(tests) for tests in pairs(battery).values()]
    games, both = sum(t is not None and t[1] for t in told), told.count((True, True))
    return f"{battery.subject}: pairs {len(told)}, Games-Howell tells {games} apart, both tests {both}."

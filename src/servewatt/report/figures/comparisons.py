"""Figures that set configurations side by side: energy, energy against latency, ratios to the best, blocks."""

from __future__ import annotations

from typing import Any

from servewatt.errors import counted
from servewatt.records import Component
from servewatt.report import units
from servewatt.report.figures.canvas import (
    BLUE,
    CHARACTER,
    COMPONENT_COLOURS,
    GREEN,
    INK,
    LABEL,
    LINE_COLOURS,
    PAPER,
    QUIET,
    RULE,
    SHAPES,
    Figure,
    Row,
    Specification,
    broken,
    caption,
    described,
    drawable,
    is_narrow,
    label_width,
    labels_of,
    layered,
    left_out,
    legend,
    palette,
    plot,
    row_axis,
    row_height,
    said,
)
from servewatt.report.figures.scales import MOST_LABELS, Named, beside, extent, leaders, names_height, reach, ticked
from servewatt.report.view import grade_is_estimated
from servewatt.stats.records import Analysis, Comparison, ConfigurationSummary, Interval, Verdict

_PHASES = {"idle": 0.3, "prefill": 0.62, "decode": 1.0}
"""Phase -> opacity."""
_MOST_ROWS = 60
"""Bars or intervals above one another; those of least energy are drawn."""
_ON_FRONT, _OFF_FRONT = "on the Pareto front", "another one is better in both"


def energy_bars(analysis: Analysis) -> Figure | None:
    """Energy per token by phase and component, with the interval of the total."""
    measured = [s for s in analysis.summaries if s.energy_j_per_token is not None]
    shown = measured[:_MOST_ROWS]
    if not shown:
        return None
    labels = labels_of(analysis)
    totals = [s.energy_j_per_token for s in shown if s.energy_j_per_token is not None]
    scale = units.si([t.estimate for t in totals], "J")
    names = [labels[s.configuration.key] for s in shown]
    bars: list[Row] = []
    ends: list[Row] = []
    for row, (summary, total, name) in enumerate(zip(shown, totals, names, strict=True)):
        found = _bars(summary, total, scale.divisor, scale.unit)
        bars += [{"row": row, **bar, "said": said(name, str(bar["part"]), str(bar["told"]))} for bar in found]
        sign = "~" if grade_is_estimated(summary.energy_grade) else ""
        quantity = units.quantity(total, scale)
        bounds = units.drawn_bounds(total) or (total.estimate, total.estimate)
        ends.append(
            {
                "row": row,
                "at": total.estimate / scale.divisor,
                "low": bounds[0] / scale.divisor,
                "high": bounds[1] / scale.divisor,
                "end": max([total.estimate / scale.divisor, bounds[1] / scale.divisor, *(b["to"] for b in found)]),
                "text": sign + quantity.estimate,
                "said": said(name, f"{sign}{quantity.estimate} {scale.unit} per token {quantity.interval}".strip()),
            }
        )
    parts = list(dict.fromkeys(str(bar["part"]) for bar in sorted(bars, key=lambda b: b["order"])))
    colours = {str(bar["part"]): bar["colour"] for bar in bars}
    opacities = {str(bar["part"]): bar["opacity"] for bar in bars}

    def draw(width: int) -> Specification:
        import altair as alt

        narrow = is_narrow(width)
        lines = [broken(name, 15 if narrow else 34) for name in names]
        inner = width - label_width(lines) - 60
        rows = row_axis(lines)
        key = legend(2 if narrow else 3)
        bar = plot(bars).mark_bar(stroke=INK, strokeWidth=0.4, height=alt.RelativeBandSize(0.66))
        solid = bar.encode(
            y=rows,
            x=alt.X("from:Q", title=f"{scale.unit} per generated token", axis=ticked(None, 4 if narrow else 8)),
            x2="to:Q",
            color=alt.Color("part:N", scale=palette(parts, [colours[p] for p in parts]), legend=key),
            opacity=alt.Opacity("part:N", scale=palette(parts, [opacities[p] for p in parts]), legend=key),
            description=described(),
        )
        end = plot(ends).encode(y=rows)
        return layered(
            solid,
            end.mark_rule(color=INK, strokeWidth=1.6, aria=False).encode(x="low:Q", x2="high:Q"),
            end.mark_tick(color=INK, thickness=2, height=14).encode(x="at:Q", description=described()),
            end.mark_text(align="left", dx=6, color=INK, fontSize=LABEL, aria=False).encode(x="end:Q", text="text:N"),
            width=inner,
            height=row_height(lines) * len(lines),
        )

    title = "Energy per token, by phase and component"
    words = [f"{name} {units.energy(t.estimate)}" for name, t in zip(names, totals, strict=True)]
    note = caption(analysis, shown) + left_out(shown, measured)
    alt_text = f"Bar chart of energy per generated token, least first: {'; '.join(words)}. {caption(analysis, shown)}."
    return Figure("energy", title, alt_text, note, draw)


def energy_latency(analysis: Analysis) -> Figure | None:
    """Energy per token against the 95th percentile of request latency, with the Pareto front."""
    points = [
        (s, s.request_p95_s, s.energy_j_per_token)
        for s in analysis.summaries
        if s.energy_j_per_token is not None and s.request_p95_s is not None
    ]
    if not points:
        return None
    labels = labels_of(analysis)
    named = points if len(points) <= MOST_LABELS else [p for p in points if p[0].on_pareto_front][:MOST_LABELS]
    time = units.seconds([p.estimate for _, p, _ in points])
    joule = units.si([e.estimate for _, _, e in points], "J")
    marks = [_point(labels[s.configuration.key], s, p, e, time, joule) for s, p, e in points]
    front = sorted((m["x"], m["y"]) for m in marks if m["front"] == _ON_FRONT)
    heads = [
        Named(p.estimate / time.divisor, e.estimate / joule.divisor, labels[s.configuration.key]) for s, p, e in named
    ]

    def draw(width: int) -> Specification:
        import altair as alt

        narrow = is_narrow(width)
        characters = 16 if narrow else 28
        room = CHARACTER * min(characters, max((len(h.name) for h in heads), default=0)) + 20
        height = max(250 if narrow else 320, names_height([h.name for h in heads], characters) + 10)
        xs = extent(reach([p for _, p, _ in points], time.divisor), width - room - 62)
        ys = extent(reach([e for _, _, e in points], joule.divisor), height)
        x = alt.X(
            "x:Q",
            title=f"request p95 ({time.unit})" if narrow else f"request latency, 95th percentile ({time.unit})",
            scale=xs.scale,
            axis=ticked(xs.ticks(4 if narrow else 7), 4 if narrow else 7),
        )
        y = alt.Y(
            "y:Q",
            title=f"{joule.unit} per generated token",
            scale=ys.scale,
            axis=ticked(ys.ticks(7), 6),
        )
        key = legend(1 if narrow else 2)
        point = plot(marks)
        layers = [
            plot([{"x": a, "y": b} for a, b in front])
            .mark_line(color=GREEN, interpolate="step-after", strokeWidth=1.4, aria=False)
            .encode(x=x, y=y),
            *leaders(beside(heads, xs, ys, characters), x, y),
            point.mark_rule(color=QUIET, aria=False).encode(x=alt.X("x_low:Q", scale=xs.scale), x2="x_high:Q", y=y),
            point.mark_rule(color=QUIET, aria=False).encode(y=alt.Y("y_low:Q", scale=ys.scale), y2="y_high:Q", x=x),
            point.mark_point(filled=True, size=95, stroke=INK, strokeWidth=0.9, opacity=1).encode(
                x=x,
                y=y,
                fill=alt.Fill("front:N", scale=palette([_ON_FRONT, _OFF_FRONT], [GREEN, PAPER]), legend=key),
                shape=alt.Shape("front:N", scale=palette([_ON_FRONT, _OFF_FRONT], ["circle", "square"]), legend=key),
                description=described(),
            ),
        ]
        return layered(*layers, width=xs.pixels, height=height)

    shown = [s for s, _, _ in points]
    note = caption(analysis, shown)
    if len(named) < len(points):
        note += f" · {len(named)} of {counted(len(points), 'configuration')} named, all on the front"
    best = ", ".join(labels[s.configuration.key] for s in shown if s.on_pareto_front) or "none"
    return Figure(
        "latency",
        "Energy against latency: lower left is better",
        f"Scatter of energy per token over 95th-percentile request latency of {counted(len(points), 'configuration')}. "
        f"On the Pareto front (round, green): {best}. {caption(analysis, shown)}.",
        note,
        draw,
    )


def ratios(analysis: Analysis) -> Figure | None:
    """Each configuration's energy relative to the best, paired by block, with anytime-valid intervals."""
    positive = [c for c in analysis.comparisons if c.ratio.estimate > 0]
    compared = positive[:_MOST_ROWS]
    if not compared:
        return None
    labels = labels_of(analysis)
    best = labels.get(compared[0].first.key, compared[0].first.key)
    names = [labels.get(c.second.key, c.second.key) for c in compared]
    rows = [{"row": i, **_ratio(c, name)} for i, (c, name) in enumerate(zip(compared, names, strict=True))]

    def draw(width: int) -> Specification:
        import altair as alt

        narrow = is_narrow(width)
        lines = [broken(name, 14 if narrow else 30) for name in names]
        texts = [str(r["brief"] if narrow else r["text"]) for r in rows]
        inner = width - label_width(lines) - 24 - CHARACTER * max(map(len, texts))
        values = [1.0, *(float(r[k]) for r in rows for k in ("low", "at", "high") if r[k] is not None)]
        xs = extent(values, max(inner, 90), log=True)
        side = row_axis(lines)
        title = f"times the energy of {best} (log)" if narrow else f"energy per token, times that of {best} (log scale)"
        axis = ticked(xs.ticks(4 if narrow else 8), 5)
        x = alt.X("at:Q", title=broken(title, int(xs.pixels / 5)), scale=xs.scale, axis=axis)
        data = plot([{**r, "shown": text} for r, text in zip(rows, texts, strict=True)]).encode(y=side)
        return layered(
            plot([{"at": 1.0}]).mark_rule(color=QUIET, aria=False).encode(x=x),
            data.mark_rule(color=BLUE, strokeWidth=2.4, aria=False).encode(
                x=alt.X("low:Q", scale=xs.scale), x2="high:Q"
            ),
            data.mark_point(filled=True, size=80, stroke=BLUE, strokeWidth=1.4, opacity=1).encode(
                x=x, fill=alt.Fill("fill:N", scale=None), description=described()
            ),
            data.mark_text(align="left", color=INK, fontSize=LABEL, aria=False).encode(
                x=alt.value(xs.pixels + 10), text="shown:N"
            ),
            width=xs.pixels,
            height=row_height(lines) * len(lines),
        )

    level = units.percent(analysis.confidence)
    note = f"{caption(analysis, analysis.summaries)} · {level} intervals, valid at every look"
    words = "; ".join(f"{name} {row['text']}" for name, row in zip(names, rows, strict=True))
    return Figure(
        "ratios",
        f"Energy relative to the best, {best}",
        f"Energy per token of each configuration as a multiple of {best}'s, with {level} intervals: {words}.",
        note + left_out(compared, positive),
        draw,
    )


def blocks(analysis: Analysis) -> Figure | None:
    """Energy per token in each block: what the comparisons pair, and how the machine drifted."""
    measured = [s for s in analysis.summaries if s.energy_j_per_token is not None and s.block_energy_j_per_token]
    shown = measured[:MOST_LABELS]
    numbers = sorted({block for s in shown for block, _ in s.block_energy_j_per_token})
    if len(numbers) < 2:
        return None
    labels = labels_of(analysis)
    names = [labels[s.configuration.key] for s in shown]
    scale = units.si([v for s in shown for _, v in s.block_energy_j_per_token], "J")
    rows: list[Row] = []
    ends = []
    for summary, name in zip(shown, names, strict=True):
        points = sorted(summary.block_energy_j_per_token)
        for block, value in points:
            told = f"{units.in_unit(value, scale)} {scale.unit} per token"
            rows.append(
                {"x": block, "y": value / scale.divisor, "name": name, "said": said(name, f"block {block}", told)}
            )
        ends.append(Named(points[-1][0], points[-1][1] / scale.divisor, name))

    def draw(width: int) -> Specification:
        import altair as alt

        narrow = is_narrow(width)
        characters = 16 if narrow else 28
        room = CHARACTER * min(characters, max(map(len, names))) + 20
        height = max(230 if narrow else 270, names_height(names, characters) + 10)
        xs = extent([float(n) for n in numbers], width - room - 62, 0.05, log=False)
        ys = extent([float(r["y"]) for r in rows], height)
        x = alt.X("x:Q", title="block", scale=xs.scale, axis=ticked(_few(numbers, 6 if narrow else 12), 6, "d"))
        y = alt.Y("y:Q", title=f"{scale.unit} per generated token", scale=ys.scale, axis=ticked(ys.ticks(7), 6))
        colour = alt.Color("name:N", scale=palette(names, LINE_COLOURS), legend=None)
        shape = alt.Shape("name:N", scale=palette(names, SHAPES), legend=None)
        data = plot(rows)
        return layered(
            *leaders(beside(ends, xs, ys, characters), x, y, colour),
            data.mark_line(strokeWidth=1.4, aria=False).encode(x=x, y=y, color=colour, detail="name:N"),
            data.mark_point(filled=True, size=42, opacity=1).encode(
                x=x, y=y, color=colour, shape=shape, description=described()
            ),
            width=xs.pixels,
            height=height,
        )

    alt_text = (
        f"Line chart of energy per token over the blocks of the run, one line a configuration: {', '.join(names)}."
    )
    note = caption(analysis, shown) + left_out(shown, measured)
    return Figure("blocks", "Energy per token, block by block", alt_text, note, draw)


def _bars(summary: ConfigurationSummary, total: Interval, divisor: float, unit: str) -> list[dict[str, Any]]:
    """The pieces of one bar, from the left; one piece for the total where phases are not told apart."""
    if not summary.phases:
        return [_bar("total (phases not told apart)", 0.0, total.estimate / divisor, RULE, 1.0, 9, unit)]
    found, left = [], 0.0
    for place, (phase, opacity) in enumerate(_PHASES.items()):
        for piece in summary.phases:
            width = piece.j_per_token.estimate / divisor
            if piece.phase == phase and width > 0:
                part = f"{_component(piece.component)} {phase}"
                colour = COMPONENT_COLOURS[piece.component]
                found.append(_bar(part, left, left + width, colour, opacity, place, unit))
                left += width
    return found


def _bar(part: str, start: float, end: float, colour: str, opacity: float, order: int, unit: str) -> dict[str, Any]:
    told = f"{units.number(end - start)} {unit} per token"
    return {"part": part, "from": start, "to": end, "colour": colour, "opacity": opacity, "order": order, "told": told}


def _component(component: Component) -> str:
    return component.value if component in {Component.DRAM, Component.MACHINE} else component.value.upper()


def _point(
    name: str, summary: ConfigurationSummary, latency: Interval, energy: Interval, time: units.Scale, joule: units.Scale
) -> dict[str, Any]:
    across = units.drawn_bounds(latency) or (latency.estimate, latency.estimate)
    along = units.drawn_bounds(energy) or (energy.estimate, energy.estimate)
    sign = "~" if grade_is_estimated(summary.energy_grade) else ""
    x, y = units.quantity(latency, time, most=3), units.quantity(energy, joule)
    front = _ON_FRONT if summary.on_pareto_front else _OFF_FRONT
    return {
        "x": latency.estimate / time.divisor,
        "y": energy.estimate / joule.divisor,
        "x_low": across[0] / time.divisor,
        "x_high": across[1] / time.divisor,
        "y_low": along[0] / joule.divisor,
        "y_high": along[1] / joule.divisor,
        "front": front,
        "said": said(
            name,
            f"{sign}{y.estimate} {joule.unit} per token {y.interval}".strip(),
            f"request p95 {x.estimate} {time.unit}",
            front,
        ),
    }


def _ratio(comparison: Comparison, name: str) -> dict[str, Any]:
    times = units.inverse(comparison.ratio)
    decided = comparison.verdict is not Verdict.UNDECIDED
    told = units.compared(times)
    # An interval that is open at one end is told in the text and drawn as its estimate alone.
    ends = (drawable(times.low), drawable(times.high))
    bounded = None not in ends and told.estimate != units.TOO_FEW
    quantity = told if told.estimate == units.TOO_FEW else units.quantity(times, most=3)
    text = f"{quantity.estimate} {quantity.interval}".rstrip() + ("" if decided else ", undecided")
    return {
        "at": times.estimate,
        "low": ends[0] if bounded else None,
        "high": ends[1] if bounded else None,
        "fill": BLUE if decided else PAPER,
        "text": text,
        "brief": "too few" if quantity is told else quantity.estimate,
        "said": said(name, f"{text} times"),
    }


def _few(numbers: list[int], most: int) -> list[int]:
    """At most so many of the numbers, evenly spaced."""
    return numbers[:: -(-len(numbers) // most)]

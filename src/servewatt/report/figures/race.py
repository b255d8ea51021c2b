"""The figure of a race: the bounds of each configuration beside the choice, episode by episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from servewatt.errors import counted
from servewatt.recommendation.records import Recommendation
from servewatt.recommendation.sentence import WIDEST_PROMISE, share
from servewatt.report import units
from servewatt.report.figures.canvas import (
    BLUE,
    CHARACTER,
    GREEN,
    INK,
    LABEL,
    LINE,
    QUIET,
    Figure,
    Row,
    Specification,
    broken,
    caption,
    described,
    is_narrow,
    label_width,
    labels_of,
    layered,
    left_out,
    plot,
    said,
)
from servewatt.report.figures.scales import Extent, extent, ticked
from servewatt.stats.race.raced import Raced, Step
from servewatt.stats.records import Analysis

_MOST_ROWS = 40
_MOST_STEPS = 8
"""Episodes that are drawn of one configuration: the first ones and the last."""
_STEP = 7
"""Pixels from one episode to the next."""
_BEYOND = 3.0
"""The axis ends at so many times the largest estimate: the first episodes' bounds may be wider by far."""


@dataclass(frozen=True)
class _Way:
    """One configuration's rows."""

    name: str
    steps: tuple[Step, ...]
    out_after: int | None
    text: str
    brief: str


def race(analysis: Analysis, recommendation: Recommendation) -> Figure | None:
    """Each configuration's cost over that of the choice; one line an episode, until it is out."""
    choice = recommendation.choice
    known = [way for way in analysis.race if way.steps]
    if choice is None or not any(s.ratio.low is not None for way in known for s in way.steps):
        return None
    labels = labels_of(analysis)
    out = {b.configuration.key: b.block for b in recommendation.beaten}
    shown = [_way(way, labels[way.configuration], out.get(way.configuration)) for way in known[:_MOST_ROWS]]
    block = "block" if analysis.run.plan.race is None else "episode"
    best = labels[choice.key]

    def draw(width: int) -> Specification:
        return _drawn(shown, width, best, block)

    level = units.percent(analysis.confidence)
    words = "; ".join(f"{way.name} {way.text}" for way in shown)
    note = f"{caption(analysis, analysis.summaries)} · {level} intervals, valid at every look"
    return Figure(
        "race",
        f"The race, {block} by {block}: energy per token beside {best}",
        f"For each configuration, its energy per token as a multiple of {best}'s with its interval after each "
        f"{block}, narrowing from top to bottom: {words}.",
        note + left_out(shown, known),
        draw,
    )


def _way(way: Raced, name: str, out_after: int | None) -> _Way:
    steps = tuple(s for s in way.steps if out_after is None or s.episode <= out_after) or way.steps[:1]
    if len(steps) > _MOST_STEPS:
        half = _MOST_STEPS // 2
        rest = steps[half:]
        picked = sorted({round(i * (len(rest) - 1) / (half - 1)) for i in range(half)})
        steps = (*steps[:half], *(rest[i] for i in picked))
    if out_after is not None:
        text, brief = f"out after {out_after}", f"out: {out_after}"
    elif way.could_save is None or way.could_save >= WIDEST_PROMISE:
        text, brief = "not told yet", "?"
    elif way.could_save == 0:
        text, brief = "saves nothing", "0 %"
    else:
        text, brief = f"might save {share(way.could_save)}", f"≤ {share(way.could_save)}"
    return _Way(name, steps, out_after, text, brief)


def _drawn(shown: Sequence[_Way], width: int, best: str, block: str) -> Specification:
    import altair as alt

    narrow = is_narrow(width)
    lines = [broken(way.name, 14 if narrow else 30) for way in shown]
    texts = [way.brief if narrow else way.text for way in shown]
    pixels = max(90.0, width - label_width(lines) - 24 - CHARACTER * max(map(len, texts)))
    xs = _across(shown, pixels)
    rows, names, total = _rows(shown, lines, texts, xs, block)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[total, 0], nice=False), axis=None)
    title = f"times the energy of {best} (log)" if narrow else f"energy per token, times that of {best} (log scale)"
    axis = ticked(xs.ticks(4 if narrow else 8), 5)
    x = alt.X("at:Q", title=broken(title, int(pixels / 5)), scale=xs.scale, axis=axis)
    low = alt.X("low:Q", scale=xs.scale)
    bounded = [row for row in rows if row["bounded"]]
    layers = [
        plot([{"at": 1.0}]).mark_rule(color=GREEN, strokeWidth=1.6, aria=False).encode(x=x),
        plot([row for row in rows if not row["bounded"]])
        .mark_rule(color=QUIET, strokeWidth=1, strokeDash=[1, 3], clip=True)
        .encode(x=low, x2="high:Q", y=y, description=described()),
        plot(bounded)
        .mark_rule(clip=True, strokeCap="round")
        .encode(
            x=low,
            x2="high:Q",
            y=y,
            color=alt.Color("colour:N", scale=None),
            size=alt.Size("thick:Q", scale=None),
            opacity=alt.Opacity("shade:Q", scale=None),
            description=described(),
        ),
        plot([row for row in rows if row["last"] and not row["out"]])
        .mark_point(filled=True, size=55, opacity=1, color=BLUE, clip=True)
        .encode(x=x, y=y, description=described()),
        plot([row for row in rows if row["out"]])
        .mark_text(text="\N{MULTIPLICATION SIGN}", color=INK, fontSize=17, fontWeight="bold", baseline="middle")
        .encode(x=x, y=y, description=described()),
        plot(names)
        .mark_text(align="right", baseline="middle", color=INK, fontSize=LABEL, lineHeight=LINE - 1, aria=False)
        .encode(x=alt.value(-8), y=y, text="lines:N"),
        plot(names)
        .mark_text(align="left", baseline="middle", color=INK, fontSize=LABEL, aria=False)
        .encode(x=alt.value(pixels + 10), y=y, text="shown:N"),
    ]
    return layered(*layers, width=pixels, height=total)


def _across(shown: Sequence[_Way], pixels: float) -> Extent:
    """The axis: every estimate and the choice on it, bounds as far as they say something."""
    at = [1.0, *(s.ratio.estimate for way in shown for s in way.steps)]
    least, most = min(at) / _BEYOND, max(at) * _BEYOND
    ends = [v for way in shown for s in way.steps for v in (s.ratio.low, s.ratio.high) if v is not None]
    return extent([*at, *(min(max(v, least), most) for v in ends)], pixels, 0.04, log=True)


def _rows(
    shown: Sequence[_Way], lines: Sequence[Sequence[str]], texts: Sequence[str], xs: Extent, block: str
) -> tuple[list[Row], list[Row], float]:
    """The lines of all episodes, the names beside them, and the height of it all; `y` in pixels from the top."""
    rows: list[Row] = []
    names: list[Row] = []
    top = 0.0
    for way, name, text in zip(shown, lines, texts, strict=True):
        height = max(_STEP * len(way.steps), (LINE - 1) * len(name)) + 12
        first = top + (height - _STEP * (len(way.steps) - 1)) / 2
        names.append({"y": top + height / 2, "lines": list(name), "shown": text})
        for place, step in enumerate(way.steps):
            last = place == len(way.steps) - 1
            is_out = last and way.out_after is not None
            shown_ratio = units.compared(step.ratio)
            told = f"{shown_ratio.estimate} {shown_ratio.interval}".strip()
            low, high = step.ratio.low, step.ratio.high
            rows.append(
                {
                    "y": first + _STEP * place,
                    "at": step.ratio.estimate,
                    "low": low if low is not None else xs.low,
                    "high": high if high is not None else xs.high,
                    "bounded": low is not None and high is not None,
                    "last": last,
                    "colour": QUIET if way.out_after is not None else BLUE,
                    "thick": 3.0 if last else 2.0,
                    "shade": 1.0 if last else 0.45,
                    "out": is_out,
                    "said": said(
                        way.name,
                        f"after {counted(step.episode, block)}",
                        told,
                        f"out after {block} {way.out_after}" if is_out else "",
                    ),
                }
            )
        top += height
    return rows, names, top

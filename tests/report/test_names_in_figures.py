"""Each name of a figure leads to its own mark, however close the marks are: read back from the drawing."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from servewatt.records import Configuration
from servewatt.report.figures.canvas import CHARACTER, LINE, NARROW, WIDE, Figure
from servewatt.report.figures.comparisons import blocks, energy_latency
from servewatt.report.figures.scales import MOST_LABELS
from servewatt.stats.records import ConfigurationSummary
from tests.report import drawing, synthetic
from tests.report.drawing import Point


def engines(points: list[Point], mark: str = "engine") -> tuple[ConfigurationSummary, ...]:
    """One configuration for each (latency in s, J a token); its name tells its number."""
    return tuple(
        synthetic.summary(
            (Configuration(f"{mark}{i:02d}"), joules, 0.5, 100.0, 0.01),
            request_p95_s=synthetic.interval(latency, 0.02),
            energy_j_per_token=synthetic.interval(joules, 0.02),
            block_energy_j_per_token=((0, joules), (1, joules)),
            on_pareto_front=i == 0,
        )
        for i, (latency, joules) in enumerate(points)
    )


def drawn(points: list[Point], name: str) -> Figure:
    return drawing_of(engines(points), name)


def drawing_of(summaries: tuple[ConfigurationSummary, ...], name: str) -> Figure:
    analysis = synthetic.analysis(summaries=summaries, comparisons=(), rankings=())
    figure = {"latency": energy_latency, "blocks": blocks}[name](analysis)
    assert figure is not None
    return figure


def check(figure: Figure, width: int = WIDE) -> dict[str, Point]:
    """Assert that each name leads to its own mark and covers nothing; returns where each leads."""
    found = drawing.read(figure.inline(width) if width != WIDE else figure.svg)
    texts = {text: at for text, at in found.texts if text.startswith("engine")}
    led: dict[str, Point] = {}
    for text, at in texts.items():
        # Each point of the last block, or the only one.
        own = [spot for said, spot in found.marks if said.startswith(f"{text} · ") and "block 0" not in said]
        assert len(own) == 1, text
        lines = [line for line in found.lines if math.dist(line[1], (at[0], line[1][1])) < 8 and _level(line, at)]
        assert len(lines) == 1, f"{text} has {len(lines)} lines"
        assert math.dist(lines[0][0], own[0]) < 1, f"the line of {text} begins at another mark"
        led[text] = own[0]
    rightmost = max(at[0] for _, at in found.marks)
    assert all(at[0] > rightmost + 4 for at in texts.values()), "a name covers a mark"
    levels = sorted(at[1] for at in texts.values())
    assert all(lower - upper >= LINE - 1 for upper, lower in pairwise(levels)), "names overlap"
    assert all(0 < at[1] < found.height for at in texts.values())
    assert all(at[0] + CHARACTER * len(text) <= found.width + 2 for text, at in texts.items())
    assert found.width <= width
    return led


def _level(line: tuple[Point, Point], at: Point) -> bool:
    """Whether a line ends beside the middle of the text, whose baseline is a little lower."""
    return 0 <= at[1] - line[1][1] < 7


def scattered(count: int, kind: str) -> list[Point]:
    draw = random.Random(f"{kind}{count}")
    if kind == "coinciding":
        return [(0.2, 0.3)] * count
    if kind == "nearly":
        return [(0.2 * (1 + draw.gauss(0, 0.004)), 0.3 * (1 + draw.gauss(0, 0.004))) for _ in range(count - 1)] + [
            (0.4, 0.6)
        ]
    if kind == "one above another":
        return [(0.2, 0.3 * (1 + 0.01 * i)) for i in range(count)]
    return [(draw.uniform(0.1, 1.5), draw.uniform(0.1, 0.9)) for _ in range(count)]


@pytest.mark.parametrize("kind", ["coinciding", "nearly", "one above another", "anywhere"])
@pytest.mark.parametrize("count", [2, 3, 5, 9, 14, MOST_LABELS])
def test_each_name_leads_to_its_own_mark(count: int, kind: str) -> None:
    led = check(drawn(scattered(count, kind), "latency"))
    assert len(led) == count


@pytest.mark.parametrize("kind", ["nearly", "anywhere"])
def test_also_at_the_width_of_a_telephone(kind: str) -> None:
    assert len(check(drawn(scattered(9, kind), "latency"), NARROW)) == 9


@pytest.mark.parametrize("kind", ["coinciding", "nearly", "anywhere"])
def test_each_line_over_the_blocks_has_its_name(kind: str) -> None:
    led = check(drawn(scattered(12, kind), "blocks"))
    assert len(led) == 12


def test_two_marks_almost_at_one_place_as_on_an_h200() -> None:
    # 232.8 ms and 334 mJ beside 233.2 ms and 359 mJ, with whiskers that overlap.
    points = [(0.2328, 0.334), (0.2332, 0.359), (0.442, 0.631)]
    led = check(drawn(points, "latency"))
    # In SVG less energy is lower down, which is a larger y.
    assert led["engine00"][1] > led["engine01"][1] > led["engine02"][1]


def test_a_mark_says_its_values_and_whether_it_is_on_the_front() -> None:
    found = drawing.read(drawn([(0.2328, 0.334), (0.2332, 0.359)], "latency").svg)
    (said,) = [said for said, _ in found.marks if said.startswith("engine00")]
    # 2 % around 334 mJ, of which the CPU's part is estimated.
    assert "~334 mJ per token [327, 341]" in said
    assert "request p95 233 ms" in said
    assert said.endswith("on the Pareto front")
    assert "on the Pareto front" in found.legend


def test_more_than_can_be_named_says_so() -> None:
    points = scattered(30, "anywhere")
    figure = drawn(points, "latency")
    assert "1 of 30 configurations named" in figure.svg
    over_blocks = drawn(points, "blocks")
    assert f"{MOST_LABELS} of 30 configurations shown" in over_blocks.svg
    assert len(check(over_blocks)) == MOST_LABELS


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_long_names_are_cut_and_stay_inside(width: int) -> None:
    made = engines(scattered(6, "nearly"))
    long = tuple(
        replace(s, configuration=replace(s.configuration, options=(("option", f"{i}" + "x" * 300),)))
        for i, s in enumerate(made)
    )
    found = drawing.read(drawing_of(long, "latency").inline(width))
    names = [at for text, at in found.texts if "engine" in text]
    assert len(names) == 6
    marks = [at[0] for _, at in found.marks]
    assert max(marks) - min(marks) > 0.3 * width
    assert found.width <= width

"""Each name of a figure leads to its own mark, however close the marks are: read back from the drawing."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from servewatt.records import Configuration
from servewatt.report.comparison_figures import blocks, energy_latency
from servewatt.report.figures import Figure, style
from servewatt.report.labels import MOST_LABELS
from servewatt.stats.records import ConfigurationSummary
from tests.report import synthetic

Point = tuple[float, float]


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
    with style():
        figure = {"latency": energy_latency, "blocks": blocks}[name](analysis)
    assert figure is not None
    return figure


def marks_of(axes: Any) -> list[Point]:
    """Centre of each mark, in pixels, in the order of drawing."""
    return [
        tuple(axes.transData.transform((line.get_xdata()[-1], line.get_ydata()[-1])))
        for line in axes.lines
        if line.get_marker() not in ("None", None, "")
    ]


def box_of(label: Any) -> Any:
    """Of the name alone: an annotation's own extent holds its leader line too."""
    from matplotlib.text import Text

    return Text.get_window_extent(label)


def box_distance(box: Any, point: Point) -> float:
    across = max(box.x0 - point[0], 0.0, point[0] - box.x1)
    along = max(box.y0 - point[1], 0.0, point[1] - box.y1)
    return math.hypot(across, along)


def leader_of(label: Any) -> list[Point] | None:
    """Both ends of the line from a name to its mark, in pixels."""
    if label.arrow_patch is None:
        return None
    path = label.arrow_patch.get_transform().transform_path(label.arrow_patch.get_path()).vertices
    return [tuple(path[0]), tuple(path[-1])]


def check(figure: Figure) -> dict[str, Point]:
    """Assert that each name leads to its own mark and covers nothing; returns where each leads."""
    figure.drawing.canvas.draw()
    axes = figure.drawing.axes[0]
    marks = marks_of(axes)
    labels = {t.get_text(): t for t in axes.texts if t.get_text().startswith("engine")}
    boxes = {text: box_of(t) for text, t in labels.items()}
    led: dict[str, Point] = {}
    for text, label in labels.items():
        own = marks[int(text.removeprefix("engine"))]
        leader = leader_of(label)
        if leader is None:
            nearest = min(box_distance(boxes[text], mark) for mark in marks)
            assert box_distance(boxes[text], own) == nearest, f"{text} stands nearer to another mark"
            assert sum(box_distance(boxes[text], mark) < 1.5 * nearest + 1 for mark in marks) == 1, text
        else:
            end = max(leader, key=lambda p: box_distance(boxes[text], p))
            assert math.dist(end, own) < 1, f"the leader line of {text} ends elsewhere"
            begin = min(leader, key=lambda p: box_distance(boxes[text], p))
            assert box_distance(boxes[text], begin) < 6, f"the leader line of {text} does not begin there"
        assert all(box_distance(boxes[text], mark) > 2 for mark in marks), f"{text} covers a mark"
        assert not any(boxes[text].overlaps(box) for other, box in boxes.items() if other != text), text
        led[text] = own
    edge = figure.drawing.bbox
    assert all(edge.x0 <= b.x0 and b.x1 <= edge.x1 and edge.y0 <= b.y0 and b.y1 <= edge.y1 for b in boxes.values())
    return led


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


@pytest.mark.parametrize("kind", ["coinciding", "nearly", "anywhere"])
def test_each_line_over_the_blocks_has_its_name(kind: str) -> None:
    led = check(drawn(scattered(12, kind), "blocks"))
    assert len(led) == 12


def test_two_marks_almost_at_one_place_as_on_an_h200() -> None:
    # 232.8 ms and 334 mJ beside 233.2 ms and 359 mJ, with whiskers that overlap.
    points = [(0.2328, 0.334), (0.2332, 0.359), (0.442, 0.631)]
    led = check(drawn(points, "latency"))
    assert led["engine00"][1] < led["engine01"][1] < led["engine02"][1]


def test_the_mark_that_a_name_leads_to_is_there_in_the_svg_too() -> None:
    # What a browser shows: of the two round or square paths the lower one is the winner's.
    figure = drawn([(0.2328, 0.334), (0.2332, 0.359), (0.442, 0.631)], "latency")
    texts = [
        "".join(t.itertext()).strip()
        for t in ElementTree.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"engine00", "engine01", "engine02"} <= set(texts)


def test_more_than_can_be_named_says_so() -> None:
    points = scattered(30, "anywhere")
    figure = drawn(points, "latency")
    assert "1 of 30 configurations named" in figure.svg
    over_blocks = drawn(points, "blocks")
    assert f"{MOST_LABELS} of 30 configurations shown" in over_blocks.svg
    assert len(check(over_blocks)) == MOST_LABELS


def test_long_names_are_cut_and_stay_inside() -> None:
    made = engines(scattered(6, "nearly"))
    long = tuple(
        replace(s, configuration=replace(s.configuration, options=(("option", f"{i}" + "x" * 300),)))
        for i, s in enumerate(made)
    )
    figure = drawing_of(long, "latency")
    figure.drawing.canvas.draw()
    axes = figure.drawing.axes[0]
    labels = [box_of(t) for t in axes.texts]
    assert len(labels) == 6
    assert axes.get_window_extent().width > 0.4 * figure.drawing.bbox.width
    assert all(box.x0 >= 0 and box.x1 <= figure.drawing.bbox.x1 for box in labels)

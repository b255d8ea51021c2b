"""Names beside the marks of a figure, placed so that it can be told whose each is.

A name stands right beside its mark where no other mark is nearly as close to it. Elsewhere a leader line joins the two.
Where the marks are too crowded for that, all names stand in a column beside the axes, each with its leader line.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from servewatt.report.figures import INK, QUIET

MOST_LABELS = 20
"""More marks than this are not all named."""

_SIZE = 9
_LINE = 12.5
"""Height of a line of text of that size, in points."""
_RADIUS = 5.0
"""Points around the centre of a mark that nothing else may cover."""
_NEAR = ((6, 5), (6, -5), (-6, 5), (-6, -5), (9, 0), (-9, 0), (0, 9), (0, -9))
"""Offsets in points of a name without a leader line. Diagonals first: along the axes run the whiskers."""
_FAR = (20, 32, 46, 62, 80, 100, 124, 150)
_SHARES = {"left": 0.0, "center": 0.5, "right": 1.0, "bottom": 0.0, "top": 1.0}
"""Where in its width or height a name so aligned is held."""
_DIRECTIONS = tuple(math.radians(30 + 22.5 * i) for i in range(16))
_BENEATH = 1.9
"""Order of drawing of names and leader lines: beneath the marks."""
_COLUMN = 30
"""Characters of a line of a name beside the axes."""

Point = tuple[float, float]


@dataclass(frozen=True)
class _Place:
    """Where a name may stand; everything in pixels."""

    dx: float
    dy: float
    """From the mark to the point where the name begins."""
    box: Any
    leader: tuple[Point, Point] | None
    align: str
    side: str


def wrapped(label: str, width: int = 28, lines: int = 3) -> str:
    """A long label over several lines, cut with an ellipsis where they do not suffice."""
    return "\n".join(textwrap.wrap(label, width, max_lines=lines, placeholder=" …", break_on_hyphens=False)) or label


def column_height(labels: Sequence[str]) -> float:
    """Inches that these names take above one another."""
    return sum(_LINE * (1 + wrapped(text, _COLUMN).count("\n")) for text in labels) / 72


def place_labels(drawing: Any, axes: Any, points: Sequence[Point], labels: Sequence[tuple[float, float, str]]) -> None:
    """Name marks of a scatter figure; `points` are all of its marks, `labels` those to name. Call it last."""
    drawing.draw_without_rendering()
    spots = [tuple(axes.transData.transform(p)) for p in points]
    own = [tuple(axes.transData.transform((x, y))) for x, y, _ in labels]
    lines = list(_line_segments(axes))
    order = sorted(range(len(labels)), key=lambda i: -sum(math.dist(own[i], s) < 60 for s in spots))
    found: dict[int, _Place] = {}
    for index in order:
        size = _text_size(drawing, axes, wrapped(labels[index][2]))
        place = _best(drawing, axes, own[index], size, spots, list(found.values()), lines)
        if place is None:
            _column(drawing, axes, labels, [INK] * len(labels))
            return
        found[index] = place
    scale = 72 / drawing.dpi
    for index, place in found.items():
        x, y, text = labels[index]
        _write(axes, (x, y), wrapped(text), (place.dx * scale, place.dy * scale), place)


def place_ends(drawing: Any, axes: Any, ends: Sequence[tuple[float, float, str]], colours: Sequence[str]) -> None:
    """Name each line, of the colour in `colours`, beside the axes, with a leader line from its right end."""
    _column(drawing, axes, ends, colours)


def _write(axes: Any, xy: Point, text: str, offset: Point, place: _Place) -> None:
    relative = (_SHARES[place.align], _SHARES[place.side])
    label = axes.annotate(
        text,
        xy,
        xytext=offset,
        textcoords="offset points",
        ha=place.align,
        va=place.side,
        fontsize=_SIZE,
        arrowprops=_leader(QUIET, relative) if place.leader is not None else None,
        zorder=_BENEATH,
    )
    label.set_in_layout(False)


def _leader(colour: str, relative: Point) -> dict[str, Any]:
    # It ends in the centre of the mark, beneath it (see _BENEATH), so that where marks overlap it ends at its own.
    return {
        "arrowstyle": "-",
        "color": colour,
        "linewidth": 0.7,
        "shrinkA": 0.0,
        "shrinkB": 0.0,
        "relpos": relative,
    }


def _text_size(drawing: Any, axes: Any, text: str) -> tuple[float, float]:
    probe = axes.text(0, 0, text, fontsize=_SIZE)
    box = probe.get_window_extent(drawing.canvas.get_renderer())
    probe.remove()
    return box.width, box.height


def _line_segments(axes: Any) -> Iterator[Any]:
    """The bounding box of each straight piece of the lines already drawn, in pixels."""
    from matplotlib.transforms import Bbox

    for line in axes.lines:
        if line.get_linestyle() in {"None", ""}:
            continue
        path = line.get_transform().transform_path(line.get_path()).vertices
        for a, b in pairwise(path):
            yield Bbox([[min(a[0], b[0]), min(a[1], b[1])], [max(a[0], b[0]), max(a[1], b[1])]])


def _best(
    drawing: Any,
    axes: Any,
    own: Point,
    size: tuple[float, float],
    spots: Sequence[Point],
    placed: Sequence[_Place],
    lines: Sequence[Any],
) -> _Place | None:
    """The least disturbing place for a name of `size` at the mark `own`; None where there is none."""
    frame = axes.get_window_extent()
    point = drawing.dpi / 72
    best: tuple[float, _Place] | None = None
    for place in _candidates(own, size, point):
        box = place.box
        if box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1:
            continue
        reach = math.hypot(place.dx, place.dy) / point
        cost = (0.0 if place.leader is None else 1.5) + reach / 30
        if best is not None and cost >= best[0]:
            continue
        if not _is_free(place, own, spots, placed, point):
            continue
        cost += 3.0 * sum(box.overlaps(line) for line in lines)
        if best is None or cost < best[0]:
            best = (cost, place)
    return best[1] if best is not None else None


def _candidates(own: Point, size: tuple[float, float], point: float) -> Iterator[_Place]:
    offsets: list[tuple[float, float, bool]] = [(dx, dy, False) for dx, dy in _NEAR]
    offsets += [(r * math.cos(a), r * math.sin(a), True) for r in _FAR for a in _DIRECTIONS]
    from matplotlib.transforms import Bbox

    width, height = size
    for dx, dy, far in offsets:
        level = abs(dx) > abs(dy) if far else dy == 0
        align = "left" if dx > 1 else "right" if dx < -1 else "center"
        side = "center" if level else "bottom" if dy > 0 else "top"
        x, y = own[0] + dx * point, own[1] + dy * point
        box = Bbox.from_bounds(x - _SHARES[align] * width, y - _SHARES[side] * height, width, height)
        yield _Place(dx * point, dy * point, box, (own, (x, y)) if far else None, align, side)


def _is_free(place: _Place, own: Point, spots: Sequence[Point], placed: Sequence[_Place], point: float) -> bool:
    """Whether a name there covers nothing, and cannot be taken for that of another mark."""
    room = place.box.padded(2 * point)
    distance = _distance(place.box, own)
    for spot in spots:
        away = _distance(place.box, spot)
        if spot != own and away < _RADIUS * point:
            return False
        same = math.dist(spot, own) < 1e-6
        if place.leader is None and not same and away < max(2 * distance, distance + 8 * point):
            return False
        apart = math.dist(spot, own) > 1.5 * _RADIUS * point
        if place.leader is not None and apart and _from_segment(spot, *place.leader) < _RADIUS * point:
            return False
    if place.leader is None and sum(math.dist(spot, own) < 1e-6 for spot in spots) > 1:
        return False
    return not any(room.overlaps(other.box) or _tangled(place, other) for other in placed)


def _tangled(one: _Place, other: _Place) -> bool:
    """Whether a leader line crosses the other's name or leader line."""
    from matplotlib.path import Path

    paths = [Path(p.leader) if p.leader is not None else None for p in (one, other)]
    if paths[0] is not None and paths[0].intersects_bbox(other.box, filled=False):
        return True
    if paths[1] is not None and paths[1].intersects_bbox(one.box, filled=False):
        return True
    if paths[0] is None or paths[1] is None or one.leader is None or other.leader is None:
        return False
    return one.leader[0] != other.leader[0] and bool(paths[0].intersects_path(paths[1], filled=False))


def _distance(box: Any, spot: Point) -> float:
    across = max(box.x0 - spot[0], 0.0, spot[0] - box.x1)
    along = max(box.y0 - spot[1], 0.0, spot[1] - box.y1)
    return math.hypot(across, along)


def _from_segment(spot: Point, start: Point, end: Point) -> float:
    along = (end[0] - start[0], end[1] - start[1])
    length = along[0] ** 2 + along[1] ** 2
    share = ((spot[0] - start[0]) * along[0] + (spot[1] - start[1]) * along[1]) / length if length else 0.0
    share = min(1.0, max(0.0, share))
    return math.dist(spot, (start[0] + share * along[0], start[1] + share * along[1]))


def _column(drawing: Any, axes: Any, ends: Sequence[tuple[float, float, str]], colours: Sequence[str]) -> None:
    """Names above one another right of the axes, in an order in which few leader lines cross."""
    drawing.draw_without_rendering()
    frame = axes.get_window_extent()
    texts = [wrapped(text, _COLUMN) for _, _, text in ends]
    heights = [_LINE * drawing.dpi / 72 * (1 + text.count("\n")) for text in texts]
    marks = [tuple(axes.transData.transform((x, y))) for x, y, _ in ends]
    order = _untangled(marks, frame.x1)
    centres = _spread([marks[i][1] for i in order], [heights[i] for i in order], frame.y0, frame.y1)
    for index, centre in zip(order, centres, strict=True):
        x, y, _ = ends[index]
        colour = colours[index]
        axes.annotate(
            texts[index],
            (x, y),
            xytext=(1.03, (centre - frame.y0) / frame.height),
            textcoords="axes fraction",
            ha="left",
            va="center",
            fontsize=_SIZE,
            arrowprops=_leader(colour if colour != INK else QUIET, (0.0, 0.5)),
            annotation_clip=False,
            zorder=_BENEATH,
        )


def _untangled(marks: Sequence[Point], edge: float) -> list[int]:
    """Marks from bottom to top as the names at `edge` should stand: crossing leader lines are longer than others."""
    order = sorted(range(len(marks)), key=lambda i: (marks[i][1], -marks[i][0]))
    levels = [marks[i][1] for i in order]
    levels = _spread(levels, [_LINE] * len(levels), min(levels, default=0.0), max(levels, default=0.0))

    def length(mark: int, place: int) -> float:
        return math.dist(marks[mark], (edge, levels[place]))

    for _ in range(len(order)):
        swapped = False
        for low in range(len(order)):
            for high in range(low + 1, len(order)):
                a, b = order[low], order[high]
                if length(b, low) + length(a, high) < length(a, low) + length(b, high) - 1e-6:
                    order[low], order[high] = b, a
                    swapped = True
        if not swapped:
            break
    return order


def _spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of boxes of these heights, in the order given, near `wanted`, without overlap, from `low` to `high`."""
    if not wanted:
        return []
    gaps = [(a + b) / 2 for a, b in pairwise(heights)]
    rising = [wanted[0]]
    for centre, gap in zip(wanted[1:], gaps, strict=True):
        rising.append(max(centre, rising[-1] + gap))
    falling = [wanted[-1]]
    for centre, gap in zip(reversed(wanted[:-1]), reversed(gaps), strict=True):
        falling.append(min(centre, falling[-1] - gap))
    # Both keep the gaps, so their mean does; it leaves a crowd where it is.
    centres = [(a + b) / 2 for a, b in zip(rising, reversed(falling), strict=True)]
    centres[-1] = min(centres[-1], high - heights[-1] / 2)
    for i in range(len(centres) - 2, -1, -1):
        centres[i] = min(centres[i], centres[i + 1] - gaps[i])
    if centres[0] < low + heights[0] / 2:
        centres[0] = low + heights[0] / 2
        for i, gap in enumerate(gaps):
            centres[i + 1] = max(centres[i + 1], centres[i] + gap)
    return centres

"""Numbers as text: one unit for a column, digits as many as the interval supports, a dash for what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from servewatt.errors import counted
from servewatt.stats.records import Interval

DASH = "—"
"""Stands for a value that was not measured; never zero."""

_PREFIXES = (
    (1e-12, "p"),
    (1e-9, "n"),
    (1e-6, "µ"),
    (1e-3, "m"),
    (1.0, ""),
    (1e3, "k"),
    (1e6, "M"),
    (1e9, "G"),
    (1e12, "T"),
)
_BYTES = ((1.0, "B"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"), (2.0**40, "TiB"))


@dataclass(frozen=True)
class Scale:
    """A unit and how many base units it is."""

    unit: str
    divisor: float


@dataclass(frozen=True)
class Quantity:
    """An estimate and its interval as text in a unit told elsewhere (the head of the column)."""

    estimate: str
    interval: str = ""
    """`[low, high]`, or why there is none; empty where there is nothing to say."""
    value: float | None = None
    """The unformatted estimate, to sort by."""


MISSING = Quantity(DASH)
PERCENT = Scale("%", 0.01)
PLAIN = Scale("", 1.0)


def _usable(values: Iterable[float | None]) -> list[float]:
    return [abs(v) for v in values if v is not None and v != 0 and math.isfinite(v)]


def _fit(values: Iterable[float | None], steps: Sequence[tuple[float, str]], default: Scale, most: float) -> Scale:
    """The step in which the smallest value is at least 1, or coarser where the largest would reach `most`."""
    usable = _usable(values)
    if not usable:
        return default
    fitting = [i for i, (divisor, _) in enumerate(steps) if divisor <= min(usable) * (1 + 1e-9)]
    index = fitting[-1] if fitting else 0
    while index + 1 < len(steps) and max(usable) / steps[index][0] >= most:
        index += 1
    divisor, unit = steps[index]
    return Scale(unit, divisor)


def si(values: Iterable[float | None], unit: str) -> Scale:
    """One SI-prefixed unit for all `values`, given in `unit` (such as J or W)."""
    steps = [(divisor, prefix + unit) for divisor, prefix in _PREFIXES]
    return _fit(values, steps, Scale(unit, 1.0), most=1e4)


def seconds(values: Iterable[float | None]) -> Scale:
    """ns, µs, ms or s for all `values`, given in seconds; never kiloseconds."""
    steps = [(divisor, f"{prefix}s") for divisor, prefix in _PREFIXES if divisor <= 1]
    return _fit(values, steps, Scale("s", 1.0), most=1e4)


def binary(values: Iterable[float | None]) -> Scale:
    """One binary unit (KiB, MiB, GiB ...) for all `values`, given in bytes."""
    return _fit(values, _BYTES, Scale("B", 1.0), most=10 * 1024)


def decimals(value: float, half_width: float | None = None, most: int = 5) -> int:
    """Digits after the point.

    With an interval, its half-width is shown with one significant digit, or two where the first is 1 or 2; the
    value itself keeps between two and `most` significant digits. Without one, three (or `most`).
    """
    magnitude = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    if half_width is None or half_width <= 0 or not math.isfinite(half_width):
        return max(0, min(3, most) - 1 - magnitude)
    exponent = math.floor(math.log10(half_width))
    digits = -exponent + (1 if half_width / 10.0**exponent < 3 else 0)
    return max(0, min(max(digits, 1 - magnitude), most - 1 - magnitude))


def number(value: float | None, digits: int | None = None) -> str:
    """`value` with `digits` after the point (three significant ones by default); a dash for None and NaN."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-3:
        text = f"{value:.2e}"
    else:
        places = decimals(value) if digits is None else digits
        text = f"{value:,.{places}f}" if size >= 1e4 else f"{value:.{places}f}"
    return text if text.strip("-0.,") else text.lstrip("-")


def quantity(interval: Interval | None, scale: Scale = PLAIN, most: int = 5, *, decided: bool = False) -> Quantity:
    """An interval in the unit of `scale`, with the digits it supports and at most `most` significant ones.

    Bounds so wide that they say nothing are told in words, unless something is `decided` by them.
    """
    if interval is None or not math.isfinite(interval.estimate):
        return MISSING
    value = interval.estimate / scale.divisor
    if interval.low is None or interval.high is None:
        blocks = counted(interval.n, "block")
        return Quantity(number(value, decimals(value, None, most)), f"({blocks})", interval.estimate)
    if not decided and (share_says_nothing if scale == PERCENT else says_nothing)(interval):
        return Quantity(number(value, decimals(value, None, most)), "(too few to tell)", interval.estimate)
    low, high = interval.low / scale.divisor, interval.high / scale.divisor
    places = decimals(value, (high - low) / 2, most)
    return Quantity(number(value, places), f"[{number(low, places)}, {number(high, places)}]", interval.estimate)


TOO_FEW = "too few blocks to tell"
"""In place of a comparison whose interval says nothing."""

_WIDE = 10.0
"""Bounds of a positive quantity that are further apart than by this factor say nothing."""


def says_nothing(interval: Interval) -> bool:
    """Whether an interval of a positive quantity or a ratio is so wide that its bounds would only mislead."""
    if interval.low is None or interval.high is None:
        return False
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return True
    return 0 <= interval.low < interval.high and interval.high > _WIDE * interval.low


def drawn_bounds(interval: Interval) -> tuple[float, float] | None:
    """The bounds that a figure shows; None where there are none, or they would only stretch its axis."""
    if interval.low is None or interval.high is None or says_nothing(interval):
        return None
    return interval.low, interval.high


def share_says_nothing(interval: Interval) -> bool:
    """The same of an interval of a share, which may be near zero or below: where it reaches beyond -1000 %."""
    low, high = interval.low, interval.high
    return low is not None and high is not None and (low < -_WIDE or not math.isfinite(high - low))


def compared(ratio: Interval) -> Quantity:
    """A ratio of two configurations; in words where its interval holds 1 and says nothing."""
    if _open(ratio):
        return Quantity(TOO_FEW, value=ratio.estimate)
    return quantity(ratio, decided=True)


def saved(ratio: Interval) -> Quantity:
    """What `saving` tells, in percent: whole between 10 and 99, finer outside; in words where it would mislead.

    That is where the interval of `ratio` holds 1 and says nothing, and where the first needs more than ten times as
    much: `-387,761 %` is no saving.
    """
    share = saving(ratio)
    if _open(ratio):
        return Quantity(TOO_FEW, value=share.estimate)
    if ratio.estimate > _WIDE + 1:
        return Quantity(f"needs {number(ratio.estimate)} times as much", value=share.estimate)
    most = 4 if abs(share.estimate) >= 0.99 else 2
    return quantity(share, PERCENT, most)


def _open(ratio: Interval) -> bool:
    low, high = ratio.low, ratio.high
    return low is not None and high is not None and low <= 1 <= high and says_nothing(ratio)


def saving(ratio: Interval) -> Interval:
    """A ratio of energies first / second as the share that the first saves: 0.7 [0.6, 0.8] is 0.3 [0.2, 0.4]."""
    low = None if ratio.high is None else 1 - ratio.high
    high = None if ratio.low is None else 1 - ratio.low
    return Interval(1 - ratio.estimate, low, high, ratio.n)


def inverse(ratio: Interval) -> Interval:
    """The same ratio seen from the other side: second / first."""

    def turned(value: float | None) -> float | None:
        if value is None:
            return None
        return 1 / value if value > 0 else math.inf

    estimate = turned(ratio.estimate)
    return Interval(math.nan if estimate is None else estimate, turned(ratio.high), turned(ratio.low), ratio.n)


def in_unit(value: float | None, scale: Scale) -> str:
    """One value of a column, in the column's unit."""
    return number(None if value is None else value / scale.divisor)


def with_unit(value: float | None, scale: Scale) -> str:
    """One value alone, with its unit: `1.88 J`; a bare dash when missing."""
    text = in_unit(value, scale)
    return text if text == DASH or not scale.unit else f"{text} {scale.unit}"


def energy(value: float | None) -> str:
    """Joules alone, such as `463 mJ`."""
    return with_unit(value, si([value], "J"))


def memory(value: float | None) -> str:
    """Bytes alone, such as `1.51 GiB`."""
    return with_unit(value, binary([value]))


def percent(share: float | None) -> str:
    """A share as a percentage, whole where that tells it exactly enough: `100 %`, `99.7 %`."""
    if share is None or not math.isfinite(share):
        return DASH
    scaled = share * 100
    digits = 0 if abs(scaled - round(scaled)) < 0.05 else 1
    # 99.99 % must not read as 100 %, nor a little as nothing.
    if digits == 0 and share not in {0, 1} and round(scaled) in {0, 100}:
        return "<0.1 %" if scaled < 50 else ">99.9 %"
    return f"{number(scaled, digits)} %"


def duration(value: float | None) -> str:
    """Seconds alone, for reading: `210 ms`, `12.3 s`, `4 min 10 s`, `1 h 05 min`."""
    if value is None or not math.isfinite(value):
        return DASH
    if value < 60:
        return with_unit(value, seconds([value]))
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def align_points(texts: Sequence[str], digit: str = " ", point: str = " ") -> list[str]:
    """The texts padded on the right so that, set flush right, their decimal points stand in one line.

    Left alone where their digits after the point differ by more than three: the column would be mostly blank.
    """

    def places(text: str) -> int:
        whole, dot, fraction = text.partition(".")
        return len(fraction) if dot and whole else -1

    most = max(map(places, texts), default=-1)
    least = min((max(places(t), 0) for t in texts if t != DASH), default=0)
    if most < 0 or most - least > 3:
        return list(texts)

    def padding(text: str) -> str:
        return (point if places(text) < 0 else "") + digit * (most - max(places(text), 0))

    return [text if text == DASH else text + padding(text) for text in texts]

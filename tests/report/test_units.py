from __future__ import annotations

import math

import pytest

from servewatt.report import units
from servewatt.report.units import DASH, Scale
from servewatt.stats.records import Interval

MILLIJOULE = Scale("mJ", 1e-3)


@pytest.mark.parametrize(
    ("interval", "estimate", "bounds"),
    [
        # Half-width 0.04: one digit of it, so two after the point.
        (Interval(1.8812, 1.8412, 1.9212, 5), "1.88", "[1.84, 1.92]"),
        # Half-width 0.012: two digits of it, so three after the point.
        (Interval(1.8812, 1.8692, 1.8932, 5), "1.881", "[1.869, 1.893]"),
        # Half-width 40: none after the point.
        (Interval(1630.4, 1590.4, 1670.4, 5), "1630", "[1590, 1670]"),
        # A very tight interval shows five significant digits and no more.
        (Interval(1.23456789, 1.23456780, 1.23456798, 5), "1.2346", "[1.2346, 1.2346]"),
        # A wide one keeps two; bounds further apart than by a factor of ten are told in words.
        (Interval(0.5, 0.1, 0.99, 3), "0.50", "[0.10, 0.99]"),
        (Interval(0.5, 0.1, 1.01, 3), "0.500", "(too few to tell)"),
        (Interval(0.5, 0.01, 30.0, 2), "0.500", "(too few to tell)"),
        # Energy above idle may be around zero, and then it says so.
        (Interval(0.1, -0.3, 0.5, 5), "0.10", "[-0.30, 0.50]"),
        (Interval(0.0, 0.0, 0.0, 5), "0.00", "[0.00, 0.00]"),
        (Interval(0.7, 0.3, math.inf, 2), "0.700", "(too few to tell)"),
        (Interval(12345678.0, 12000000.0, 12500000.0, 5), "1.23e+07", "[1.20e+07, 1.25e+07]"),
    ],
)
def test_digits_follow_the_interval(interval: Interval, estimate: str, bounds: str) -> None:
    shown = units.quantity(interval)
    assert (shown.estimate, shown.interval) == (estimate, bounds)


@pytest.mark.parametrize(
    ("ratio", "saved", "compared"),
    [
        (Interval(0.7, 0.6, 0.8, 5), ("30", "[20, 40]"), ("0.70", "[0.60, 0.80]")),
        # Wide for a quantity, yet a saving of 0.1 % or of 20 % is one.
        (Interval(0.9, 0.8, 0.999, 5), ("10.0", "[0.1, 20.0]"), ("0.90", "[0.80, 1.00]")),
        # Holds 1 and spans more than a factor of ten: no number would help.
        (Interval(1.06, 0.0, 3900.0, 3), (units.TOO_FEW, ""), (units.TOO_FEW, "")),
        (Interval(3878.6, 0.5, math.inf, 3), (units.TOO_FEW, ""), (units.TOO_FEW, "")),
        # Wide, but below 1: that much is sure.
        (Interval(0.05, 0.005, 0.4, 3), ("95", "[60, 100]"), ("0.050", "[0.005, 0.400]")),
        # No saving at all: 100 * (1 - 50) would be -4900 %.
        (Interval(50.0, 40.0, 60.0, 3), ("needs 50.0 times as much", ""), ("50", "[40, 60]")),
    ],
)
def test_comparisons_that_say_nothing_are_told_in_words(
    ratio: Interval, saved: tuple[str, str], compared: tuple[str, str]
) -> None:
    shown = units.saved(ratio), units.compared(ratio)
    assert [(q.estimate, q.interval) for q in shown] == [saved, compared]


def test_without_bounds_the_number_of_blocks_stands_in_their_place() -> None:
    shown = units.quantity(Interval(0.41237, None, None, 1), MILLIJOULE)
    assert (shown.estimate, shown.interval) == ("412", "(1 block)")


def test_what_is_missing_is_a_dash_and_never_zero() -> None:
    assert units.quantity(None).estimate == DASH
    assert units.quantity(Interval(math.nan, None, None, 0)).estimate == DASH
    assert units.energy(None) == units.memory(None) == units.percent(None) == units.duration(None) == DASH


@pytest.mark.parametrize(
    ("values", "unit", "divisor"),
    [
        ([0.0057, 1.878], "mJ", 1e-3),
        ([2.3, 4.1], "J", 1.0),
        ([0.004, 110.0], "J", 1.0),  # in mJ the largest would read 110,000
        ([3e-12], "pJ", 1e-12),
        ([5e-16], "pJ", 1e-12),
        ([4.2e7, None], "MJ", 1e6),
        ([None, 0.0], "J", 1.0),
        ([1.0], "J", 1.0),
    ],
)
def test_a_column_has_one_unit(values: list[float | None], unit: str, divisor: float) -> None:
    assert units.si(values, "J") == Scale(unit, divisor)


def test_time_is_never_in_kiloseconds() -> None:
    assert units.seconds([86_400.0]).unit == "s"
    assert units.seconds([0.0021, 0.19]).unit == "ms"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.energy(0.4631), "463 mJ"),
        (units.energy(1.878), "1.88 J"),
        (units.memory(1_621_336_064), "1.51 GiB"),
        (units.memory(512), "512 B"),
        (units.percent(1.0), "100 %"),
        (units.percent(0.0), "0 %"),
        (units.percent(0.9997), ">99.9 %"),
        (units.percent(0.0001), "<0.1 %"),
        (units.percent(0.871), "87.1 %"),
        (units.duration(0.0213), "21.3 ms"),
        (units.duration(12.34), "12.3 s"),
        (units.duration(250.4), "4 min 10 s"),
        (units.duration(3905), "1 h 05 min"),
    ],
)
def test_single_values_carry_their_unit(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_ratio_becomes_what_the_first_saves() -> None:
    shown = units.saved(Interval(0.66, 0.62, 0.70, 5))
    assert (shown.estimate, shown.interval) == ("34", "[30, 38]")
    assert units.saved(Interval(0.0003, 0.0002, 0.0004, 5)).estimate == "99.97"
    assert units.saving(Interval(1.1, None, None, 1)).low is None


def test_a_ratio_turned_round_keeps_its_interval_around_it() -> None:
    turned = units.inverse(Interval(0.5, 0.4, 0.8, 5))
    assert (turned.low, turned.estimate, turned.high) == (1.25, 2.0, 2.5)
    assert units.inverse(Interval(0.5, 0.0, 0.8, 2)).high == math.inf


def test_decimal_points_stand_in_one_line() -> None:
    assert units.align_points(["1.88", "412", "26.0", DASH]) == ["1.88", "412   ", "26.0 ", DASH]


def test_negative_numbers_and_a_zero_without_sign() -> None:
    assert units.number(-3.14159) == "-3.14"
    assert units.number(-0.001, 1) == "0.0"
    assert units.number(23456.0) == "23,456"


@pytest.mark.parametrize(
    ("share", "interval"),
    [
        (Interval(0.003, 0.0001, 0.009, 5), "[0.01, 0.90]"),
        (Interval(-0.2, -5.0, 0.9, 3), "[-500, 90]"),
        (Interval(-3877.6, -40000.0, 0.5, 3), "(too few to tell)"),
        (Interval(0.5, 0.0, math.inf, 3), "(too few to tell)"),
    ],
)
def test_a_share_may_be_near_zero_but_not_below_minus_a_thousand_per_cent(share: Interval, interval: str) -> None:
    assert units.quantity(share, units.PERCENT).interval == interval

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import RefusedError
from servewatt.meters.energy import domain_energies, energy_between, integrate, outermost
from servewatt.meters.fake import FakeMeter
from servewatt.records import Component, Domain, Grade, PowerSample, Reading


def cpu(
    name: str = "cpu:package-0",
    *,
    quantum_s: float = 0.0,
    range_j: float | None = None,
    max_power_w: float | None = None,
    within: str | None = None,
    grade: Grade = Grade.COUNTER,
) -> Domain:
    return Domain(name, Component.CPU, grade, quantum_s, within, range_j, max_power_w)


def at(time_s: float, energy_j: float, name: str = "cpu:package-0") -> Reading:
    return Reading(name, time_s, energy_j)


def power(*points: tuple[float, float]) -> list[PowerSample]:
    return [PowerSample("gpu:0", time_s, power_w) for time_s, power_w in points]


GPU = Domain("gpu:0", Component.GPU, Grade.INTEGRATED, quantum_s=0.0)


def test_a_counter_that_does_not_wrap_gives_the_plain_difference() -> None:
    assert energy_between(cpu(), at(10.0, 500.0), at(20.0, 1750.0)) == (1250.0, 0.0)


def test_one_wrap_is_corrected_from_the_range() -> None:
    # 65,536 J range; 65,500 -> end is 36 J, and 164 J after it.
    domain = cpu(range_j=65_536.0, max_power_w=200.0)
    assert energy_between(domain, at(0.0, 65_500.0), at(2.0, 164.0))[0] == pytest.approx(200.0)


def test_a_window_long_enough_for_another_wrap_is_refused() -> None:
    domain = cpu(range_j=1000.0, max_power_w=100.0)
    # 50 J seen: 1050 J would take 10.5 s at 100 W.
    assert energy_between(domain, at(0.0, 0.0), at(10.4, 50.0))[0] == 50.0
    with pytest.raises(RefusedError, match="wrapped"):
        energy_between(domain, at(0.0, 0.0), at(10.5, 50.0))
    # 950 -> 50 is one wrap, 100 J; a second would need 1100 J, 11 s.
    assert energy_between(domain, at(0.0, 950.0), at(10.9, 50.0))[0] == 100.0
    with pytest.raises(RefusedError, match="wrapped"):
        energy_between(domain, at(0.0, 950.0), at(11.0, 50.0))


def test_without_a_known_maximum_a_wrapping_counter_may_draw_a_kilowatt() -> None:
    with pytest.raises(RefusedError):
        energy_between(cpu(range_j=1000.0), at(0.0, 0.0), at(1.1, 50.0))


def test_a_counter_without_range_that_goes_backwards_was_reset() -> None:
    with pytest.raises(RefusedError, match="backwards") as caught:
        energy_between(cpu(), at(0.0, 1e6), at(10.0, 12.0))
    assert "driver" in caught.value.hint


def test_quantum_error_is_the_largest_steady_power_over_one_quantum() -> None:
    # 990 J in 10 s with 0.1 s steps: at most 990 / 9.9 = 100 W, so 10 J.
    assert energy_between(cpu(quantum_s=0.1), at(0.0, 0.0), at(10.0, 990.0))[1] == pytest.approx(10.0)


def test_a_reading_known_to_be_fresh_halves_the_error_and_moves_the_middle() -> None:
    # 100 W for 10 s, counter of 0.1 s; the first reading is at most 0.01 s old, the last one up to 0.1 s: on average
    # the difference lacks (0.1 - 0.01) / 2 = 0.045 s of 100 W, give or take (0.1 + 0.01) / 2 = 0.055 s of it.
    domain = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1, max_power_w=100.0)
    energy_j, error_j = energy_between(domain, Reading("gpu:0", 0.0, 0.0, age_s=0.01), Reading("gpu:0", 10.0, 1000.0))
    assert energy_j == pytest.approx(1004.5)
    assert error_j == pytest.approx(5.5)


def test_two_fresh_readings_leave_no_bias() -> None:
    domain = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1, max_power_w=100.0)
    first, last = Reading("gpu:0", 0.0, 0.0, age_s=0.01), Reading("gpu:0", 10.0, 1000.0, age_s=0.01)
    assert energy_between(domain, first, last) == pytest.approx((1000.0, 1.0))


def test_within_one_quantum_only_the_maximum_power_bounds_the_error() -> None:
    domain = cpu(quantum_s=0.1, max_power_w=700.0)
    assert energy_between(domain, at(0.0, 5.0), at(0.05, 5.0)) == pytest.approx((0.0, 70.0))


def test_a_window_long_enough_for_two_wraps_is_refused() -> None:
    domain = cpu(range_j=1000.0, max_power_w=100.0)
    with pytest.raises(RefusedError):
        energy_between(domain, at(0.0, 0.0), at(50.0, 0.0))


@given(
    power_w=st.floats(1.0, 500.0),
    start_s=st.floats(0.0, 1e5),
    duration_s=st.floats(0.2, 60.0),
    quantum_s=st.floats(0.001, 0.1),
)
def test_the_error_bound_holds_for_any_steady_power(
    power_w: float, start_s: float, duration_s: float, quantum_s: float
) -> None:
    now = [start_s]
    meter = FakeMeter({"cpu:package-0": power_w}, quantum_s=quantum_s, range_j=65_536.0, clock=lambda: now[0])
    first = meter.read()[0]
    now[0] = start_s + duration_s
    energy_j, error_j = energy_between(meter.domains()[0], first, meter.read()[0])
    assert abs(energy_j - power_w * duration_s) <= error_j * (1 + 1e-6) + 1e-4


def test_trapezoids_are_interpolated_at_the_borders() -> None:
    # Power rises 10 W a second from 100 W: 0.5 s to 2.5 s is 2 s at a mean of 115 W.
    samples = power((0, 100), (1, 110), (2, 120), (3, 130))
    energy_j, error_j = integrate(GPU, samples, 0.5, 2.5)
    assert energy_j == pytest.approx(230.0)
    # Half widths times change: 0.25 x 5 + 0.5 x 10 + 0.25 x 5.
    assert error_j == pytest.approx(7.5)


def test_a_window_between_two_samples_is_interpolated() -> None:
    assert integrate(GPU, power((0, 100), (1, 200)), 0.4, 0.6)[0] == pytest.approx(0.2 * 150)


def test_samples_that_do_not_cover_the_window_are_refused() -> None:
    samples = power((1, 100), (2, 100), (3, 100))
    assert integrate(GPU, samples, 0.0, 4.0)[0] == pytest.approx(400.0)
    for start_s, end_s in ((-1.5, 3.0), (1.0, 5.5), (20.0, 21.0)):
        with pytest.raises(RefusedError, match="cover"):
            integrate(GPU, samples, start_s, end_s)
    with pytest.raises(RefusedError, match="no power sample"):
        integrate(GPU, [], 0.0, 1.0)
    gap = power((0, 100), (1, 100), (2, 100), (9, 100), (10, 100))
    with pytest.raises(RefusedError, match="cover"):
        integrate(GPU, gap, 0.0, 10.0)


def test_samples_of_other_domains_are_passed_over() -> None:
    samples = [*power((0, 100), (1, 100)), PowerSample("gpu:1", 0.5, 900.0)]
    assert integrate(GPU, samples, 0.0, 1.0)[0] == pytest.approx(100.0)


@given(st.lists(st.floats(0.0, 1000.0), min_size=2, max_size=30), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_an_integral_is_the_sum_of_its_parts(powers: list[float], a: float, b: float) -> None:
    samples = power(*enumerate(powers))
    end_s = float(len(powers) - 1)
    first_s, second_s = sorted((a * end_s, b * end_s))
    whole_j = integrate(GPU, samples, 0.0, end_s)[0]
    cuts = [(0.0, first_s), (first_s, second_s), (second_s, end_s)]
    assert math.isclose(whole_j, sum(integrate(GPU, samples, s, e)[0] for s, e in cuts), rel_tol=1e-9, abs_tol=1e-6)
    assert min(powers) * end_s - 1e-6 <= whole_j <= max(powers) * end_s + 1e-6


def test_only_outermost_domains_count() -> None:
    psys = Domain("machine:psys", Component.MACHINE, Grade.COUNTER, 0.0)
    package = cpu(within="machine:psys")
    core = cpu("cpu:core-0", within="cpu:package-0")
    domains = (psys, package, core)
    first = [at(0.0, 0.0, d.name) for d in domains]
    last = [at(10.0, e, d.name) for d, e in zip(domains, (1000.0, 600.0, 400.0), strict=True)]
    found = domain_energies(domains, first, last)
    assert [(e.energy_j, e.counted) for e in found] == [(1000.0, True), (600.0, False), (400.0, False)]


def test_what_a_missing_container_held_counts_by_itself() -> None:
    psys = Domain("machine:psys", Component.MACHINE, Grade.COUNTER, 0.0)
    package = cpu(within="machine:psys")
    core = cpu("cpu:core-0", within="cpu:package-0")
    names = ("cpu:package-0", "cpu:core-0")
    found = domain_energies(
        (psys, package, core), [at(0.0, 0.0, n) for n in names], [at(10.0, 600.0, n) for n in names]
    )
    assert [(e.grade, e.counted) for e in found] == [
        (Grade.MISSING, False),
        (Grade.COUNTER, True),
        (Grade.COUNTER, False),
    ]
    # With the package missing, the core still lies within the platform.
    assert outermost((psys, package, core), {"machine:psys", "cpu:core-0"}) == {"machine:psys"}


def test_counted_and_integrated_domains_come_together() -> None:
    found = domain_energies(
        (cpu(), GPU), [at(1.0, 0.0)], [at(3.0, 60.0)], power((0, 100), (1, 100), (2, 100), (3, 100))
    )
    assert [(e.domain, e.energy_j, e.grade) for e in found] == [
        ("cpu:package-0", 60.0, Grade.COUNTER),
        ("gpu:0", pytest.approx(200.0), Grade.INTEGRATED),
    ]
    assert all(e.counted for e in found)

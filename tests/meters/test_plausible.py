"""Differences and power readings that no domain can have drawn."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from servewatt.errors import RefusedError, UnavailableError
from servewatt.meters.energy import added_up, domain_energies, energy_between, integrate
from servewatt.meters.plausible import BURST_S, CEILING_W, HEADROOM, is_power, most_power_w, stood_still
from servewatt.records import Component, Domain, DomainEnergy, Grade, PowerSample, Reading

RANGE_J = 262_143.0
PACKAGE = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001, range_j=RANGE_J, max_power_w=65.0)
GPU = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1, max_power_w=300.0)


def kind(component: Component, max_power_w: float | None = None, range_j: float | None = None) -> Domain:
    return Domain(f"{component.value}:0", component, Grade.COUNTER, 0.001, range_j=range_j, max_power_w=max_power_w)


def at(domain: Domain, time_s: float, energy_j: float) -> Reading:
    return Reading(domain.name, time_s, energy_j)


def steady(domain: Domain, power_w: float, duration_s: float, every_s: float = 0.5) -> list[PowerSample]:
    return [PowerSample(domain.name, i * every_s, power_w) for i in range(round(duration_s / every_s) + 1)]


def one(domain: Domain, first_j: float, last_j: float, duration_s: float, samples: list[PowerSample]) -> DomainEnergy:
    readings = [at(domain, 0.0, first_j)], [at(domain, duration_s, last_j)]
    (found,) = domain_energies([domain], *readings, samples)
    return found


def test_a_counter_set_back_to_zero_is_no_wrap() -> None:
    # From 150 kJ to 0.9 kJ in 20 s: as a wrap that is 113,043 J, 5,652 W.
    with pytest.raises(RefusedError, match=r"went backwards by 149,100 J in 20 s.*5,652 W.*at most 65 W") as caught:
        energy_between(PACKAGE, at(PACKAGE, 0.0, 150_000.0), at(PACKAGE, 20.0, 900.0))
    assert "suspended" in caught.value.hint


@pytest.mark.parametrize(
    ("domain", "most_w"),
    [
        (kind(Component.CPU, 65.0), 130.0),
        # Firmware that states more than anything draws, or nothing.
        (kind(Component.CPU, 4000.0), 4000.0),
        (kind(Component.CPU, 800.0), 1000.0),
        (kind(Component.CPU), 1000.0),
        (kind(Component.DRAM), 600.0),
        (kind(Component.GPU), 3000.0),
        (kind(Component.MACHINE), 30_000.0),
    ],
)
@pytest.mark.parametrize("ranged", [False, True])
def test_a_jump_beyond_what_the_domain_draws_is_refused(domain: Domain, most_w: float, ranged: bool) -> None:
    if ranged:
        domain = kind(domain.component, domain.max_power_w, 1e9)
    assert most_power_w(domain) == most_w
    # 10 s, the quantum of a reading before them, and a burst that no limit has caught yet.
    most_j = most_w * (10.0 + 0.001 + BURST_S)
    assert energy_between(domain, at(domain, 0.0, 5.0), at(domain, 10.0, 4.0 + most_j))[0] == pytest.approx(most_j - 1)
    with pytest.raises(RefusedError, match=f"{domain.name}: the energy counter moved by"):
        energy_between(domain, at(domain, 0.0, 5.0), at(domain, 10.0, 6.0 + most_j))


def test_a_counter_that_gives_no_number_is_refused() -> None:
    for first_j, last_j in ((0.0, math.nan), (math.inf, 0.0), (0.0, math.inf)):
        with pytest.raises(RefusedError, match="the energy counter gave"):
            energy_between(GPU, at(GPU, 0.0, first_j), at(GPU, 1.0, last_j))


def test_a_counter_that_goes_backwards_is_refused() -> None:
    with pytest.raises(RefusedError, match="went backwards by 1,070 J"):
        energy_between(PACKAGE, at(PACKAGE, 20.0, 1_100.0), at(PACKAGE, 30.0, 30.0))


honest = {
    "limit_w": st.one_of(st.none(), st.floats(1.0, 500.0)),
    "share": st.floats(0.0, HEADROOM),
    "start_j": st.floats(0.0, RANGE_J - 1.0),
    "duration_s": st.floats(0.001, 120.0),
}


@given(**honest)
def test_an_honest_course_is_never_refused(
    limit_w: float | None, share: float, start_j: float, duration_s: float
) -> None:
    """Up to twice the stated limit, through a wrap or not; without a limit up to its kind's ceiling."""
    domain = kind(Component.CPU, limit_w, RANGE_J)
    power_w = share * limit_w if limit_w else share * CEILING_W[Component.CPU] / HEADROOM
    energy_j = power_w * duration_s
    # Longer windows might hold another wrap, which is refused for another reason.
    assume(energy_j + RANGE_J > (limit_w or CEILING_W[Component.CPU]) * duration_s)
    last_j = (start_j + energy_j) % RANGE_J
    assume(last_j != start_j)
    found_j, _ = energy_between(domain, at(domain, 0.0, start_j), at(domain, duration_s, last_j))
    assert found_j == pytest.approx(energy_j, abs=1e-3 + energy_j * 0.001 / duration_s)


@given(
    before_j=st.floats(0.0, RANGE_J),
    since_j=st.floats(0.0, 1000.0),
    duration_s=st.floats(0.1, 60.0),
    limit_w=st.floats(1.0, 500.0),
)
def test_a_reset_is_refused_wherever_it_exceeds_what_can_be_drawn(
    before_j: float, since_j: float, duration_s: float, limit_w: float
) -> None:
    domain = kind(Component.CPU, limit_w, RANGE_J)
    seen_j = since_j - before_j + (RANGE_J if since_j < before_j else 0.0)
    assume(seen_j > HEADROOM * limit_w * (duration_s + 1.0))
    with pytest.raises(RefusedError):
        energy_between(domain, at(domain, 0.0, before_j), at(domain, duration_s, since_j))


@given(before_j=st.floats(0.001, 1e9), since_j=st.floats(0.0, 1e9), duration_s=st.floats(0.1, 1e4))
def test_a_counter_without_range_never_goes_backwards(before_j: float, since_j: float, duration_s: float) -> None:
    assume(since_j < before_j)
    with pytest.raises(RefusedError, match="went backwards"):
        energy_between(GPU, at(GPU, 0.0, before_j), at(GPU, duration_s, since_j))


def test_a_reset_that_passes_for_a_wrap_contradicts_the_readings_in_between() -> None:
    # A range of 65,536 J, no limit: 60 s of 100 W in which it was set back look like 25,036 J.
    amd = kind(Component.CPU, None, 65_536.0)
    with pytest.raises(RefusedError, match="417 W on average, the power readings 100 to 100 W"):
        one(amd, 41_000.0, 500.0, 60.0, steady(amd, 100.0, 60.0))
    # Set back and past its old value: 1000 J of the 6000 J are left.
    with pytest.raises(RefusedError, match=r"16\.7 W on average, the power readings 100 to 100 W"):
        one(amd, 500.0, 1_500.0, 60.0, steady(amd, 100.0, 60.0))
    # A true wrap agrees with them.
    assert one(amd, 63_000.0, 3_464.0, 60.0, steady(amd, 100.0, 60.0)).energy_j == pytest.approx(6000.0)
    # So does a burst that began after the last sample inside: the next one after the end shows it.
    burst = [*steady(amd, 10.0, 4.0), PowerSample(amd.name, 4.5, 500.0)]
    assert one(amd, 0.0, 290.0, 4.4, burst).energy_j == pytest.approx(290.0)


def test_a_counter_far_below_its_power_readings_missed_energy() -> None:
    with pytest.raises(RefusedError, match="20 W on average, the power readings 220 to 220 W"):
        one(GPU, 0.0, 200.0, 10.0, steady(GPU, 220.0, 10.0))
    # A load in bursts, of which a few samples may see only the bursts, is none.
    assert one(GPU, 0.0, 400.0, 10.0, steady(GPU, 220.0, 10.0)).grade is Grade.COUNTER
    # Nor are four samples enough to tell.
    assert one(GPU, 0.0, 60.0, 1.9, steady(GPU, 220.0, 1.5)).grade is Grade.COUNTER


@pytest.mark.parametrize("power_w", [math.nan, math.inf, -1.0, 4_294_967.295, 3_700.0, 601.0])
def test_what_is_no_power_is_not_integrated(power_w: float) -> None:
    assert not is_power(GPU, power_w)
    samples = steady(GPU, 200.0, 10.0)
    samples[7] = PowerSample("gpu:0", samples[7].time_s, power_w)
    assert integrate(GPU, samples, 0.0, 10.0)[0] == pytest.approx(2000.0)
    with pytest.raises(RefusedError, match="no power sample"):
        integrate(GPU, steady(GPU, power_w, 10.0), 0.0, 10.0)


def test_a_counter_that_stands_still_gives_way_to_the_power_readings() -> None:
    found = one(GPU, 5_198_685.762, 5_198_685.762, 10.0, steady(GPU, 220.0, 10.0))
    assert found.energy_j == pytest.approx(2200.0)
    assert (found.grade, found.counted) == (Grade.INTEGRATED, True)
    assert found.error_j > 0


def test_a_counter_that_stands_still_is_never_zero_joules() -> None:
    for samples in ([], steady(GPU, 0.0, 10.0)):
        with pytest.raises(UnavailableError, match=r"gpu:0: the energy counter stands still") as caught:
            one(GPU, 7.0, 7.0, 10.0, samples)
        assert "servewatt doctor" in caught.value.hint


def test_samples_that_do_not_cover_a_section_may_the_next_time() -> None:
    """The sensor works, so the trial is worth repeating."""
    gap = [s for s in steady(GPU, 220.0, 10.0) if not 2.0 < s.time_s < 8.0]
    with pytest.raises(RefusedError, match="do not cover the window"):
        one(GPU, 7.0, 7.0, 10.0, gap)


def test_power_readings_of_zero_are_never_zero_joules() -> None:
    sensor = Domain("gpu:0", Component.GPU, Grade.INTEGRATED, 0.1)
    with pytest.raises(UnavailableError, match="every power reading is 0 W"):
        one(sensor, 0.0, 0.0, 10.0, steady(sensor, 0.0, 10.0))


def test_what_stands_still_inside_another_domain_is_missing_and_the_sum_goes_on() -> None:
    inside = Domain("cpu:uncore-0", Component.CPU, Grade.COUNTER, 0.001, within="cpu:package-0")
    domains = (PACKAGE, inside)
    first = [at(d, 0.0, 5.0) for d in domains]
    found = domain_energies(domains, first, [at(PACKAGE, 10.0, 105.0), at(inside, 10.0, 5.0)])
    assert [(e.energy_j, e.grade, e.counted) for e in found] == [
        (100.0, Grade.COUNTER, True),
        (0.0, Grade.MISSING, False),
    ]


def test_a_section_shorter_than_a_few_steps_may_see_none() -> None:
    """Its energy is then bounded by what the domain can draw, not told as exactly nothing."""
    first = at(GPU, 0.0, 7.0)
    assert not stood_still(GPU, first, at(GPU, 0.3, 7.0))
    assert stood_still(GPU, first, at(GPU, 0.31, 7.0))
    assert energy_between(GPU, first, at(GPU, 0.05, 7.0)) == pytest.approx((0.0, 30.0))
    assert energy_between(GPU, first, at(GPU, 0.25, 7.0)) == pytest.approx((0.0, 75.0))
    fine = kind(Component.DRAM, 20.0)
    assert not stood_still(fine, at(fine, 0.0, 7.0), at(fine, 0.05, 7.0))
    assert one(fine, 7.0, 7.0, 0.05, []).error_j == pytest.approx(1.0)


def test_memory_that_draws_little_is_measured() -> None:
    memory = kind(Component.DRAM, 40.0, 65_536.0)
    # 0.05 W for 0.5 s, four readings of the sampler.
    assert one(memory, 1.0, 1.025, 0.5, steady(memory, 0.05, 0.5, 0.1)).energy_j == pytest.approx(0.025)


def test_a_package_within_a_platform_is_judged_too() -> None:
    """Within the boundary of the CPU it is what is added up."""
    platform = Domain("machine:psys", Component.MACHINE, Grade.COUNTER, 0.001)
    inside = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001, within="machine:psys")
    core = Domain("cpu:core-0", Component.CPU, Grade.COUNTER, 0.001, within="cpu:package-0")
    domains = (platform, inside, core)
    assert added_up(domains) == {"machine:psys", "cpu:package-0"}
    last = [at(platform, 10.0, 505.0), at(inside, 10.0, 5.0), at(core, 10.0, 5.0)]
    with pytest.raises(UnavailableError, match="cpu:package-0: the energy counter stands still"):
        domain_energies(domains, [at(d, 0.0, 5.0) for d in domains], last)


@given(wraps=st.integers(1, 5), start_j=st.floats(0.0, 65_535.0), power_w=st.floats(60.0, 400.0))
def test_a_long_window_s_wraps_are_told_by_the_readings_in_between(wraps: int, start_j: float, power_w: float) -> None:
    """A range of 65,536 J and no stated limit: two readings tell no window over 65 s."""
    amd = kind(Component.CPU, None, 65_536.0)
    energy_j = wraps * 65_536.0 - 30_000.0
    duration_s = energy_j / power_w
    last_j = (start_j + energy_j) % 65_536.0
    if duration_s > 100.0:
        with pytest.raises(RefusedError, match="may have wrapped"):
            one(amd, start_j, last_j, duration_s, [])
    samples = steady(amd, power_w, duration_s + 10.0, 5.0)
    assert one(amd, start_j, last_j, duration_s, samples).energy_j == pytest.approx(energy_j)
    # Where it was set back in between, the readings contradict it.
    with pytest.raises(RefusedError):
        one(
            amd,
            start_j,
            (last_j + 32_768.0) % 65_536.0,
            min(duration_s, 100.0),
            steady(amd, 5.0, duration_s + 10.0, 5.0),
        )


def test_a_counter_that_steps_far_more_rarely_than_it_should_is_refused() -> None:
    """Every 2 s instead of every millisecond: its own readings are 0 W in between."""
    samples = [PowerSample(PACKAGE.name, 0.5 * i, 120.0 if i % 4 == 0 else 0.0) for i in range(22)]
    with pytest.raises(UnavailableError, match=r"stood still for 0\.5 s, where it should step every 0\.001 s"):
        one(PACKAGE, 0.0, 300.0, 10.0, samples)
    # Two readings a moment apart may well be equal.
    close = [*steady(PACKAGE, 40.0, 9.5), PowerSample(PACKAGE.name, 9.5004, 0.0), PowerSample(PACKAGE.name, 10.0, 40.0)]
    assert one(PACKAGE, 0.0, 400.0, 10.0, close).energy_j == 400.0

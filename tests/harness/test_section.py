"""Marks, and what the sections between them say or refuse to say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from servewatt.errors import RefusedError, ServewattError, UnavailableError
from servewatt.harness.section import Mark, Stretch, check_sensor, suspended_s, take_mark, take_mark_at_step, to_section
from servewatt.meters.cpu_times import SystemCpu
from servewatt.meters.fake import FakeMeter
from servewatt.records import Component, Domain, Grade, PowerSample, Reading, Section, UtilisationSample

CPU = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001, range_j=65_536.0, max_power_w=100.0)
SECOND = Domain("cpu:package-1", Component.CPU, Grade.COUNTER, 0.001, range_j=65_536.0, max_power_w=100.0)
GPU = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1, max_power_w=300.0)
ESTIMATE = Domain("cpu:estimated", Component.CPU, Grade.ESTIMATED, 0.01, max_power_w=50.0)


def mark(
    time_s: float,
    energies: dict[str, float],
    *,
    own_cpu_s: float = 0.0,
    busy_s: float | None = 100.0,
    suspended_s: float = 5.0,
    unmoved: tuple[str, ...] = (),
) -> Mark:
    system = None if busy_s is None else SystemCpu(busy_s, 1.0, 4)
    readings = tuple(Reading(name, time_s, energy_j) for name, energy_j in energies.items())
    return Mark(time_s, readings, own_cpu_s, system, unmoved, suspended_s)


def section(first: Mark, last: Mark, domains: Sequence[Domain] = (CPU,), power: Sequence[PowerSample] = ()) -> Section:
    return to_section(Stretch("generate", first, last), domains, power, 0.0)


def test_a_mark_at_a_step_is_fresh() -> None:
    meter = FakeMeter({"gpu:0": 100.0, "cpu:package-0": 10.0}, quantum_s=0.1)
    mark = take_mark_at_step([meter], meter.domains()[0])
    gpu, cpu = mark.readings
    assert gpu.age_s is not None
    assert mark.time_s % 0.1 <= gpu.age_s < 0.1
    assert cpu.age_s is None
    assert mark.unmoved == ()
    # The counter shows the energy of the step that has just been taken.
    assert abs(gpu.energy_j - 100.0 * mark.time_s) <= 100.0 * gpu.age_s + 1e-6


def test_a_counter_that_stands_still_is_given_up() -> None:
    meter = FakeMeter({"gpu:0": 0.0}, quantum_s=0.02)
    begin_s = time.monotonic()
    mark = take_mark_at_step([meter], meter.domains()[0])
    assert [r.age_s for r in mark.readings] == [None]
    assert mark.unmoved == ("gpu:0",)
    assert time.monotonic() - begin_s < 5.0


def test_without_a_stepping_counter_a_mark_is_just_a_mark() -> None:
    meter = FakeMeter({"gpu:0": 100.0})
    assert [r.age_s for r in take_mark_at_step([meter], None).readings] == [None]


def test_a_section_tells_energy_and_whose_cpu_time_it_took() -> None:
    found = section(
        mark(10.0, {"cpu:package-0": 50.0}), mark(14.0, {"cpu:package-0": 250.0}, own_cpu_s=8.0, busy_s=109.0)
    )
    assert [(e.energy_j, e.grade, e.counted) for e in found.energy] == [(200.0, Grade.COUNTER, True)]
    assert (found.own_cpu_s, found.foreign_cpu_s, found.stolen_cpu_s) == (8.0, 1.0, 0.0)


def test_a_suspend_in_a_section_is_no_measurement() -> None:
    # Whatever the counter did meanwhile: here it looks like 50 W.
    first = mark(10.0, {"cpu:package-0": 50.0})
    with pytest.raises(RefusedError, match="suspended for 63 s during section generate") as caught:
        section(first, mark(14.0, {"cpu:package-0": 250.0}, suspended_s=68.0))
    assert "systemd-inhibit" in caught.value.hint
    assert section(first, mark(14.0, {"cpu:package-0": 250.0}, suspended_s=5.001)).duration_s == 4.0


def test_the_time_spent_suspended_does_not_grow_while_awake() -> None:
    before_s = suspended_s()
    time.sleep(0.05)
    assert suspended_s() - before_s == pytest.approx(0.0, abs=0.04)
    assert take_mark([]).suspended_s == pytest.approx(before_s, abs=0.04)


@pytest.mark.parametrize("gone", [("first",), ("last",), ("first", "last")])
def test_one_package_that_could_not_be_read_makes_the_sum_no_measurement(gone: tuple[str, ...]) -> None:
    both = {"cpu:package-0": 50.0, "cpu:package-1": 50.0}
    one = {"cpu:package-0": 50.0}
    first = mark(10.0, one if "first" in gone else both)
    last = mark(12.0, {name: energy_j + 100.0 for name, energy_j in (one if "last" in gone else both).items()})
    with pytest.raises(RefusedError, match=r"cpu:package-1.* could not be read"):
        section(first, last, (CPU, SECOND))


def test_each_package_is_judged_by_itself() -> None:
    """The sum of the two moved all the same."""
    first = mark(10.0, {"cpu:package-0": 50.0, "cpu:package-1": 50.0})
    last = mark(12.0, {"cpu:package-0": 150.0, "cpu:package-1": 50.0})
    with pytest.raises(UnavailableError, match="cpu:package-1: the energy counter stands still"):
        section(first, last, (CPU, SECOND))


def test_a_counter_that_was_waited_for_in_vain_is_not_believed() -> None:
    """One that steps every 20 s: 30 s of 200 W show as 20 s of it."""
    samples = [PowerSample("gpu:0", 0.5 * i, 200.0) for i in range(62)]
    last = mark(30.0, {"gpu:0": 4000.0})
    found = section(mark(0.0, {"gpu:0": 0.0}, unmoved=("gpu:0",)), last, (GPU,), samples).energy[0]
    assert found.energy_j == pytest.approx(6000.0)
    assert found.grade is Grade.INTEGRATED
    with pytest.raises(UnavailableError, match="did not step as it should"):
        section(mark(0.0, {"gpu:0": 0.0}, unmoved=("gpu:0",)), last, (GPU,))


@pytest.mark.parametrize("busy_s", [None, 100.0, 100.5, 42.0])
def test_no_power_is_estimated_from_cpu_times_that_do_not_count(busy_s: float | None) -> None:
    """Of 8 s of the process's own CPU time, /proc/stat shows nothing, a sixteenth, or a step back."""
    first = mark(10.0, {"cpu:estimated": 0.0}, busy_s=None if busy_s is None else 100.0)
    last = mark(14.0, {"cpu:estimated": 40.0}, own_cpu_s=8.0, busy_s=busy_s)
    with pytest.raises(UnavailableError, match="stand still"):
        section(first, last, (ESTIMATE,))
    # Beside a counter only the load of others is not known: null, not zero.
    counted = section(
        mark(10.0, {"cpu:package-0": 0.0}, busy_s=None if busy_s is None else 100.0),
        mark(14.0, {"cpu:package-0": 40.0}, own_cpu_s=8.0, busy_s=busy_s),
    )
    assert (counted.foreign_cpu_s, counted.stolen_cpu_s) == (None, None)


def test_an_idle_section_may_use_no_cpu_time_at_all() -> None:
    last = mark(14.0, {"cpu:estimated": 40.0}, own_cpu_s=0.02)
    found = section(mark(10.0, {"cpu:estimated": 0.0}), last, (ESTIMATE,))
    assert [(e.energy_j, e.grade) for e in found.energy] == [(40.0, Grade.ESTIMATED)]
    assert found.foreign_cpu_s == 0.0


@pytest.mark.parametrize(
    ("last_j", "kind"),
    # Set back to zero 20 s ago; a jump; still.
    [(10.0, RefusedError), (60_000.0, RefusedError), (50_000.0, UnavailableError)],
)
def test_what_a_counter_cannot_have_counted_is_no_energy(last_j: float, kind: type[ServewattError]) -> None:
    with pytest.raises(kind, match="cpu:package-0"):
        section(mark(0.0, {"cpu:package-0": 50_000.0}), mark(20.0, {"cpu:package-0": last_j}))


def test_what_stands_still_inside_another_domain_is_absent_from_the_section() -> None:
    inside = Domain("cpu:uncore-0", Component.CPU, Grade.COUNTER, 0.001, within="cpu:package-0")
    first = mark(10.0, {"cpu:package-0": 50.0, "cpu:uncore-0": 3.0})
    last = mark(14.0, {"cpu:package-0": 250.0, "cpu:uncore-0": 3.0})
    assert [e.domain for e in section(first, last, (CPU, inside)).energy] == ["cpu:package-0"]


@pytest.mark.parametrize(
    ("powers", "loads", "still"),
    [
        ([35.5] * 12, [0.0] * 6 + [98.0] * 6, True),
        # A sensor that moves; a board that stays idle, or busy; too few readings; a load that is not known.
        ([35.5] * 11 + [35.6], [0.0] * 6 + [98.0] * 6, False),
        ([35.5] * 12, [0.0] * 12, False),
        ([220.0] * 12, [97.0] * 12, False),
        ([35.5] * 9, [0.0] * 5 + [98.0] * 4, False),
        ([35.5] * 12, [None] * 12, False),
    ],
)
def test_a_power_reading_that_stands_still_under_load_is_no_source(
    powers: list[float], loads: list[float | None], still: bool
) -> None:
    sensor = Domain("gpu:0", Component.GPU, Grade.INTEGRATED, 0.1)
    power = [PowerSample("gpu:0", 0.5 * i, power_w) for i, power_w in enumerate(powers)]
    use = [UtilisationSample(0.5 * i, gpu_percent=load) for i, load in enumerate(loads)]
    if still:
        with pytest.raises(UnavailableError, match=r"stood still at 35\.5 W .* from 0 to 98 %"):
            check_sensor(sensor, power, use)
    else:
        check_sensor(sensor, power, use)


def test_an_estimate_beside_a_counter_is_left_out_where_cpu_times_do_not_count() -> None:
    beside = replace(ESTIMATE, within="cpu:package-0")
    first = mark(10.0, {"cpu:package-0": 0.0, "cpu:estimated": 0.0}, busy_s=None)
    last = mark(14.0, {"cpu:package-0": 200.0, "cpu:estimated": 40.0}, busy_s=None)
    assert [(e.domain, e.counted) for e in section(first, last, (CPU, beside)).energy] == [("cpu:package-0", True)]

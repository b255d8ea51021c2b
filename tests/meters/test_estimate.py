from __future__ import annotations

from pathlib import Path

import pytest

from servewatt.errors import InputError, RefusedError
from servewatt.meters.cpu_times import TICK_S
from servewatt.meters.energy import energy_between
from servewatt.meters.estimate import EstimateMeter
from servewatt.records import Component, Grade
from tests.meters.builders import write_stat


def meter(proc: Path, now: list[float], watts: tuple[float, float] | None = (10.0, 50.0)) -> EstimateMeter:
    return EstimateMeter(watts, proc=proc, clock=lambda: now[0])


def test_half_the_cpus_busy_draws_half_way_between_idle_and_full(tmp_path: Path) -> None:
    now = [1000.0]
    write_stat(tmp_path, 0, cpus=4)
    estimate = meter(tmp_path, now)
    first = estimate.read()[0]
    # 10 s with 2 of 4 CPUs busy: 20 CPU seconds; 10 W + 40 W / 2 = 30 W.
    now[0] = 1010.0
    write_stat(tmp_path, round(20 / TICK_S), cpus=4)
    (domain,) = estimate.domains()
    assert energy_between(domain, first, estimate.read()[0])[0] == pytest.approx(300.0)
    assert (domain.name, domain.component, domain.grade) == ("cpu:estimated", Component.CPU, Grade.ESTIMATED)


def test_idle_and_stolen_time_draw_idle_power(tmp_path: Path) -> None:
    now = [0.0]
    write_stat(tmp_path, 0)
    estimate = meter(tmp_path, now)
    first = estimate.read()[0]
    now[0] = 5.0
    write_stat(tmp_path, 0, steal=900)
    assert estimate.read()[0].energy_j - first.energy_j == pytest.approx(50.0)


def test_power_is_the_mean_since_the_previous_call(tmp_path: Path) -> None:
    now = [0.0]
    write_stat(tmp_path, 0)
    estimate = meter(tmp_path, now)
    assert estimate.power() == ()
    now[0] = 2.0
    write_stat(tmp_path, round(4 / TICK_S))
    assert [s.power_w for s in estimate.power()] == [pytest.approx(50.0)]
    assert estimate.power() == ()


def test_without_watts_the_default_grows_with_the_cpus_and_says_so(tmp_path: Path) -> None:
    write_stat(tmp_path, 0, cpus=10)
    estimate = meter(tmp_path, [0.0], None)
    # Means of 0.74, 0.71, 0.78 and of 3.5, 4.26, 3.76 W, ten times.
    assert [estimate.idle_w, estimate.max_w] == pytest.approx([10 * 2.23 / 3, 10 * 11.52 / 3], rel=0.005)
    assert not estimate.calibrated and "uncalibrated" in estimate.description
    assert meter(tmp_path, [0.0]).calibrated


@pytest.mark.parametrize("watts", [(50.0, 10.0), (-1.0, 10.0), (0.0, float("inf"))])
def test_watts_that_make_no_sense_are_refused(tmp_path: Path, watts: tuple[float, float]) -> None:
    write_stat(tmp_path, 0)
    with pytest.raises(InputError, match="idle and full load"):
        meter(tmp_path, [0.0], watts)


def test_without_proc_it_is_unavailable(tmp_path: Path) -> None:
    estimate = meter(tmp_path / "nowhere", [0.0])
    assert estimate.unavailable() is not None
    assert estimate.domains() == () and estimate.read() == () and estimate.power() == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\nintr 0\n", "are zero"),
        ("", "does not hold CPU times"),
        ("cpu  1 2 three\n", "does not hold CPU times"),
        ("cpu  1 2 3\n", "does not hold CPU times"),
        ("cpu  1 2 3 4 5 6 7\n", "lists no CPU"),
    ],
)
def test_cpu_times_that_are_not_kept_are_no_idle_machine(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "stat").write_text(text)
    estimate = meter(tmp_path, [0.0])
    problem = estimate.unavailable()
    assert problem is not None and reason in problem[0]
    assert estimate.domains() == () and estimate.read() == ()
    assert estimate.power() == ()


def test_cpu_times_that_cannot_be_read_later_give_no_reading(tmp_path: Path) -> None:
    write_stat(tmp_path, 0)
    now = [0.0]
    estimate = meter(tmp_path, now)
    estimate.power()
    (tmp_path / "stat").unlink()
    now[0] = 1.0
    assert estimate.read() == () and estimate.power() == ()


def test_busy_time_that_jumps_is_no_power(tmp_path: Path) -> None:
    now = [0.0]
    write_stat(tmp_path, 0)
    estimate = meter(tmp_path, now)
    estimate.power()
    first = estimate.read()[0]
    now[0] = 1.0
    write_stat(tmp_path, round(100 / TICK_S))  # two CPUs, 100 s of work in one
    assert estimate.power() == ()
    with pytest.raises(RefusedError, match="cpu:estimated"):
        energy_between(estimate.domains()[0], first, estimate.read()[0])

"""What faults of meters make of a trial: never joules that nothing has drawn."""

from __future__ import annotations

import gc
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.harness import section, worker
from servewatt.harness.runner import run_trials
from servewatt.harness.sampler import Sampler, Samples
from servewatt.harness.schedule import Progress, preparation
from servewatt.meters.fake import FakeMeter
from servewatt.records import Grade, Result, Status
from tests.harness.builders import QUICK, fake, run


def measured(folder: Path, meter: str, blocks: int, retries: int = 0) -> list[Result]:
    """The trials with this meter, in processes of their own."""
    procedure = replace(QUICK, meters=(meter,), blocks=blocks, retries=retries)
    return list(run_trials(run(folder, [fake(step_ms=1)], procedure), []))


def measured_here(folder: Path, *, prepare: bool = False) -> Result:
    """A trial in this process, which collects garbage again afterwards."""
    plan = run(folder, [fake()])
    try:
        return worker.run_trial(replace(preparation(plan, fake()), block=0), prepare=prepare)
    finally:
        gc.unfreeze()
        gc.enable()


def test_a_counter_that_stands_still_refuses_the_configuration_once(tmp_path: Path) -> None:
    """The other domain's 30 W do not hide it."""
    (result,) = measured(tmp_path, "fake:gpu:0=0,cpu:0=30", blocks=2)
    assert result.status is Status.REFUSED
    assert "gpu:0: the energy counter stands still" in result.reason
    assert "servewatt doctor" in result.hint
    assert result.sections == ()


def test_power_readings_stand_in_for_a_counter_that_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler's own meter tells 100 W of the board."""
    still = FakeMeter({"gpu:0": 0.0, "cpu:package-0": 20.0})
    monkeypatch.setattr(worker, "open_meters", lambda _names, _watts: (still,))
    result = measured_here(tmp_path)
    assert result.status is Status.OK, result.reason
    generate = result.section("generate")
    assert generate is not None
    board, package = generate.energy
    assert (board.grade, package.grade) == (Grade.INTEGRATED, Grade.COUNTER)
    assert board.energy_j / generate.duration_s == pytest.approx(100.0, rel=0.05)


def recording(folder: Path, readings: list[list[object]], **domain: object) -> str:
    """The replay meter of a recording of one package."""
    path = folder / "recording.json"
    known = {"name": "cpu:package-0", "component": "cpu", "grade": "counter", "quantum_s": 0.0, **domain}
    path.write_text(json.dumps({"domains": [known], "readings": readings}))
    return f"replay:{path}"


def test_a_counter_that_is_set_back_makes_the_trial_invalid_and_repeats_it(tmp_path: Path) -> None:
    # Set back every 50 ms, so in every section.
    readings: list[list[object]] = [[0.0, {"cpu:package-0": 150_000}], [0.05, {"cpu:package-0": 900}]]
    meter = recording(tmp_path, readings, range_j=262_143, max_power_w=65)
    results = measured(tmp_path, meter, blocks=1, retries=1)
    assert [(r.trial.attempt, r.status) for r in results] == [(0, Status.INVALID), (1, Status.INVALID)]
    for result in results:
        assert "cpu:package-0: the energy counter" in result.reason and "measure again" in result.hint
        assert result.sections == ()


def test_a_suspend_makes_the_trial_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept_s = itertools.count(1000.0, 60.0)
    monkeypatch.setattr(section, "suspended_s", lambda: next(slept_s))
    result = measured_here(tmp_path)
    assert (result.status, result.reason) == (
        Status.INVALID,
        "the machine was suspended for 60 s during section load",
    )
    plan = run(tmp_path, [fake()])
    assert Progress(plan, [result]).missing(0)[0].attempt == 1


def test_an_estimate_without_cpu_times_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = FakeMeter({"cpu:estimated": 20.0}, grade=Grade.ESTIMATED)
    monkeypatch.setattr(worker, "open_meters", lambda _names, _watts: (estimate,))
    monkeypatch.setattr(section, "known_system_cpu", lambda: None)
    result = measured_here(tmp_path)
    assert result.status is Status.REFUSED
    assert "/proc/stat" in result.reason


def test_beside_a_counter_only_the_load_of_others_is_then_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(section, "known_system_cpu", lambda: None)
    result = measured_here(tmp_path)
    assert result.status is Status.OK, result.reason
    assert {s.foreign_cpu_s for s in result.sections} == {None}


@pytest.mark.parametrize("watts", [0.0, 100.0])
def test_a_preparation_needs_no_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watts: float) -> None:
    """It measures nothing, and has no samples that could stand in for a counter."""
    slept_s = itertools.count(1000.0, 60.0)
    monkeypatch.setattr(section, "suspended_s", lambda: next(slept_s))
    monkeypatch.setattr(worker, "open_meters", lambda _names, _watts: (FakeMeter({"gpu:0": watts}),))
    result = measured_here(tmp_path, prepare=True)
    assert result.status is Status.OK, result.reason
    load = result.section("load")
    assert load is not None and load.duration_s > 0 and load.energy == ()


def test_what_a_sampler_that_died_used_is_unknown() -> None:
    assert Samples().cpu_s is None and Samples().cpu_share == 0.0


def test_a_power_sensor_that_stands_still_refuses_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = FakeMeter({"gpu:0": 100.0}, grade=Grade.INTEGRATED)
    monkeypatch.setattr(worker, "open_meters", lambda _names, _watts: (sensor,))
    monkeypatch.setattr(worker, "first_visible_board", lambda: 0)
    stop = Sampler.stop

    def under_load(sampler: Sampler) -> Samples:
        samples = stop(sampler)
        use = (replace(u, gpu_percent=100.0 * (i > 3)) for i, u in enumerate(samples.utilisation))
        return replace(samples, utilisation=tuple(use))

    monkeypatch.setattr(Sampler, "stop", under_load)
    result = measured_here(tmp_path)
    assert (result.status, result.sections) == (Status.REFUSED, ())
    assert "gpu:0: the power reading stood still at 100 W" in result.reason
    # What was seen is kept.
    assert len(result.power) >= 10 and len(result.utilisation) >= 10

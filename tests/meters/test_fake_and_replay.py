from __future__ import annotations

import json
from pathlib import Path

import pytest

from servewatt.errors import InputError
from servewatt.meters.fake import FakeMeter
from servewatt.meters.replay import ReplayMeter
from servewatt.records import Component, Domain, Grade

RECORDING = {
    "domains": [{"name": "gpu:0", "component": "gpu", "grade": "counter", "quantum_s": 0.1}],
    "readings": [[5.0, {"gpu:0": 100.0}], [6.0, {"gpu:0": 180.0}], [8.0, {"gpu:0": 780.0}]],
}


def test_the_fake_draws_what_it_was_told() -> None:
    now = [100.0]
    meter = FakeMeter({"cpu:package-0": 25.0, "dram:0": 5.0}, clock=lambda: now[0])
    assert [d.component for d in meter.domains()] == [Component.CPU, Component.DRAM]
    first = meter.read()
    now[0] = 104.0
    assert [b.energy_j - a.energy_j for a, b in zip(first, meter.read(), strict=True)] == [100.0, 20.0]
    assert [s.power_w for s in meter.power()] == [25.0, 5.0]


def test_the_fake_steps_and_wraps_as_real_counters_do() -> None:
    now = [10.25]
    meter = FakeMeter({"gpu:0": 100.0}, quantum_s=0.1, range_j=1010.0, clock=lambda: now[0])
    assert meter.read()[0].energy_j == pytest.approx(10.0)
    now[0] = 10.29
    assert meter.read()[0].energy_j == pytest.approx(10.0)
    now[0] = 10.31
    assert meter.read()[0].energy_j == pytest.approx(20.0)


def test_a_fake_without_counter_gives_power_only() -> None:
    meter = FakeMeter({"gpu:0": 100.0}, grade=Grade.INTEGRATED)
    assert meter.read() == () and len(meter.power()) == 1


def test_the_fake_from_text() -> None:
    assert [d.name for d in FakeMeter.from_text("").domains()] == ["cpu:package-0", "gpu:0"]
    assert [s.power_w for s in FakeMeter.from_text("gpu:1=7.5").power()] == [7.5]
    for wrong in ("gpu:0", "gpu:0=many", "toaster=5"):
        with pytest.raises(InputError):
            FakeMeter.from_text(wrong)


def test_a_recording_is_played_in_its_own_time_and_again(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    path.write_text(json.dumps(RECORDING))
    now = [1000.0]
    meter = ReplayMeter(path, clock=lambda: now[0])
    played = []
    for now[0] in (1000.0, 1000.9, 1001.0, 1002.9, 1003.0, 1004.5):
        played.append(meter.read()[0].energy_j)
    # The second round begins at 3 s and goes on from what the first one used, 680 J.
    assert played == [100.0, 100.0, 180.0, 180.0, 780.0, 860.0]
    now[0] = 1001.5
    assert [s.power_w for s in meter.power()] == [300.0]


def test_a_recording_plays_through_a_wrap(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    domain = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001, range_j=100.0)
    described = {"name": "cpu:package-0", "component": "cpu", "grade": "counter", "quantum_s": 0.001, "range_j": 100.0}
    readings = [[0, {"cpu:package-0": 90.0}], [1, {"cpu:package-0": 20.0}], [2, {"cpu:package-0": 60.0}]]
    path.write_text(json.dumps({"domains": [described], "readings": readings}))
    now = [0.0]
    meter = ReplayMeter(path, clock=lambda: now[0])
    assert meter.domains() == (domain,)
    played = []
    for now[0] in (0.5, 1.5, 2.5):
        played.append(meter.read()[0].energy_j)
    # 90, then through the wrap to 20, then the next round starts where this one ended, at 60.
    assert played == [90.0, 20.0, 60.0]
    now[0] = 0.5
    assert meter.power()[0].power_w == 30.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        "\ud83d",
        json.dumps({**RECORDING, "readings": [[0, {}], [1, {"gpu:0": 1}]]}),
        json.dumps({**RECORDING, "readings": [[1, {"gpu:0": 1}]]}),
        '{"domains": [], "readings": []}',
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recording.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"recording\.json"):
        ReplayMeter(path)
    with pytest.raises(InputError, match="there is no file"):
        ReplayMeter(tmp_path / "nowhere.json")


@pytest.mark.parametrize("watts", ["nan", "inf", "-5", "1e9"])
def test_a_fake_of_what_is_no_power_is_refused(watts: str) -> None:
    with pytest.raises(InputError, match="is no power") as caught:
        FakeMeter.from_text(f"gpu:0={watts}")
    assert "3000 W" in caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"readings": [[0, {"gpu:0": 0}], [1, {"gpu:0": float("nan")}]]},
        {"readings": [[0, {"gpu:0": 0}], [float("inf"), {"gpu:0": 1}]]},
        *(
            {"domains": [{"name": "gpu:0", "component": "gpu", "grade": "counter", "quantum_s": 0.1, **wrong}]}
            for wrong in ({"quantum_s": -1}, {"quantum_s": "soon"}, {"range_j": 0}, {"max_power_w": float("nan")})
        ),
    ],
)
def test_a_recording_of_impossible_numbers_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "recording.json"
    path.write_text(json.dumps({**RECORDING, **changes}))
    with pytest.raises(InputError, match=r"recording\.json"):
        ReplayMeter(path)


def test_a_recorded_reset_gives_no_power(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    path.write_text(
        json.dumps({**RECORDING, "readings": [[0, {"gpu:0": 500}], [1, {"gpu:0": 20}], [2, {"gpu:0": 60}]]})
    )
    now = [0.0]
    meter = ReplayMeter(path, clock=lambda: now[0])
    powers = []
    for now[0] in (0.5, 1.5):
        powers.append([s.power_w for s in meter.power()])
    assert powers == [[], [40.0]]

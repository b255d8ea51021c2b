from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servewatt import meters
from servewatt.errors import InputError, UnavailableError
from servewatt.meters.energy import outermost
from servewatt.meters.fake import FakeMeter
from servewatt.meters.nvml import NvmlMeter
from servewatt.meters.rapl import RaplMeter
from servewatt.meters.steps import check_steps
from tests.meters.fake_nvml import FakeBoard, FakeNvml
from tests.meters.test_rapl import zone


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A machine whose RAPL root and NVML are the test's: absent until set."""
    machine: dict[str, Any] = {"root": tmp_path / "none", "nvml": FakeNvml(starts=False)}
    rapl, nvml = RaplMeter.__init__, NvmlMeter.__init__
    monkeypatch.setattr(RaplMeter, "__init__", lambda self: rapl(self, machine["root"]))
    monkeypatch.setattr(NvmlMeter, "__init__", lambda self: nvml(self, machine["nvml"], driver=tmp_path / "none"))
    yield machine


def test_without_counters_the_estimate_is_opened(bare: dict[str, Any]) -> None:
    assert [m.name for m in meters.open_meters((), (5.0, 20.0))] == ["estimate"]


def test_with_a_package_counter_the_estimate_is_not_opened(bare: dict[str, Any], tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    bare.update(root=tmp_path, nvml=FakeNvml(FakeBoard(energy_mj=1)))
    opened = meters.open_meters(())
    assert [m.name for m in opened] == ["nvml", "rapl"]
    for meter in opened:
        meter.close()


def test_an_estimate_asked_for_beside_a_counter_is_never_added_to_it(bare: dict[str, Any], tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    bare.update(root=tmp_path)
    opened = meters.open_meters(("estimate", "rapl"))
    assert outermost(d for m in opened for d in m.domains()) == {"cpu:package-0"}
    for meter in opened:
        meter.close()


def test_a_named_meter_that_is_missing_says_why_and_what_to_do(bare: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError, match=r"nvml.*Driver Not Loaded") as caught:
        meters.open_meters(("fake", "nvml"))
    assert "nvidia-smi" in caught.value.hint


def test_unknown_meters_get_the_nearest_name() -> None:
    with pytest.raises(InputError) as caught:
        meters.open_meters(("rappl",))
    assert "rapl" in caught.value.hint
    for name in ("nvml:first", "rapl:0", "replay"):
        with pytest.raises(InputError):
            meters.create(name)


def test_fake_and_replay_take_their_argument_after_the_colon(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    domain = {"name": "dram:0", "component": "dram", "grade": "counter", "quantum_s": 0.0}
    path.write_text(json.dumps({"domains": [domain], "readings": [[0, {"dram:0": 0}], [1, {"dram:0": 1}]]}))
    opened = meters.open_meters(("fake:cpu:package-3=5", f"replay:{path}"))
    assert [d.name for m in opened for d in m.domains()] == ["cpu:package-3", "dram:0"]
    assert isinstance(opened[0], FakeMeter)


def test_two_meters_of_one_domain_are_refused() -> None:
    with pytest.raises(InputError, match="both read gpu:0"):
        meters.open_meters(("fake:gpu:0=5", "fake:gpu:0=6"))


def test_the_survey_tells_every_real_meter(bare: dict[str, Any]) -> None:
    states = {s.entry.name: s for s in meters.survey()}
    assert set(states) == {"nvml", "rapl", "estimate"}
    assert states["rapl"].reason and states["rapl"].hint and not states["rapl"].domains
    assert not states["estimate"].reason and states["estimate"].domains


def test_the_survey_places_the_estimate_within_a_counter(bare: dict[str, Any], tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    bare.update(root=tmp_path)
    assert outermost(d for s in meters.survey() for d in s.domains) == {"cpu:package-0"}


def test_importing_the_table_is_light() -> None:
    code = (
        "import sys, servewatt.meters; print([m for m in ('numpy', 'pynvml', 'psutil', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_part_of_a_machine_never_passes_for_all_of_it_unasked(bare: dict[str, Any], tmp_path: Path) -> None:
    """A GPU is there and fails: no other meter tells its energy."""
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    bare.update(root=tmp_path, nvml=FakeNvml(FakeBoard(energy_mj=1), FakeBoard(lost=True)))
    with pytest.raises(UnavailableError, match=r"'nvml' is not available: GPU 1 .*GPU is lost") as caught:
        meters.open_meters(())
    assert "--meter nvml:0" in caught.value.hint and "--meter rapl" in caught.value.hint
    (rapl,) = meters.open_meters(("rapl",))
    rapl.close()


def test_the_estimate_stands_in_for_packages_that_cannot_be_read(bare: dict[str, Any], tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")
    bare.update(root=tmp_path)
    assert [m.name for m in meters.open_meters((), (5.0, 20.0))] == ["estimate"]


def test_rapl_takes_the_domains_wanted_after_the_colon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for socket in (0, 1):
        zone(tmp_path, f"intel-rapl:{socket}", f"package-{socket}", 1)
    monkeypatch.setattr(RaplMeter.__init__, "__defaults__", (tmp_path,))
    meter = meters.create("rapl:cpu:package-1")
    assert [d.name for d in meter.domains()] == ["cpu:package-1"]
    meter.close()
    for wrong in ("rapl:package-1", "rapl:,"):
        with pytest.raises(InputError, match="names no domain"):
            meters.create(wrong)


def test_the_survey_tells_counters_that_stand_still(bare: dict[str, Any], tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    bare.update(root=tmp_path, nvml=FakeNvml(FakeBoard(energy_mj=7, power_mw=50_000)))
    states = {s.entry.name: s for s in meters.survey()}
    assert states["rapl"].still == ("cpu:package-0",)
    # The board's power stands in for its counter.
    assert states["nvml"].still == ()


def test_a_counter_that_stands_still_is_told_before_anything_is_measured() -> None:
    still = FakeMeter({"gpu:0": 0.0, "cpu:0": 30.0})
    with pytest.raises(UnavailableError, match="gpu:0: the energy counter stands still"):
        check_steps([still])
    check_steps([FakeMeter({"gpu:0": 1.0, "cpu:0": 30.0}, quantum_s=0.02)])
    inside = FakeMeter({"cpu:0": 10.0, "cpu:uncore-0": 0.0}, within={"cpu:uncore-0": "cpu:0"})
    check_steps([inside])

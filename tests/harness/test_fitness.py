from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.harness.fitness import (
    Finding,
    GpuState,
    IdleLoad,
    MachineState,
    Severity,
    assess,
    idle_load,
    is_fit,
    machine_state,
    memory_bandwidth_bytes_s,
)
from servewatt.meters.cpu_times import TICK_S
from servewatt.meters.nvml import GpuProcess
from servewatt.records import Component, Domain, Environment, Gpu, Grade
from tests.meters.builders import write_process, write_stat
from tests.meters.fake_nvml import FakeBoard, FakeNvml

GIB = 2**30
PACKAGE = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001)
GOOD = Environment(
    cpu="Test",
    cpu_count=8,
    memory_bytes=32 * GIB,
    kernel="6.1",
    system="Test",
    python="3.12",
    governor="performance",
    domains=(PACKAGE,),
)
STILL = IdleLoad(busy_share=0.002, stolen_share=0.0, offenders=())
QUIET = MachineState(turbo=False, available_bytes=30 * GIB, swap_used_bytes=0, on_battery=False, throttle_events=0)


def finding(found: tuple[Finding, ...], topic: str) -> Finding:
    return next(f for f in found if f.topic == topic)


def test_a_good_machine_is_fit_and_shows_the_states_it_found() -> None:
    found = assess(GOOD, QUIET, STILL)
    assert is_fit(found)
    assert {f.severity for f in found} == {Severity.FINE}
    assert {f.topic: f.state for f in found} == {
        "CPU energy": "counted (cpu:package-0)",
        "load": "others use 0.2 % of the CPUs",
        "governor": "performance",
        "turbo": "off",
        "power supply": "mains",
        "memory": "30.0 GiB of 32.0 GiB available",
    }


def test_background_load_makes_it_unfit_and_names_who() -> None:
    found = assess(GOOD, QUIET, IdleLoad(0.31, 0.0, (("updatedb (77)", 0.3),)))
    assert not is_fit(found)
    assert found[0].topic == "load" and "updatedb (77) 30.0 %" in found[0].state and found[0].advice


def test_what_would_add_noise_is_a_warning_with_advice() -> None:
    estimated = replace(PACKAGE, name="cpu:estimated", grade=Grade.ESTIMATED)
    environment = replace(GOOD, governor="powersave", domains=(estimated,), virtual_machine="kvm")
    state = replace(QUIET, available_bytes=GIB, cpu_quota=1.5, turbo=True, swap_used_bytes=2**20, throttle_events=9)
    found = assess(environment, state, replace(STILL, stolen_share=0.1))
    warned = {f.topic for f in found if f.severity is Severity.WARNING}
    assert warned == {"CPU energy", "governor", "memory", "container", "stolen time"}
    assert {f.topic for f in found if f.severity is Severity.NOTE} == {"turbo", "swap", "heat"}
    assert all(f.advice for f in found if f.severity is not Severity.FINE)
    assert "estimated from utilisation in a virtual machine" in finding(found, "CPU energy").state
    assert is_fit(found)


def test_battery_is_unfit_and_no_meter_is_a_warning() -> None:
    found = assess(replace(GOOD, domains=()), replace(QUIET, on_battery=True), STILL)
    assert finding(found, "power supply").severity is Severity.UNFIT
    assert finding(found, "CPU energy").state == "no meter"


def test_gpus_are_looked_at_one_by_one() -> None:
    gpus = tuple(Gpu(n, "Test", GIB, "580") for n in (0, 1))
    metered = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1)
    environment = replace(GOOD, gpus=gpus, domains=(PACKAGE, metered))
    states = (GpuState(0, False, False, False), GpuState(1, True, True, True))
    others = (GpuProcess(1, 55, "miner", None),)
    found = assess(environment, replace(QUIET, gpus=states, gpu_processes=others), STILL)
    assert "nvidia-smi -i 0 -pm 1" in finding(found, "GPU 0").advice
    assert finding(found, "GPU 1 energy").state == "no meter"
    assert [f.severity for f in found if f.topic == "GPU 1"] == [Severity.UNFIT, Severity.WARNING]
    assert finding(found, "GPU processes").state == "miner (55) on GPU 1"
    unknown = assess(environment, replace(QUIET, gpu_processes=None), STILL)
    assert finding(unknown, "GPU processes").severity is Severity.NOTE


def test_the_state_is_read_from_files_and_nvml(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": "MemTotal: 4096 kB\nMemAvailable: 2048 kB\nSwapTotal: 1024 kB\nSwapFree: 1000 kB\n",
        "sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
        "sys/class/power_supply/AC/type": "Mains\n",
        "sys/class/power_supply/AC/online": "0\n",
        "sys/class/power_supply/BAT0/type": "Battery\n",
        "sys/class/power_supply/BAT0/status": "Discharging\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    nvml = FakeNvml(FakeBoard(persistence=0, reasons=0x40, processes=[(os.getpid(), 1)]))
    found = machine_state(tmp_path, nvml=nvml)
    assert found == MachineState(
        turbo=True,
        available_bytes=2048 * 1024,
        swap_used_bytes=24 * 1024,
        on_battery=True,
        throttle_events=7,
        gpus=(GpuState(0, False, True, False),),
        gpu_processes=(),
    )
    assert nvml.open == 0


def test_the_battery_of_a_mouse_is_no_power_supply(tmp_path: Path) -> None:
    supply = tmp_path / "sys/class/power_supply/mouse"
    supply.mkdir(parents=True)
    for name, text in (("type", "Battery"), ("scope", "Device"), ("status", "Discharging")):
        (supply / name).write_text(text + "\n")
    assert machine_state(tmp_path, nvml=FakeNvml(starts=False)).on_battery is None


def test_an_empty_tree_tells_nothing(tmp_path: Path) -> None:
    assert machine_state(tmp_path, nvml=FakeNvml(starts=False)) == MachineState()


def test_idle_load_leaves_our_own_time_out(tmp_path: Path) -> None:
    now = [0.0]
    write_stat(tmp_path, 0, cpus=4)
    for pid, name in ((os.getpid(), "servewatt"), (70, "busy"), (71, "calm")):
        write_process(tmp_path, pid, name)

    def pause(seconds: float) -> None:
        now[0] += seconds
        # Of 8 CPU seconds 3 are busy: 1 s ours, 1.6 s of one process, the rest the kernel's.
        write_stat(tmp_path, round(3 / TICK_S), cpus=4, steal=round(0.8 / TICK_S))
        write_process(tmp_path, os.getpid(), "servewatt", ticks=(round(1 / TICK_S), 0, 0, 0))
        write_process(tmp_path, 70, "busy", ticks=(round(1.6 / TICK_S), 0, 0, 0))

    found = idle_load(2.0, proc=tmp_path, clock=lambda: now[0], pause=pause)
    assert found.busy_share == pytest.approx(0.25)
    assert found.stolen_share == pytest.approx(0.1)
    assert [name for name, _ in found.offenders] == ["busy (70)"]
    assert found.offenders[0][1] == pytest.approx(0.2)


def test_processes_that_ticks_miss_still_count(tmp_path: Path) -> None:
    now = [0.0]
    write_stat(tmp_path, 0, cpus=1)

    def pause(seconds: float) -> None:
        now[0] += seconds
        write_process(tmp_path, 70, "bursts", ticks=(round(0.3 / TICK_S), 0, 0, 0))

    assert idle_load(1.0, proc=tmp_path, clock=lambda: now[0], pause=pause).busy_share == pytest.approx(0.3)


def test_memory_bandwidth_is_of_a_plausible_size() -> None:
    found = memory_bandwidth_bytes_s(0.1)
    assert 2e8 < found < 5e12


def test_a_counter_that_stands_still_makes_the_machine_unfit() -> None:
    found = assess(GOOD, replace(QUIET, still_counters=("cpu:package-0",)), STILL)
    assert not is_fit(found)
    assert finding(found, "cpu:package-0 energy").state == "its counter stands still"
    # It is not told as counted beside that.
    assert [f.state for f in found if f.topic == "CPU energy"] == ["no meter"]


def test_memory_of_unknown_size_is_not_told_as_nothing() -> None:
    state = finding(assess(replace(GOOD, memory_bytes=None), QUIET, STILL), "memory").state
    assert state == "30.0 GiB available"


def test_without_cpu_times_of_the_machine_its_processes_tell_the_load(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds
        write_process(tmp_path, 20, "busy", ticks=(round(0.5 / TICK_S), 0, 0, 0))

    write_process(tmp_path, 20, "busy")
    found = idle_load(1.0, proc=tmp_path, clock=lambda: now[0], pause=pause)
    assert found.busy_share > 0 and found.offenders[0][0] == "busy (20)"
    assert found.stolen_share is None
    assert is_fit(assess(GOOD, QUIET, replace(STILL, stolen_share=None)))

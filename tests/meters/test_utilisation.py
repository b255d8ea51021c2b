from __future__ import annotations

import os
from pathlib import Path

import pytest

from servewatt.meters.cpu_times import PAGE_BYTES, TICK_S
from servewatt.meters.utilisation import UtilisationSampler, throttled
from tests.meters.builders import write_process, write_stat
from tests.meters.fake_nvml import FakeBoard, FakeNvml


def ticks(seconds: float) -> int:
    return round(seconds / TICK_S)


def write_details(proc: Path, pid: int, pss_kb: int, read: int, write: int) -> None:
    (proc / str(pid) / "smaps_rollup").write_text(f"00-ff ---p 0 [rollup]\nRss:  999 kB\nPss:     {pss_kb} kB\n")
    (proc / str(pid) / "io").write_text(f"rchar: 1\nwchar: 2\nread_bytes: {read}\nwrite_bytes: {write}\ncancelled: 0\n")


def test_a_process_and_its_children_are_sampled_together(tmp_path: Path) -> None:
    now = [50.0]
    write_stat(tmp_path, 0, cpus=4)
    write_process(tmp_path, 10, "worker", ticks=(ticks(5), 0, 0, 0), pages=100)
    write_process(tmp_path, 11, "helper", parent=10, ticks=(ticks(1), 0, 0, 0), pages=50)
    write_details(tmp_path, 10, 300, 4096, 10)
    write_details(tmp_path, 11, 20, 4096, 0)
    sampler = UtilisationSampler(10, proc=tmp_path, cpufreq=tmp_path / "none", clock=lambda: now[0])
    first = sampler.sample()
    assert (first.cpu_percent, first.system_cpu_percent) == (None, None)
    assert first.rss_bytes == 150 * PAGE_BYTES
    assert first.pss_bytes == 320 * 1024
    assert (first.read_bytes, first.write_bytes) == (8192, 10)
    # In 2 s: 3 s more of the worker, 0.5 s of the helper, and the machine is busy for 6 of 8 CPU seconds.
    now[0] = 52.0
    write_stat(tmp_path, ticks(6), cpus=4)
    write_process(tmp_path, 10, "worker", ticks=(ticks(7), ticks(1), 0, 0))
    write_process(tmp_path, 11, "helper", parent=10, ticks=(ticks(1.5), 0, 0, 0))
    second = sampler.sample()
    assert second.cpu_percent == pytest.approx(175.0)
    assert second.system_cpu_percent == pytest.approx(75.0)
    assert second.gpu_percent is None


def test_a_child_that_ended_counts_through_its_parent(tmp_path: Path) -> None:
    now = [0.0]
    write_stat(tmp_path, 0)
    write_process(tmp_path, 10, "worker", ticks=(0, 0, 0, 0))
    write_process(tmp_path, 11, "helper", parent=10, ticks=(ticks(8), 0, 0, 0))
    sampler = UtilisationSampler(10, proc=tmp_path, clock=lambda: now[0])
    sampler.sample()
    (tmp_path / "11/stat").unlink()
    write_process(tmp_path, 10, "worker", ticks=(0, 0, ticks(9), 0))
    now[0] = 1.0
    assert sampler.sample().cpu_percent == pytest.approx(100.0)


def test_costly_readings_are_made_every_nth_sample(tmp_path: Path) -> None:
    write_stat(tmp_path, 0)
    write_process(tmp_path, 10, "worker")
    write_details(tmp_path, 10, 1, 0, 0)
    cpufreq = tmp_path / "cpufreq"
    for policy, khz in enumerate((2_000_000, 3_000_000)):
        (cpufreq / f"policy{policy}").mkdir(parents=True)
        (cpufreq / f"policy{policy}" / "scaling_cur_freq").write_text(f"{khz}\n")
    sampler = UtilisationSampler(10, detail_every=3, proc=tmp_path, cpufreq=cpufreq)
    samples = [sampler.sample() for _ in range(6)]
    assert [s.pss_bytes for s in samples] == [1024, None, None, 1024, None, None]
    assert [s.cpu_clock_mhz for s in samples[:2]] == [2500.0, None]


def test_the_gpu_is_sampled_through_nvml(tmp_path: Path) -> None:
    write_stat(tmp_path, 0)
    write_process(tmp_path, 10, "worker")
    nvml = FakeNvml(FakeBoard(), FakeBoard(reasons=0x40))
    sampler = UtilisationSampler(10, gpu=1, nvml=nvml, proc=tmp_path)
    sample = sampler.sample()
    assert (sample.gpu_percent, sample.gpu_memory_bytes, sample.gpu_clock_mhz) == (63.0, 3 * 2**30, 1845.0)
    assert (sample.gpu_temperature_c, sample.gpu_throttled) == (60.0, True)
    sampler.close()
    assert nvml.open == 0
    assert sampler.sample().gpu_percent is None


def test_only_heat_and_supply_count_as_throttling() -> None:
    assert [throttled(FakeNvml(), FakeBoard(reasons=r)) for r in (0x0, 0x1, 0x4, 0x8, 0x20, 0x80)] == [
        False,
        False,
        False,
        True,
        True,
        True,
    ]


def test_a_process_that_is_gone_leaves_the_machine_to_tell(tmp_path: Path) -> None:
    write_stat(tmp_path, 0)
    sample = UtilisationSampler(10, gpu=0, nvml=FakeNvml(starts=False), proc=tmp_path).sample()
    assert (sample.rss_bytes, sample.pss_bytes, sample.read_bytes, sample.gpu_percent) == (None, None, None, None)


def test_this_process_can_be_sampled() -> None:
    sampler = UtilisationSampler(os.getpid(), detail_every=1)
    sampler.sample()
    sample = sampler.sample()
    assert sample.rss_bytes is not None and sample.rss_bytes > 2**20


def test_a_machine_s_share_is_unknown_where_its_cpu_times_stand_still(tmp_path: Path) -> None:
    now = [0.0]
    write_stat(tmp_path, 0, cpus=4)
    write_process(tmp_path, 10, "worker")
    sampler = UtilisationSampler(10, proc=tmp_path, cpufreq=tmp_path / "none", clock=lambda: now[0])
    sampler.sample()
    for now[0], text in ((1.0, None), (2.0, "cpu  0 0 0 0 0 0 0 0 0 0\n")):
        write_process(tmp_path, 10, "worker", ticks=(ticks(now[0]), 0, 0, 0))
        if text:
            (tmp_path / "stat").write_text(text)
        found = sampler.sample()
        assert found.cpu_percent == pytest.approx(100.0)
        assert found.system_cpu_percent is None


def test_a_board_that_shares_the_cpu_s_memory_has_no_memory_in_use_of_its_own(tmp_path: Path) -> None:
    write_stat(tmp_path, 0)
    write_process(tmp_path, 10, "worker")
    for memory_bytes in (None, 0):
        nvml = FakeNvml(FakeBoard(memory_bytes=memory_bytes))
        sample = UtilisationSampler(10, gpu=0, nvml=nvml, proc=tmp_path).sample()
        assert (sample.gpu_memory_bytes, sample.gpu_percent) == (None, 63.0)


def test_clocks_of_zero_are_unknown(tmp_path: Path) -> None:
    write_stat(tmp_path, 0)
    write_process(tmp_path, 10, "worker")
    (tmp_path / "cpuinfo").write_text("cpu MHz\t\t: 0.000\ncpu MHz\t\t: 0.000\n")
    sampler = UtilisationSampler(10, proc=tmp_path, cpufreq=tmp_path / "none")
    assert sampler.sample().cpu_clock_mhz is None

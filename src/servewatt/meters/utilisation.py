"""Resource use of a process and its machine, sampled from another process, straight from /proc, /sys and NVML. A sample
costs some 0.1 ms for a process without children on a kernel that lists children. PSS and CPU clocks cost far more (the
kernel walks every page table entry for the first: about 1 ms for each GB of resident memory, holding up the process's
own memory management meanwhile), so they are read only with every `detail_every`th sample and are None in between.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from servewatt.errors import UnavailableError
from servewatt.meters.cpu_times import PROC, SystemCpu, counts_cpu_time, known_system_cpu, process_stat, process_tree
from servewatt.meters.nvml_boards import ask, open_nvml
from servewatt.records import UtilisationSample

CPUFREQ = Path("/sys/devices/system/cpu/cpufreq")


class UtilisationSampler:
    """Samples a process with its descendants, the machine around it, and one GPU.

    `gpu` is the board's NVML index; None samples no GPU. Where NVML is missing, the GPU fields stay None.
    """

    def __init__(
        self,
        pid: int,
        *,
        gpu: int | None = None,
        nvml: Any = None,
        detail_every: int = 10,
        proc: Path = PROC,
        cpufreq: Path = CPUFREQ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pid = pid
        self._detail_every = detail_every
        self._proc = proc
        self._cpufreq = cpufreq
        self._clock = clock
        self._count = 0
        self._tree: tuple[int, ...] = (pid,)
        self._lists_children = (proc / str(pid) / "task" / str(pid) / "children").exists()
        self._last: tuple[float, float | None, float | None] | None = None
        self._nvml: Any = None
        self._board: Any = None
        if gpu is not None:
            try:
                self._nvml = open_nvml(nvml)
                self._board = ask(self._nvml, "nvmlDeviceGetHandleByIndex", gpu)
            except UnavailableError:
                pass

    def sample(self) -> UtilisationSample:
        """Everything at this moment; shares are since the previous sample, so the first has none."""
        detailed = self._count % self._detail_every == 0
        self._count += 1
        if detailed or self._lists_children:
            self._tree = process_tree(self._pid, self._proc) or (self._pid,)
        stats = [s for pid in self._tree if (s := process_stat(pid, self._proc)) is not None]
        now_s, system = self._clock(), known_system_cpu(self._proc)
        own_s = sum(s.cpu_s for s in stats) if stats else None
        cpu_percent, system_percent = self._shares(now_s, own_s, system)
        read_bytes, write_bytes = self._storage()
        sample = UtilisationSample(
            time_s=now_s,
            cpu_percent=cpu_percent,
            system_cpu_percent=system_percent,
            rss_bytes=sum(s.rss_bytes for s in stats) if stats else None,
            read_bytes=read_bytes,
            write_bytes=write_bytes,
        )
        if detailed:
            sample = replace(sample, pss_bytes=self._pss(), cpu_clock_mhz=self._cpu_clock_mhz())
        return sample if self._board is None else self._with_gpu(sample)

    def close(self) -> None:
        if self._nvml is not None:
            ask(self._nvml, "nvmlShutdown")
            self._nvml = self._board = None

    def _shares(self, now_s: float, own_s: float | None, system: SystemCpu | None) -> tuple[float | None, float | None]:
        """CPU per cent of the tree (100 is one CPU) and of the machine (100 is all) since the previous sample."""
        last, self._last = self._last, (now_s, own_s, None if system is None else system.busy_s)
        if last is None or now_s <= last[0]:
            return None, None
        cpus = system.cpu_count if system is not None else os.cpu_count() or 1
        share = 100 / (now_s - last[0])
        own = None
        if own_s is not None and last[1] is not None:
            # A child's time passes to its parent when it ends, so the tree's sum goes on. A child found late
            # brings its past along, hence the upper limit.
            own = min(100.0 * cpus, max(0.0, share * (own_s - last[1])))
        if system is None or last[2] is None or not cpus:
            return own, None
        busy_s = system.busy_s - last[2]
        if not counts_cpu_time(busy_s, (own or 0.0) / share):
            return own, None
        return own, min(100.0, share * busy_s / cpus)

    def _storage(self) -> tuple[int | None, int | None]:
        """Bytes moved from and to storage by the tree; None without permission (another user's process)."""
        totals = [0, 0]
        found = False
        for pid in self._tree:
            text = _text(self._proc / str(pid) / "io")
            match = re.search(r"^read_bytes: (\d+)\nwrite_bytes: (\d+)$", text, re.MULTILINE)
            if match:
                found = True
                totals = [totals[0] + int(match[1]), totals[1] + int(match[2])]
        return (totals[0], totals[1]) if found else (None, None)

    def _pss(self) -> int | None:
        """Proportional set size: each shared page divided among the processes that share it."""
        found = [
            int(match[1]) * 1024
            for pid in self._tree
            if (match := re.search(r"^Pss:\s+(\d+) kB$", _text(self._proc / str(pid) / "smaps_rollup"), re.MULTILINE))
        ]
        return sum(found) if found else None

    def _cpu_clock_mhz(self) -> float | None:
        """Mean present clock of all CPUs."""
        khz = [_text(policy / "scaling_cur_freq").strip() for policy in self._cpufreq.glob("policy*")]
        mhz = [int(text) / 1000 for text in khz if text.isdigit()]
        if not mhz:
            mhz = [float(m) for m in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", _text(self._proc / "cpuinfo"), re.M)]
        mhz = [clock for clock in mhz if clock > 0]  # some virtual machines report 0 for "unknown"
        return sum(mhz) / len(mhz) if mhz else None

    def _with_gpu(self, sample: UtilisationSample) -> UtilisationSample:
        nvml, board = self._nvml, self._board
        rates = ask(nvml, "nvmlDeviceGetUtilizationRates", board)
        memory = ask(nvml, "nvmlDeviceGetMemoryInfo", board)
        clock_mhz = ask(nvml, "nvmlDeviceGetClockInfo", board, nvml.NVML_CLOCK_SM)
        temperature_c = ask(nvml, "nvmlDeviceGetTemperature", board, nvml.NVML_TEMPERATURE_GPU)
        return replace(
            sample,
            gpu_percent=None if rates is None else float(rates.gpu),
            # Boards that share the CPU's memory report none of their own, or a total of 0.
            gpu_memory_bytes=int(memory.used) if memory is not None and memory.total else None,
            gpu_clock_mhz=float(clock_mhz) if clock_mhz else None,
            gpu_temperature_c=None if temperature_c is None else float(temperature_c),
            gpu_throttled=throttled(nvml, board),
        )


def throttled(nvml: Any, board: Any) -> bool | None:
    """Whether heat or the power supply throttles the clocks; None if unknown.

    Running at the board's own power limit is a normal state of a busy board and is not counted.
    """
    reasons = ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", board)
    if reasons is None:
        reasons = ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", board)
    if reasons is None:
        return None
    # HW slowdown, software thermal, hardware thermal, power brake: nvmlClocksEventReasons in nvml.h.
    return bool(reasons & (0x08 | 0x20 | 0x40 | 0x80))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

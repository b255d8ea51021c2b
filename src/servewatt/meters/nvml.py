"""NVIDIA GPUs through NVML: energy counters, power, and the processes that compute on them.

Boards since Volta count their energy in millijoules from the time the driver was loaded; the counter is 64 bits wide
and does not wrap in practice. Older boards report power only, which the harness integrates. Reading the counter takes
about 4 ms a board on data-centre boards, reading the power a few microseconds.

Every board that NVML lists is metered, whatever CUDA_VISIBLE_DEVICES is: the boundary is the machine, and a board that
a configuration leaves idle still draws its idle power. Where boards serve different tasks, `nvml:0` meters one of them
alone. Energy belongs to the whole board: NVML has no counter for a MIG instance, so on a partitioned board the figure
includes its other instances.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.errors import UnavailableError
from servewatt.meters.cpu_times import PROC, process_stat
from servewatt.meters.nvml_boards import (
    Board,
    NvmlFailsError,
    ask,
    board_count,
    decode,
    find_boards,
    open_nvml,
    read_energy_mj,
    read_power_w,
)
from servewatt.records import Component, Domain, Grade, PowerSample, Reading

QUANTUM_S = 0.1
"""Data-centre boards step their counter every 100 ms; others, where measured, step faster."""

DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")
"""The kernel driver's own list of the GPUs here, one folder each."""


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds a compute context on a GPU."""

    gpu: int
    pid: int
    name: str
    memory_bytes: int | None


class NvmlMeter:
    """Reads every NVIDIA board (or `only` the one of this index): by its energy counter where there is one, else by
    its power.
    """

    name = "nvml"

    def __init__(
        self,
        nvml: Any = None,
        *,
        only: int | None = None,
        quantum_s: float = QUANTUM_S,
        driver: Path = DRIVER_GPUS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._nvml: Any = None
        self._reason: tuple[str, str] | None = None
        self.boards: tuple[Board, ...] = ()
        self.present = False
        self.remarks: tuple[str, ...] = ()
        try:
            self._nvml = open_nvml(nvml)
        except UnavailableError as error:
            self._reason = (error.message, error.hint)
            # In a container the driver's library may be missing where its GPUs are not.
            self.present = isinstance(error, NvmlFailsError) or any(driver.glob("*"))
            return
        count, every = board_count(self._nvml), find_boards(self._nvml)
        self.present = count is None or bool(every)
        self.boards = tuple(b for b in every if only in (None, b.index))
        if count is None:
            self._reason = ("NVML fails to count the GPUs", "does nvidia-smi work? look for errors in dmesg")
        elif not every:
            self._reason = ("NVML shows no GPU", "a container needs --gpus all")
        elif not self.boards:
            self._reason = (f"there is no GPU {only}", f"the last one is nvml:{every[-1].index}")
        else:
            self._reason = _why_unreadable(self.boards)
        if self._reason:
            self.close()
        self._domains = tuple(
            Domain(
                name=f"gpu:{board.index}",
                component=Component.GPU,
                grade=Grade.COUNTER if board.has_counter else Grade.INTEGRATED,
                quantum_s=quantum_s,
                max_power_w=board.power_limit_w,
            )
            for board in self.boards
        )

    def unavailable(self) -> tuple[str, str] | None:
        return self._reason

    def domains(self) -> tuple[Domain, ...]:
        return () if self._reason else self._domains

    def read(self) -> tuple[Reading, ...]:
        """Counters of all boards; each reading is dated at the middle of its call, which takes milliseconds."""
        readings = []
        for board in self.boards if self._nvml else ():
            if not board.has_counter:
                continue
            before_s = self._clock()
            energy_mj = read_energy_mj(self._nvml, board.handle)
            if energy_mj is not None:
                readings.append(Reading(f"gpu:{board.index}", (before_s + self._clock()) / 2, energy_mj / 1000))
        return tuple(readings)

    def power(self) -> tuple[PowerSample, ...]:
        samples = []
        for domain, board in zip(self._domains, self.boards, strict=True) if self._nvml else ():
            power_w = read_power_w(self._nvml, board, domain)
            if power_w is not None:
                samples.append(PowerSample(domain.name, self._clock(), power_w))
        return tuple(samples)

    def close(self) -> None:
        if self._nvml is not None:
            ask(self._nvml, "nvmlShutdown")
            self._nvml = None


def visible_boards(setting: str | None, uuids: Sequence[str]) -> tuple[int, ...]:
    """Indices of the boards that CUDA_VISIBLE_DEVICES leaves visible, in its order; all when it is None.

    As CUDA does, reading stops at the first entry that names no board. Plain numbers are taken in the order of the
    PCI bus, which is CUDA's only with CUDA_DEVICE_ORDER=PCI_BUS_ID or where all boards are alike.
    """
    if setting is None:
        return tuple(range(len(uuids)))
    found: list[int] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isdigit() and int(entry) < len(uuids):
            found.append(int(entry))
            continue
        # A UUID may be cut short as long as it stays unique.
        matches = [i for i, uuid in enumerate(uuids) if re.match("GPU-.", entry) and uuid.startswith(entry)]
        if len(matches) != 1:
            break
        found += matches
    return tuple(found)


def first_visible_board(nvml: Any = None, setting: str | None = None) -> int | None:
    """Index of the board that CUDA programs use by default; None without one.

    `setting` stands in for the value of CUDA_VISIBLE_DEVICES.
    """
    try:
        nvml = open_nvml(nvml)
    except UnavailableError:
        return None
    handles = [ask(nvml, "nvmlDeviceGetHandleByIndex", i) for i in range(board_count(nvml) or 0)]
    uuids = [decode(ask(nvml, "nvmlDeviceGetUUID", handle)) or "" for handle in handles]
    ask(nvml, "nvmlShutdown")
    visible = visible_boards(os.environ.get("CUDA_VISIBLE_DEVICES") if setting is None else setting, uuids)
    return visible[0] if visible else None


def other_gpu_processes(
    own_pids: Collection[int], nvml: Any = None, *, proc: Path = PROC
) -> tuple[GpuProcess, ...] | None:
    """Processes other than ours that hold a compute context on any GPU; None where that cannot be told.

    That is so without NVML, on a board that does not list its processes, and in a container whose process numbers
    differ from the driver's (a listed process is not in /proc). A container may also see no process while others
    compute.
    """
    try:
        nvml = open_nvml(nvml)
    except UnavailableError:
        return None
    found = []
    try:
        count = board_count(nvml)
        if count is None:
            return None
        for board in range(count):
            handle = ask(nvml, "nvmlDeviceGetHandleByIndex", board)
            listed = ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
            if listed is None:
                return None
            for process in listed:
                stat = process_stat(process.pid, proc)
                if stat is None:
                    return None
                if process.pid not in own_pids:
                    found.append(GpuProcess(board, process.pid, stat.name, process.usedGpuMemory))
    finally:
        ask(nvml, "nvmlShutdown")
    return tuple(found)


def _why_unreadable(boards: Sequence[Board]) -> tuple[str, str] | None:
    """The reason and hint for boards that report neither energy nor power: the sum of the others is not the machine."""
    silent = [board for board in boards if board.problem]
    if not silent:
        return None
    first = silent[0]
    others = [f"--meter nvml:{board.index}" for board in boards if not board.problem]
    if others:
        advice = f"to measure the others alone, name them: {' '.join(others)}"
    else:
        advice = "virtual GPUs do not: pass the whole board through; does nvidia-smi show its power?"
    return f"GPU {first.index} tells neither energy nor power ({first.problem})", advice

"""NVIDIA GPUs through NVML: energy counters, power, and who computes on them.

Boards since Volta count their energy in millijoules from the time the driver was loaded; the counter is 64 bits wide
and does not wrap in practice. Older boards tell power only, which the harness integrates. Reading the counter takes
about 4 ms a board on data-centre boards, reading the power a few microseconds.

Every board NVML shows is metered, whatever CUDA_VISIBLE_DEVICES says: the boundary is the machine, and a board that
a configuration leaves idle still draws its idle power. Where boards serve different tasks, `nvml:0` meters one of them
alone. Energy belongs to the whole board: NVML has no counter for a
MIG instance, so on a partitioned board the figure includes its other instances.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.errors import UnavailableError
from servewatt.meters.cpu_times import PROC, process_stat
from servewatt.records import Component, Domain, Grade, PowerSample, Reading

QUANTUM_S = 0.1
"""Data-centre boards step their counter every 100 ms; others, where measured, step faster."""


@dataclass(frozen=True)
class Board:
    """A GPU board, its NVML handle, and how its energy can be read."""

    index: int
    handle: Any
    uuid: str
    has_counter: bool
    has_instant_power: bool
    has_power: bool
    power_limit_w: float | None
    mig: bool
    """Partitioned into MIG instances; the energy is still the whole board's."""


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds a compute context on a GPU."""

    gpu: int
    pid: int
    name: str
    memory_bytes: int | None


def open_nvml(module: Any = None) -> Any:
    """The initialised NVML binding (`module` stands in for pynvml). Close it with `nvmlShutdown`.

    Raises UnavailableError where the binding, the library or the driver is missing.
    """
    if module is None:
        try:
            module = importlib.import_module("pynvml")
        except ImportError:
            raise UnavailableError("the NVML binding is not installed", "pip install nvidia-ml-py") from None
    try:
        module.nvmlInit()
    except module.NVMLError as error:
        raise UnavailableError(
            f"NVML does not start: {error}",
            "needs an NVIDIA GPU and its driver (does nvidia-smi work?); a container needs --gpus all",
        ) from None
    return module


def ask(nvml: Any, function: str, *arguments: Any) -> Any | None:
    """The answer of an NVML function; None where the driver, the board or the binding cannot tell."""
    try:
        return getattr(nvml, function)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None


def find_boards(nvml: Any) -> tuple[Board, ...]:
    """Every board that NVML shows, in its order (that of the PCI bus)."""
    boards = []
    for index in range(ask(nvml, "nvmlDeviceGetCount") or 0):
        handle = ask(nvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            continue
        limit_mw = ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
        mig_mode = ask(nvml, "nvmlDeviceGetMigMode", handle)
        boards.append(
            Board(
                index=index,
                handle=handle,
                uuid=_decode(ask(nvml, "nvmlDeviceGetUUID", handle)),
                has_counter=ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", handle) is not None,
                has_instant_power=_instant_power_mw(nvml, handle) is not None,
                has_power=ask(nvml, "nvmlDeviceGetPowerUsage", handle) is not None,
                power_limit_w=limit_mw / 1000 if limit_mw else None,
                mig=bool(mig_mode and mig_mode[0]),
            )
        )
    return tuple(boards)


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._nvml: Any = None
        self._reason: tuple[str, str] | None = None
        self.boards: tuple[Board, ...] = ()
        try:
            self._nvml = open_nvml(nvml)
        except UnavailableError as error:
            self._reason = (error.message, error.hint)
            return
        every = find_boards(self._nvml)
        found = tuple(b for b in every if only in (None, b.index))
        self.boards = tuple(b for b in found if b.has_counter or b.has_power or b.has_instant_power)
        if not every:
            self._reason = ("NVML shows no GPU", "a container needs --gpus all")
        elif not found:
            self._reason = (f"there is no GPU {only}", f"the last one is nvml:{every[-1].index}")
        elif not self.boards:
            self._reason = (
                "the GPU tells neither energy nor power",
                "virtual GPUs do not; pass the whole board through",
            )
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
            energy_mj = ask(self._nvml, "nvmlDeviceGetTotalEnergyConsumption", board.handle)
            if energy_mj is not None:
                readings.append(Reading(f"gpu:{board.index}", (before_s + self._clock()) / 2, energy_mj / 1000))
        return tuple(readings)

    def power(self) -> tuple[PowerSample, ...]:
        samples = []
        for board in self.boards if self._nvml else ():
            power_mw = _power_mw(self._nvml, board)
            if power_mw is not None:
                samples.append(PowerSample(f"gpu:{board.index}", self._clock(), power_mw / 1000))
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
    handles = [ask(nvml, "nvmlDeviceGetHandleByIndex", i) for i in range(ask(nvml, "nvmlDeviceGetCount") or 0)]
    uuids = [_decode(ask(nvml, "nvmlDeviceGetUUID", handle)) for handle in handles]
    ask(nvml, "nvmlShutdown")
    visible = visible_boards(os.environ.get("CUDA_VISIBLE_DEVICES") if setting is None else setting, uuids)
    return visible[0] if visible else None


def other_gpu_processes(
    own_pids: Collection[int], nvml: Any = None, *, proc: Path = PROC
) -> tuple[GpuProcess, ...] | None:
    """Processes other than ours that hold a compute context on any GPU; None where that cannot be told.

    It cannot without NVML, on a board that does not list its processes, or in a container whose process numbers
    are not the driver's (a listed process that /proc does not know). A container may also be shown no process at
    all while others compute.
    """
    try:
        nvml = open_nvml(nvml)
    except UnavailableError:
        return None
    found = []
    try:
        for board in range(ask(nvml, "nvmlDeviceGetCount") or 0):
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


def _power_mw(nvml: Any, board: Board) -> float | None:
    """Present power. The field is preferred: nvmlDeviceGetPowerUsage averages over a second on newer boards."""
    if board.has_instant_power and (instant_mw := _instant_power_mw(nvml, board.handle)) is not None:
        return instant_mw
    power_mw = ask(nvml, "nvmlDeviceGetPowerUsage", board.handle)
    return None if power_mw is None else float(power_mw)


def _instant_power_mw(nvml: Any, handle: Any) -> float | None:
    field = getattr(nvml, "NVML_FI_DEV_POWER_INSTANT", None)
    values = ask(nvml, "nvmlDeviceGetFieldValues", handle, [field]) if field is not None else None
    if not values or values[0].nvmlReturn != nvml.NVML_SUCCESS:
        return None
    return float(values[0].value.uiVal)


def _decode(text: str | bytes | None) -> str:
    return text.decode() if isinstance(text, bytes) else text or ""

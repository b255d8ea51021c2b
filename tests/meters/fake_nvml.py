"""A stand-in for the pynvml module: boards whose answers are set by hand; what is not set raises NVMLError."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    def __init__(self, text: str, value: int = 3) -> None:
        super().__init__(text)
        self.value = value


@dataclass
class FakeBoard:
    uuid: str = "GPU-0000"
    energy_mj: int | None = None
    power_mw: int | None = None
    instant_mw: int | None = None
    limit_mw: int | None = None
    most_mw: int | None = None
    """The highest limit that can be set."""
    memory_bytes: int | None = 80 * 2**30
    used_bytes: int = 3 * 2**30
    lost: bool = False
    mig: bool = False
    persistence: int = 1
    reasons: int = 0
    processes: list[tuple[int, int]] | None = field(default_factory=list)
    """(pid, bytes)"""


class FakeNvml:
    NVMLError = NVMLError
    NVML_SUCCESS = 0
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *boards: FakeBoard, starts: bool = True, error: Exception | None = None) -> None:
        self.boards = boards
        self.starts = starts
        self.error = error or NVMLError("Driver Not Loaded", 9)
        self.counts = True
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.starts:
            raise self.error
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if not self.counts:
            raise NVMLError("Unknown Error", 999)
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeBoard:  # noqa: N802
        if self.boards[index].lost:
            raise NVMLError("GPU is lost", 15)
        return self.boards[index]

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetUUID": lambda b: b.uuid,
            "nvmlDeviceGetName": lambda _b: b"NVIDIA Test",
            "nvmlSystemGetDriverVersion": lambda: "580.1",
            "nvmlDeviceGetTotalEnergyConsumption": lambda b: known(b.energy_mj),
            "nvmlDeviceGetPowerUsage": lambda b: known(b.power_mw),
            "nvmlDeviceGetEnforcedPowerLimit": lambda b: known(b.limit_mw),
            "nvmlDeviceGetPowerManagementLimitConstraints": lambda b: [1000, known(b.most_mw)],
            "nvmlDeviceGetFieldValues": lambda b, _fields: [
                SimpleNamespace(
                    nvmlReturn=0 if b.instant_mw is not None else 3, value=SimpleNamespace(uiVal=b.instant_mw or 0)
                )
            ],
            "nvmlDeviceGetMigMode": lambda b: [int(b.mig), int(b.mig)],
            "nvmlDeviceGetPersistenceMode": lambda b: b.persistence,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda b: b.reasons,
            "nvmlDeviceGetMemoryInfo": lambda b: SimpleNamespace(total=known(b.memory_bytes), used=b.used_bytes),
            "nvmlDeviceGetUtilizationRates": lambda _b: SimpleNamespace(gpu=63, memory=10),
            "nvmlDeviceGetClockInfo": lambda _b, _kind: 1845,
            "nvmlDeviceGetTemperature": lambda _b, _sensor: 60,
            "nvmlDeviceGetComputeRunningProcesses": lambda b: [
                SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in known(b.processes)
            ],
        }
        if name not in answers:
            raise AttributeError(name)
        return answers[name]


def known(value: Any) -> Any:
    if value is None:
        raise NVMLError("Not Supported")
    return value

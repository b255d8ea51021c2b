"""NVIDIA boards through NVML: whether there are any, their limits, and their present energy and power.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

from servewatt.errors import UnavailableError
from servewatt.meters.plausible import CEILING_W, is_power
from servewatt.records import Component, Domain


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
    """Most it can be set to draw."""
    mig: bool
    """Partitioned into MIG instances; the energy is still the whole board's."""
    problem: str = ""
    """NVML's answer for a board that reports neither energy nor power; empty if it reports one."""


def open_nvml(module: Any = None) -> Any:
    """The initialised NVML binding (`module` stands in for pynvml). Close it with `nvmlShutdown`.

    Raises UnavailableError where the binding, the library or the driver is missing, and NvmlFailsError where there is
    a driver that does not answer.
    """
    if module is None:
        try:
            module = importlib.import_module("pynvml")
        except ImportError:
            raise UnavailableError("the NVML binding is not installed", "pip install nvidia-ml-py") from None
    try:
        module.nvmlInit()
    except module.NVMLError as error:
        fails = getattr(error, "value", None) in _FAILURES
        raise (NvmlFailsError if fails else UnavailableError)(
            f"NVML does not start: {error}",
            "needs an NVIDIA GPU and its driver (does nvidia-smi work?); a container needs --gpus all, "
            "and NVIDIA_DRIVER_CAPABILITIES with utility",
        ) from None
    return module


class NvmlFailsError(UnavailableError):
    """There are NVIDIA GPUs or their driver here, but NVML cannot be used."""


_FAILURES = {4, 10, 11, 15, 16, 17, 18, 999}
"""Codes of nvmlReturn_t with which NVML fails to start although there is a driver: no permission, timeout, interrupt
trouble, GPU lost, reset required, the operating system refuses, library and driver of two versions, unknown error."""


def ask(nvml: Any, function: str, *arguments: Any) -> Any | None:
    """The result of an NVML function; None if the driver, the board or the binding does not support it."""
    try:
        return getattr(nvml, function)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None


def board_count(nvml: Any) -> int | None:
    """How many boards there are; None where NVML fails to tell."""
    count = ask(nvml, "nvmlDeviceGetCount")
    return None if count is None else int(count)


def find_boards(nvml: Any) -> tuple[Board, ...]:
    """Every board that NVML counts, in its order (that of the PCI bus), also those that it cannot read."""
    return tuple(_board(nvml, index) for index in range(board_count(nvml) or 0))


def _board(nvml: Any, index: int) -> Board:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        return Board(index, None, "", False, False, False, None, False, str(error))
    mig_mode = ask(nvml, "nvmlDeviceGetMigMode", handle)
    board = Board(
        index=index,
        handle=handle,
        uuid=decode(ask(nvml, "nvmlDeviceGetUUID", handle)) or "",
        has_counter=read_energy_mj(nvml, handle) is not None,
        has_instant_power=_instant_power_mw(nvml, handle) is not None,
        has_power=ask(nvml, "nvmlDeviceGetPowerUsage", handle) is not None,
        power_limit_w=_most_limit_w(nvml, handle),
        mig=bool(mig_mode and mig_mode[0]),
    )
    if board.has_counter or board.has_instant_power or board.has_power:
        return board
    try:
        nvml.nvmlDeviceGetPowerUsage(handle)
    except nvml.NVMLError as error:
        return replace(board, problem=str(error))
    return replace(board, problem="no power")


def power_limit_w(nvml: Any, handle: Any) -> float | None:
    """The enforced power limit in watts; None if it is not reported."""
    return _limit_w(ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle))


def _most_limit_w(nvml: Any, handle: Any) -> float | None:
    """The present limit or the highest that can be set: laptops and `nvidia-smi -pl` move it while a board works."""
    constraints = ask(nvml, "nvmlDeviceGetPowerManagementLimitConstraints", handle)
    limits = [power_limit_w(nvml, handle), _limit_w(constraints[1]) if constraints else None]
    return max((limit for limit in limits if limit is not None), default=None)


def _limit_w(limit_mw: int | None) -> float | None:
    """Watts; None for zero or an impossible limit, which some drivers return for "unknown"."""
    return limit_mw / 1000 if limit_mw is not None and 0 < limit_mw / 1000 <= CEILING_W[Component.GPU] else None


def read_energy_mj(nvml: Any, handle: Any) -> int | None:
    """The energy counter; None where there is none, also in the form of the largest number."""
    energy_mj = ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", handle)
    return int(energy_mj) if energy_mj is not None and 0 <= energy_mj < _NOT_AVAILABLE else None


_NOT_AVAILABLE = 2**63
"""NVML says "not available" by the largest 64-bit number (NVML_VALUE_NOT_AVAILABLE, -1)."""


def read_power_w(nvml: Any, board: Board, domain: Domain) -> float | None:
    """Present power. The field is preferred: nvmlDeviceGetPowerUsage averages over a second on newer boards.

    Drivers were seen to answer with success and 3.7 million mW, or with the largest 32-bit number: no power is that.
    """
    instant_mw = _instant_power_mw(nvml, board.handle) if board.has_instant_power else None
    for power_mw in (instant_mw, ask(nvml, "nvmlDeviceGetPowerUsage", board.handle)):
        if power_mw is not None and is_power(domain, power_mw / 1000):
            return float(power_mw / 1000)
    return None


def _instant_power_mw(nvml: Any, handle: Any) -> float | None:
    field = getattr(nvml, "NVML_FI_DEV_POWER_INSTANT", None)
    values = ask(nvml, "nvmlDeviceGetFieldValues", handle, [field]) if field is not None else None
    if not values or values[0].nvmlReturn != nvml.NVML_SUCCESS:
        return None
    return float(values[0].value.uiVal)


def decode(text: str | bytes | None) -> str | None:
    """NVML's text, which older bindings give as bytes; None where there is none."""
    return text.decode(errors="replace") if isinstance(text, bytes) else text or None

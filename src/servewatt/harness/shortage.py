"""Temporary shortages that other processes may cause: disk, files, processes, network, memory."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.engines.shared.host import text_of
from servewatt.errors import UnavailableError
from servewatt.meters.nvml import first_visible_board
from servewatt.meters.nvml_boards import ask, open_nvml
from servewatt.records import Provider

_LONGEST_SEARCHED = 20_000
"""Characters of an exception's text that are searched for what it means."""


@dataclass(frozen=True)
class Shortage:
    """A temporary shortage, which other processes may have caused."""

    numbers: tuple[int, ...]
    signs: tuple[str, ...]
    """Phrases in libraries' messages, in lower case."""
    hint: str


_AGAIN = "and run the same command again"
_SHORTAGES = (
    Shortage(
        (errno.ENOSPC, errno.EDQUOT),
        ("no space left on device", "no room left", "disk quota exceeded"),
        f"free disk space (servewatt models prune) {_AGAIN}",
    ),
    Shortage(
        (errno.EMFILE, errno.ENFILE),
        ("too many open files",),
        f"raise the limit of open files (ulimit -n) {_AGAIN}",
    ),
    Shortage(
        (errno.EAGAIN,),
        ("resource temporarily unavailable", "can't start new thread"),
        f"end other processes, or raise the limit of processes (ulimit -u), {_AGAIN}",
    ),
    Shortage(
        (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT),
        ("network is unreachable", "name resolution", "no route to host"),
        f"see to the network {_AGAIN}",
    ),
)


def shortage_behind(error: BaseException | None) -> Shortage | None:
    """The shortage that an exception tells of, or one that led to it; None if that is not what went wrong."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        text = str(error)[:_LONGEST_SEARCHED].lower()
        for shortage in _SHORTAGES:
            if number in shortage.numbers or any(sign in text for sign in shortage.signs):
                return shortage
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def others_hold_most_memory(provider: Provider, root: Path = Path("/"), nvml: Any = None) -> bool:
    """Whether more than half of the memory, of the GPU in use or of the machine, is in use; asked between trials."""
    if provider is not Provider.CPU:
        used, total = _board_memory(nvml) or (0, 0)
        return used > total / 2
    known = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", text_of(root / "proc/meminfo"), re.MULTILINE))
    return len(known) == 2 and int(known["MemAvailable"]) < int(known["MemTotal"]) / 2


def used_bytes(provider: Provider, nvml: Any = None) -> int | None:
    """Memory in use of the GPU in use, by all programs; None where it is not known, or on a CPU."""
    board = None if provider is Provider.CPU else _board_memory(nvml)
    return None if board is None else board[0]


def available_bytes(provider: Provider, root: Path = Path("/"), nvml: Any = None) -> int | None:
    """Memory that a new process could use, of the machine (its control group's limit included) or of the GPU in use.

    None where it is not known.
    """
    if provider is not Provider.CPU:
        board = _board_memory(nvml)
        return None if board is None else board[1] - board[0]
    known = re.search(r"^MemAvailable:\s+(\d+) kB", text_of(root / "proc/meminfo"), re.MULTILINE)
    free = [] if known is None else [int(known[1]) * 1024]
    group = root / "sys/fs/cgroup"
    limit, used = text_of(group / "memory.max").strip(), text_of(group / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        # Of what the group uses, files that are only cached are given back when memory is asked for.
        cached = re.search(r"^inactive_file (\d+)", text_of(group / "memory.stat"), re.MULTILINE)
        free.append(int(limit) - int(used) + (int(cached[1]) if cached else 0))
    return min(free, default=None)


def _board_memory(nvml: Any) -> tuple[int, int] | None:
    """(used, total) bytes of the GPU that CUDA programs use by default; None if unknown."""
    board = first_visible_board(nvml)
    try:
        nvml = open_nvml(nvml)
    except UnavailableError:
        return None
    try:
        handle = None if board is None else ask(nvml, "nvmlDeviceGetHandleByIndex", board)
        memory = None if handle is None else ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
        return None if memory is None else (int(memory.used), int(memory.total))
    finally:
        ask(nvml, "nvmlShutdown")

"""CPU time of the machine and of process trees, and what a process holds, read straight from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
"""The unit of CPU times in /proc: 10 ms on every common kernel."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

PROC = Path("/proc")


@dataclass(frozen=True)
class SystemCpu:
    """Cumulative CPU time of the machine, all CPUs together."""

    busy_s: float
    """User, nice, system and interrupt time. Waiting for I/O is idle; stolen time is not ours."""
    stolen_s: float
    """Time the hypervisor gave to others while a CPU of this machine wanted to run."""
    cpu_count: int
    """CPUs online, whatever this process may use of them."""


@dataclass(frozen=True)
class ProcessStat:
    """What one line of /proc/PID/stat tells."""

    pid: int
    parent: int
    name: str
    cpu_s: float
    """Own CPU time of all threads, and that of children already waited for."""
    rss_bytes: int


def system_cpu_s(proc: Path = PROC) -> SystemCpu:
    """Cumulative busy and stolen CPU time since boot.

    Guest time is part of user time already (proc(5)), so it is not added again.
    """
    with (proc / "stat").open("rb") as file:
        lines = file.read().splitlines()
    user, nice, system, _idle, _iowait, irq, softirq, *rest = (int(field) for field in lines[0].split()[1:])
    cpus = sum(1 for line in lines[1:] if line.startswith(b"cpu"))
    return SystemCpu((user + nice + system + irq + softirq) * TICK_S, (rest[0] if rest else 0) * TICK_S, cpus)


def process_stat(pid: int, proc: Path = PROC) -> ProcessStat | None:
    """One process; None if it is gone."""
    try:
        with (proc / str(pid) / "stat").open("rb") as file:
            data = file.read()
    except OSError:
        return None
    # The name stands in brackets and may itself hold brackets and spaces.
    head, _, tail = data.rpartition(b")")
    if not tail:
        return None
    name = head.partition(b"(")[2].decode(errors="replace")
    fields = tail.split()
    ticks = sum(int(field) for field in fields[11:15])
    return ProcessStat(pid, int(fields[1]), name, ticks * TICK_S, int(fields[21]) * PAGE_BYTES)


def processes(proc: Path = PROC) -> Iterator[ProcessStat]:
    """Every process that can be seen; those that end meanwhile are passed over."""
    with os.scandir(proc) as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        if (found := process_stat(pid, proc)) is not None:
            yield found


def process_tree(pid: int, proc: Path = PROC) -> tuple[int, ...]:
    """`pid` and its living descendants, parents first; empty if `pid` is gone.

    Follows the kernel's lists of children where it keeps them (CONFIG_PROC_CHILDREN), at about 10 us a thread;
    elsewhere looks through every process, at about 10 us each.
    """
    if not (proc / str(pid)).is_dir():
        return ()
    if (proc / str(pid) / "task" / str(pid) / "children").exists():
        tree = [pid]
        for member in tree:
            tree += _children(member, proc)
        return tuple(tree)
    return family(pid, processes(proc))


def family(pid: int, known: Iterable[ProcessStat]) -> tuple[int, ...]:
    """`pid` and its descendants among `known`, parents first."""
    by_parent: dict[int, list[int]] = {}
    for process in known:
        by_parent.setdefault(process.parent, []).append(process.pid)
    tree = [pid]
    for member in tree:
        tree += by_parent.get(member, [])
    return tuple(tree)


def process_cpu_s(pid: int, proc: Path = PROC) -> float:
    """Cumulative CPU time of a process and all its descendants; 0 if it is gone.

    A child that has ended and was waited for counts through its parent; one that ended unwaited is lost, so
    take differences of at least zero.
    """
    stats = (process_stat(member, proc) for member in process_tree(pid, proc))
    return sum(stat.cpu_s for stat in stats if stat is not None)


def peak_rss_bytes(pid: int, proc: Path = PROC) -> int | None:
    """The largest resident set a process has had; None if it is gone or the kernel does not keep it."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _children(pid: int, proc: Path) -> list[int]:
    found: list[int] = []
    try:
        with os.scandir(proc / str(pid) / "task") as entries:
            threads = [entry.path for entry in entries]
        for thread in threads:
            with Path(thread, "children").open("rb") as file:
                found += [int(child) for child in file.read().split()]
    except OSError:
        pass
    return found

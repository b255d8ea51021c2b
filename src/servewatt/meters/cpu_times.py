"""CPU time of the machine and of process trees, and memory of processes, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from servewatt.errors import UnavailableError

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
    """The fields of /proc/PID/stat that are used here."""

    pid: int
    parent: int
    name: str
    cpu_s: float
    """Own CPU time of all threads, and that of children already waited for."""
    rss_bytes: int


def system_cpu_s(proc: Path = PROC) -> SystemCpu:
    """Cumulative busy and stolen CPU time since boot.

    Guest time is part of user time already (proc(5)), so it is not added again. UnavailableError if the kernel does not
    report them: the file cannot be read, or holds only zeros, idle time included, as in some sandboxes.
    """
    try:
        with (proc / "stat").open("rb") as file:
            lines = file.read().splitlines()
        user, nice, system, idle, iowait, irq, softirq, *rest = (int(field) for field in lines[0].split()[1:])
    except OSError as error:
        raise UnavailableError(f"{proc / 'stat'} cannot be read: {error.strerror}", _WITHOUT_CPU_TIMES) from None
    except (IndexError, ValueError):
        raise UnavailableError(f"{proc / 'stat'} does not hold CPU times", _WITHOUT_CPU_TIMES) from None
    if not any((user, nice, system, idle, iowait, irq, softirq)):
        raise UnavailableError(f"all CPU times in {proc / 'stat'} are zero", _WITHOUT_CPU_TIMES)
    cpus = sum(1 for line in lines[1:] if line.startswith(b"cpu"))
    return SystemCpu((user + nice + system + irq + softirq) * TICK_S, (rest[0] if rest else 0) * TICK_S, cpus)


_WITHOUT_CPU_TIMES = "a sandbox (such as gVisor) keeps them back: run outside of it, or use a meter that counts energy"


def known_system_cpu(proc: Path = PROC) -> SystemCpu | None:
    """As `system_cpu_s`; None if the kernel does not report it."""
    try:
        return system_cpu_s(proc)
    except UnavailableError:
        return None


def counts_cpu_time(busy_s: float, own_cpu_s: float) -> bool:
    """Whether the machine's busy time is consistent with the CPU time that a process used meanwhile.

    The former is counted in ticks and may miss bursts; if it is less than a quarter of the process's time, and that is
    ten ticks or more, the kernel does not count it.
    """
    return busy_s >= 0 and (own_cpu_s < _TELLING_TICKS * TICK_S or busy_s >= own_cpu_s / 4)


_TELLING_TICKS = 10


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


def threads_cpu_s(pid: int, proc: Path = PROC) -> float:
    """CPU time so far of the living threads of a process, to the nanosecond where the kernel keeps it.

    0 if it is gone. Without the kernel's scheduler statistics, to a tick (`process_stat`).
    """
    total_ns = 0
    try:
        with os.scandir(proc / str(pid) / "task") as entries:
            for entry in entries:
                with suppress(FileNotFoundError, ProcessLookupError), Path(entry.path, "schedstat").open("rb") as file:
                    total_ns += int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    if total_ns == 0 and (stat := process_stat(pid, proc)) is not None:
        return stat.cpu_s
    return total_ns / 1e9


def processes(proc: Path = PROC) -> Iterator[ProcessStat]:
    """Every visible process; those that end meanwhile are skipped."""
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

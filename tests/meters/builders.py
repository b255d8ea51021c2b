"""Files of a fake /proc."""

from __future__ import annotations

from pathlib import Path


def write_stat(proc: Path, user: int, *, cpus: int = 2, irq: int = 0, softirq: int = 0, steal: int = 0) -> None:
    """A /proc/stat of `user` busy ticks beside fixed idle and I/O-wait ones."""
    line = f"{user} 0 0 5000 700 {irq} {softirq} {steal} 33 0"
    rows = [f"cpu  {line}", *(f"cpu{n} {line}" for n in range(cpus)), "intr 12345", "ctxt 1"]
    proc.mkdir(parents=True, exist_ok=True)
    (proc / "stat").write_text("\n".join(rows) + "\n")


def write_process(
    proc: Path, pid: int, name: str, *, parent: int = 1, ticks: tuple[int, int, int, int] = (0, 0, 0, 0), pages: int = 0
) -> None:
    """A /proc/PID/stat with `ticks` of own user, own system, children's user and children's system time."""
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    before = f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 100 0 0 0"
    after = f"20 0 4 0 12345 99999744 {pages} 18446744073709551615 1 1"
    (folder / "stat").write_text(f"{before} {' '.join(map(str, ticks))} {after}\n")

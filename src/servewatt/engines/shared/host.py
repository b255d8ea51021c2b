"""The host of an engine: CPUs, threads of its process, installed packages."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from servewatt.records import Configuration


def cpu_threads(configuration: Configuration, root: Path = Path("/")) -> int:
    """CPU threads to compute with: as configured, else as many as CPUs that this process may use.

    Threads beyond the quota of its control group would be stopped in turn, all waiting for the one that is.
    """
    return configuration.threads or usable_cpus(root)


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs this process may use: its affinity, and the CPU quota of its control group rounded up."""
    count = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that the control groups above this process allow; None without a limit."""
    quotas = []
    for folder in control_groups(root, ""):
        limit, _, period = text_of(folder / "cpu.max").partition(" ")
        if limit.isdigit() and period.strip().isdigit():
            quotas.append(int(limit) / int(period))
    for folder in control_groups(root, "cpu"):
        limit, period = text_of(folder / "cpu.cfs_quota_us").strip(), text_of(folder / "cpu.cfs_period_us").strip()
        if limit.isdigit() and period.isdigit():
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def control_groups(root: Path, controller: str) -> list[Path]:
    """Folders of this process's control group and those above it.

    The unified hierarchy for an empty `controller` (cgroup v2), else that of a v1 controller. In a container the
    kernel may name a path of the host that is not mounted; the hierarchy's root is always looked at too.
    """
    mounts = [root / "sys/fs/cgroup"] if not controller else [root / "sys/fs/cgroup" / controller]
    if controller == "cpu":
        mounts.append(root / "sys/fs/cgroup/cpu,cpuacct")
    path = "/"
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        if controller in controllers.split(","):
            path = place
    parts = [part for part in path.split("/") if part and part != ".."]
    return [mount.joinpath(*parts[:depth]) for mount in mounts for depth in range(len(parts), -1, -1)]


def text_of(path: Path) -> str:
    """Text of a system file; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def thread_count() -> int:
    """Threads of this process."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def metadata_version(package: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def library_versions(packages: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(distribution, version) of those of `packages` that are installed."""
    versions = ((package, metadata_version(package)) for package in packages)
    return tuple((package, version) for package, version in versions if version is not None)

"""What an engine finds where it runs: CPUs, threads of its process, installed packages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from servewatt.records import Configuration


def cpu_threads(configuration: Configuration) -> int:
    """CPU threads to compute with: as configured, else every CPU this process may use."""
    return configuration.threads or len(os.sched_getaffinity(0))


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

"""A whole run: what was asked, and the machine and software it ran on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from servewatt.records.plan import Plan
from servewatt.records.readings import Domain

RECORD_VERSION = 1
"""Version of the records as stored; docs/reference/records.md describes each."""


@dataclass(frozen=True)
class Gpu:
    """A GPU of the machine."""

    index: int
    name: str
    memory_bytes: int | None
    """None where the driver does not tell, as of boards that share the CPU's memory. Older runs have 0 there."""
    driver: str | None
    power_limit_w: float | None = None


@dataclass(frozen=True)
class Environment:
    """The machine and software of a run; results from different machines are never compared silently."""

    cpu: str
    cpu_count: int
    """CPUs this process may use."""
    memory_bytes: int | None
    """None where the kernel does not tell."""
    kernel: str
    system: str
    """Operating system, such as `Debian GNU/Linux 12`."""
    python: str
    gpus: tuple[Gpu, ...] = ()
    governor: str | None = None
    virtual_machine: str | None = None
    """Kind of hypervisor; None on bare metal or where unknown."""
    container: str | None = None
    cpu_features: tuple[str, ...] = ()
    """Instruction sets that matter here: avx2, avx512f, avx512_bf16, amx_bf16 ..."""
    cache_bytes: int | None = None
    """Last-level CPU cache."""
    memory_bandwidth_bytes_s: float | None = None
    """Measured read bandwidth of main memory."""
    packages: tuple[tuple[str, str], ...] = ()
    domains: tuple[Domain, ...] = ()
    """The energy domains that were metered."""

    @property
    def fingerprint(self) -> str:
        """Digest of the hardware alone: equal on one machine across reboots and upgrades."""
        # Older runs have 0 for what is not known, and are of the same machine.
        gpus = [(g.name, g.memory_bytes or 0) for g in self.gpus]
        # Total memory as the kernel reports it moves by megabytes between boots.
        parts = (self.cpu, self.cpu_count, round((self.memory_bytes or 0) / 2**30), gpus, self.virtual_machine)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Run:
    """A plan and where it ran."""

    id: str
    created_at: str
    """UTC, ISO 8601."""
    plan: Plan
    environment: Environment
    servewatt_version: str
    record_version: int = field(default=RECORD_VERSION)

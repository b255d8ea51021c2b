"""Claims on plans in the store. Each names its claimant, so that the claim of a dead process lapses."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Claimant:
    """A process, identified so that a later one with the same number is not mistaken for it."""

    host: str
    boot: str
    """Identity of the boot of its kernel; empty where unknown."""
    namespace: str
    """Identity of its namespace of process numbers, which a container has of its own."""
    pid: int
    started: int
    """When it started, in the kernel's ticks since its boot; 0 where unknown."""


@dataclass(frozen=True)
class Claim:
    """A claim as it stands in the store."""

    subject: str
    """What is claimed."""
    token: str
    """Unique to each time that it is taken."""
    claimant: Claimant
    run_id: str
    """The run that is measured; empty until it is known."""
    expires_at: float
    """Seconds since the epoch after which it lapses where nobody can tell whether its claimant lives."""


@dataclass(frozen=True)
class Held:
    """The subject is claimed by another process."""

    by: Claim


def this_process(proc: Path = PROC) -> Claimant:
    """The process that asks."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = str((proc / "self/ns/pid").readlink())
    except OSError:
        boot = namespace = ""
    pid = os.getpid()
    return Claimant(socket.gethostname()[:200], boot, namespace, pid, _started(pid, proc) or 0)


def lives(claim: Claim, now_s: float, own: Claimant, proc: Path = PROC) -> bool:
    """Whether a claim still holds at `now_s` (seconds since the epoch), as far as the process `own` can tell.

    A process of the same boot and namespace is looked up, so its claim lapses the moment it is dead. One of the same
    host before its last boot is dead. Of any other (another host, another container) nothing is known but its lease.
    """
    claimant = claim.claimant
    if claimant.boot and (claimant.boot, claimant.namespace) == (own.boot, own.namespace):
        return _started(claimant.pid, proc) == claimant.started
    if claimant.host == own.host and claimant.boot and own.boot and claimant.boot != own.boot:
        return False
    return now_s < claim.expires_at


def _started(pid: int, proc: Path) -> int | None:
    """When a process started, in ticks since boot; None if there is none that could still do anything."""
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name stands in brackets and may itself hold brackets and spaces.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])

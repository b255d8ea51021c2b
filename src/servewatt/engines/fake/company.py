"""The other processes of the duet episode that the fake engine is in."""

from __future__ import annotations

import os
from pathlib import Path

from servewatt.processes.guardian import descendants

_RESIDENT = b"servewatt.harness.residency"
_GUARDIAN = b"guardian.py"


class Company:
    """Processes that wait beside this one, each under a guardian of its own, for whoever started this one's."""

    def pids(self) -> tuple[int, ...]:
        """Those that hold an engine; none where this process is not one of an episode."""
        words = {pid: _command(pid) for pid in descendants(_parent(os.getppid()))}
        return tuple(
            pid for pid, said in words.items() if _RESIDENT in said and _GUARDIAN not in said and pid != os.getpid()
        )

    def turns(self) -> int:
        """How often they were given a CPU so far."""
        return sum(_turns(pid) for pid in self.pids())


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _turns(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[2])
    except (OSError, ValueError, IndexError):
        return 0

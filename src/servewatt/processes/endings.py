"""How a process ended, in words."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """Such as `SIGKILL`, `SIGRTMIN+3`, or `signal 32` if it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        pass
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    return f"signal {number}"


def ending(returncode: int) -> str:
    """Such as `exit code 1` or `exit code 139 (as shells report SIGSEGV)`; the signal's name for a negative number."""
    if returncode < 0:
        return signal_name(-returncode)
    if returncode > 128 and returncode - 128 < signal.NSIG:
        return f"exit code {returncode} (as shells report {signal_name(returncode - 128)})"
    return f"exit code {returncode}"

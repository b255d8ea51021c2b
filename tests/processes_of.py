"""Finds the living processes that a test has started, whoever their parent is by now."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

MARK = "SERVEWATT_TEST"


def marked(mark: str) -> list[int]:
    """Those that inherited the environment variable MARK with this value; zombies are no longer living."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and path.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
    return found


def new_mark() -> str:
    """A value that no other test uses."""
    return uuid.uuid4().hex


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> bool:
    """Whether `condition` comes to hold in time."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def names(mark: str) -> list[str]:
    """What those of `marked` are called."""
    found = []
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found

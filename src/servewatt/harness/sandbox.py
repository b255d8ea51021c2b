"""Isolates a generated program from the user's files and the network, if this machine can."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt.harness import isolate

INSIDE = "/tmp"
"""Where a program works in a sandbox: a folder in memory."""
_PROBE_TIMEOUT_S = 20.0
_SHOWN = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/nix/store")
_TMPFS_BYTES = 2**26
_BUBBLEWRAP = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"),
    *("--proc", "/proc", "--dev", "/dev"),
)


@dataclass(frozen=True)
class Sandbox:
    """How a program is run."""

    name: str
    """`bubblewrap`, `namespaces`, or `none` where nothing but limits holds it."""
    prefix: tuple[str, ...]
    """Arguments in front of a command that is to run inside."""
    why_none: str = ""

    @property
    def in_words(self) -> str:
        """A sentence for a user who is about to run something."""
        if self.prefix:
            return f"answers run in a sandbox ({self.name}): no network, none of your files, nothing written outside"
        return (
            f"answers run without a sandbox ({self.why_none}): a program can read and change your files and use the"
            " network. Install bubblewrap, or use a container for models that you do not trust"
        )

    def command(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> list[str]:
        """`command` inside, with these environment variables; `folder` is where it works if there is no sandbox."""
        variables = dict(environment)
        place = INSIDE if self.prefix else folder
        variables |= {"HOME": place, "TMPDIR": place}
        settings = [f"{name}={value}" for name, value in variables.items()]
        return [*self.prefix, shutil.which("env") or "/usr/bin/env", "-i", *settings, *command]


@functools.cache
def find_sandbox() -> Sandbox:
    """The first sandbox that works on this machine; one of no effect, with the reasons, where none does."""
    reasons = []
    for make in (bubblewrap, namespaces):
        found = make()
        if found.prefix:
            return found
        reasons.append(found.why_none)
    return Sandbox("none", (), ", ".join(reasons))


def bubblewrap() -> Sandbox:
    """bwrap with namespaces of all kinds."""
    program = shutil.which("bwrap")
    if program is None:
        return Sandbox("none", (), "bubblewrap is not installed")
    options = ["--size", str(_TMPFS_BYTES), "--tmpfs", INSIDE]
    for place in _places():
        if os.path.islink(place):  # noqa: PTH114  (such as /lib, which points into /usr)
            options += ["--symlink", str(Path(place).readlink()), place]
        else:
            options += ["--ro-bind-try", place, place]
    last = ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", INSIDE, "--")
    return _tried(Sandbox("bubblewrap", (program, *_BUBBLEWRAP, *options, *last)))


def namespaces() -> Sandbox:
    """The sandbox that `isolate` makes, without bwrap."""
    return _tried(Sandbox("namespaces", (sys.executable, "-I", "-S", isolate.__file__, *_places(), "--")))


def _tried(sandbox: Sandbox) -> Sandbox:
    """The sandbox if a program runs in it."""
    probe = sandbox.command([sys.executable, "-I", "-c", "print('inside')"], {}, "/")
    try:
        tried = subprocess.run(probe, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Sandbox("none", (), f"{sandbox.name} cannot be used: {error}")
    if tried.stdout != "inside\n":
        said = (tried.stderr.strip() or f"exit code {tried.returncode}").rpartition("\n")[2]
        return Sandbox("none", (), f"{sandbox.name} cannot be used: {said[:200]}")
    return sandbox


def _places() -> list[str]:
    """The read-only paths visible inside: system libraries and this Python."""
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent)}
    return [*_SHOWN, *sorted(python)]

"""What keeps a generated program from the user's files and the network, where this machine has it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """Such as `bubblewrap`; `none` where nothing but limits holds it."""
    prefix: tuple[str, ...]
    """What comes before a command that is to run inside."""
    why_none: str = ""

    @property
    def in_words(self) -> str:
        """A sentence for whoever is about to run something."""
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
    """The sandbox of this machine, tried out; one of no effect, with the reason, where there is none."""
    program = shutil.which("bwrap")
    if program is None:
        return Sandbox("none", (), "bubblewrap is not installed")
    prefix = (program, *_BUBBLEWRAP, *_places(), "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", INSIDE, "--")
    probe = Sandbox("bubblewrap", prefix).command([sys.executable, "-I", "-c", "print('inside')"], {}, "/")
    try:
        tried = subprocess.run(probe, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Sandbox("none", (), f"bubblewrap does not work here: {error}")
    if tried.stdout != "inside\n":
        said = (tried.stderr.strip() or f"exit code {tried.returncode}").rpartition("\n")[2]
        return Sandbox("none", (), f"bubblewrap does not work here: {said[:200]}")
    return Sandbox("bubblewrap", prefix)


def _places() -> list[str]:
    """What is seen inside: system libraries and this Python, to be read only, and an empty folder."""
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent)}
    options = ["--size", str(_TMPFS_BYTES), "--tmpfs", INSIDE]
    for place in (*_SHOWN, *sorted(python)):
        if os.path.islink(place):  # noqa: PTH114  (such as /lib, which points into /usr)
            options += ["--symlink", str(Path(place).readlink()), place]
        else:
            options += ["--ro-bind-try", place, place]
    return options

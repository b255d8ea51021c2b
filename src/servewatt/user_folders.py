"""Where a user's data and caches lie, by the XDG specification, and what containers without a user's entry lack."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Mapping
from pathlib import Path

from servewatt.errors import UnavailableError

_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""Variables that `getpass.getuser` reads before it looks the user id up."""


def data_home() -> Path:
    """`$XDG_DATA_HOME`, or `~/.local/share`. Raises UnavailableError where neither is known."""
    return _folder("XDG_DATA_HOME", ".local/share")


def cache_home() -> Path:
    """`$XDG_CACHE_HOME`, or `~/.cache`. Raises UnavailableError where neither is known."""
    return _folder("XDG_CACHE_HOME", ".cache")


def identity(variables: Mapping[str, str]) -> dict[str, str]:
    """What of HOME and USER a process with these environment variables lacks, for libraries that ask for them.

    A user id without a name, as containers have, lets `getpass.getuser` and `Path.home` fail.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        pass
    else:
        return {}
    lacking: dict[str, str] = {}
    if not variables.get("HOME"):
        base = variables.get("XDG_CACHE_HOME", "")
        lacking["HOME"] = base if Path(base).is_absolute() else tempfile.gettempdir()
    if not any(variables.get(name) for name in _NAMES):
        lacking["USER"] = str(os.getuid())
    return lacking


def _folder(variable: str, below_home: str) -> Path:
    stated = os.environ.get(variable, "")
    # The specification has relative paths ignored.
    if Path(stated).is_absolute():
        return Path(stated)
    try:
        return Path.home() / below_home
    except RuntimeError as error:
        raise UnavailableError(
            f"no home folder: HOME is not set, and the user id {os.getuid()} has no name here",
            "set HOME, or both XDG_DATA_HOME and XDG_CACHE_HOME, to folders you may write",
        ) from error

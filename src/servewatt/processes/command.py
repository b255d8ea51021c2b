"""The command line and the environment variables of a Python process that servewatt starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def python_command(*arguments: str, python: str | None = None) -> list[str]:
    """`python` (by default the running interpreter) with `arguments`, such as `-c` and code.

    `-P` keeps the current folder out of its import path: what the user keeps there, such as a random.py, must not
    stand in for a library's module. `-I` would also ignore PYTHONPATH, which tells where servewatt itself lies.
    """
    return [python or sys.executable, "-P", *arguments]


def python_module_command(module: str, *arguments: str, python: str | None = None) -> list[str]:
    """`python -m module arguments`, without the current folder on the import path."""
    return python_command("-m", module, *arguments, python=python)


def child_environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` made such that Python processes, and those that they start, do not import from the current folder.

    An empty entry of PYTHONPATH (`PYTHONPATH=:/lib`) means the current folder, and is mostly an accident of how the
    variable was put together; it is left out. A folder that is named, `.` too, stays.
    """
    variables = {**base, "PYTHONSAFEPATH": "1"}
    entries = [entry for entry in variables.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    if entries:
        variables["PYTHONPATH"] = os.pathsep.join(entries)
    return variables

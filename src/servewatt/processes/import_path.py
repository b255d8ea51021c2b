"""Keeps the user's current folder off the import path of servewatt's own process. It imports only what Python has
imported at its start: anything else could already come from that folder.
"""

import os
import sys


def leave_out_current_folder() -> None:
    """Take the current folder off the import path, unless servewatt itself lies there."""
    try:
        here = os.getcwd()  # noqa: PTH109  (pathlib is not among what Python has imported)
    except OSError:  # it has been removed, so nothing can be imported from it
        return
    if not __file__.startswith(f"{here}/servewatt/"):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


def has_empty_entry(python_path: str) -> bool:
    """Whether this value of PYTHONPATH has an empty entry among others, which means the current folder."""
    return python_path != "" and "" in python_path.split(os.pathsep)

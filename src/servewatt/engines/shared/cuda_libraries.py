"""NVIDIA's libraries from its wheels: an engine's runtime asks the loader for them by a name that it cannot find."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from servewatt.errors import UnavailableError


def load_libraries(names: Sequence[str], who: str, hint: str) -> None:
    """Load shared libraries in this order, each from a wheel where one has it, else as the loader finds it.

    A runtime that asks for one by its name (`libcublas.so.13`) is given what is loaded. Wheels keep them in
    `nvidia/PART/lib`, those for CUDA 13 and later together in `nvidia/cu13/lib`.

    UnavailableError, saying `who` needs what and `hint`, if one cannot be loaded.
    """
    for name in names:
        try:
            ctypes.CDLL(next(_in_wheels(name), name), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise UnavailableError(f"{who} needs {name}: {error}", hint) from error


def _in_wheels(name: str) -> Iterator[str]:
    return (str(path) for folder in sys.path for path in sorted(Path(folder).glob(f"nvidia/*/lib/{name}")))

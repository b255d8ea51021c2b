"""Chooses Triton's interpreter, before triton is imported; where there is no triton, what imports this is skipped."""

from __future__ import annotations

import os
from importlib import metadata

import pytest

_LEAST = (3, 7)


def _version() -> tuple[int, ...]:
    """Of triton, without importing it; empty if it is not there."""
    try:
        return tuple(int(part) for part in metadata.version("triton").split(".")[:2])
    except metadata.PackageNotFoundError:
        return ()


if _version() < _LEAST:
    pytest.skip("needs triton 3.7: the interpreter of 3.6 fails with numpy 2.4", allow_module_level=True)
# Only now: on a machine with a GPU it would reach every other test that has triton compile.
os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("torch")

MARKS = [
    pytest.mark.engine,
    # Of the interpreter itself.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim"),
]

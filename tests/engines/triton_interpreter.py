"""Chooses Triton's interpreter, before triton is imported; where there is no triton, what imports this is skipped."""

from __future__ import annotations

import os

import pytest

os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("torch")
pytest.importorskip("triton", minversion="3.7", reason="needs triton 3.7: the interpreter of 3.6 fails with numpy 2.4")

MARKS = [
    pytest.mark.engine,
    # Of the interpreter itself.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim"),
]

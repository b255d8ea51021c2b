"""Runs and files as sides of a comparison."""

from __future__ import annotations

from pathlib import Path

from servewatt.experiment.baseline_file import read_side, side_of
from servewatt.experiment.gathering import find
from servewatt.input_files import is_there
from servewatt.recommendation.gate import Side
from servewatt.records import Boundary


def any_side(name: str, store: str | Path | None = None, boundary: Boundary | None = None) -> Side:
    """A side by a run's id, the beginning of one, or `latest`; or by the path of an exported run or a baseline.

    Raises what `find` and `read_side` raise.
    """
    path = Path(name)
    if is_there(path) and path.is_file():
        return read_side(path, boundary)
    return side_of(find(name, store, with_samples=False), boundary)

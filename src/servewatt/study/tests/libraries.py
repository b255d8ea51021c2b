"""The statistics libraries of the `study` extra: imported when a test needs them, and kept quiet."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from servewatt.errors import UnavailableError


def library(name: str) -> Any:
    """The module `name`, such as `scipy.stats`.

    Raises UnavailableError if it is not installed.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(
            f"the study's tests need {name.partition('.')[0].replace('_', '-')}", "pip install 'servewatt[study]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing inside warns: every result is checked instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def computed(test: Callable[[], tuple[float, float]]) -> tuple[float, float] | None:
    """Statistic and p-value of a library's test, or None if it finds no finite ones."""
    try:
        with quiet():
            statistic, p_value = (float(number) for number in test())
    except (ValueError, ArithmeticError):
        return None
    return (statistic, p_value) if math.isfinite(statistic) and math.isfinite(p_value) else None

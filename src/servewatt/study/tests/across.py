"""Comparisons over all models: pairs of configurations, each model one observation of their ratio.

Blocks of one model tell how surely two configurations differ for that model; models tell how far a difference carries
over to others. On a restless machine the second may be plain where the first is not: a model's few blocks scatter, but
twelve models that all lean one way do not do so by chance.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from servewatt.stats.records import Interval
from servewatt.study.data.cells import By, Cell, values_of
from servewatt.study.data.names import configuration_order, provider_of
from servewatt.study.tests.family import holm
from servewatt.study.tests.libraries import library

LEAST_MODELS = 3
"""Below this many models no interval is given."""


@dataclass(frozen=True)
class AcrossModels:
    """How two configurations compare over the models that have both."""

    source: str
    by: By
    first: str
    second: str
    ratio: Interval
    """Geometric mean over models of first / second; `n` counts models. The bounds hold together over all pairs."""
    least: float
    """The ratio of the model where it is least."""
    greatest: float
    first_less: int
    """Models in which the first needs less."""
    p_family: float
    """Of an exact two-sided sign test over models, Holm-corrected over all pairs of the source and quantity."""


def across_models(cells: Iterable[Cell], by: By, confidence: float = 0.95) -> tuple[AcrossModels, ...]:
    """Every pair of configurations of one provider, for one source's cells.

    Each model gives one ratio of medians over blocks. The interval is Student's, of the logarithms, at
    1 - (1 - confidence) / pairs, so that all of a source and quantity hold together; it takes the models for a sample
    of models like them. Pairs with fewer than two models in common are left out. UnavailableError without scipy.
    """
    cells = tuple(cells)
    found = _log_ratios(cells, by)
    p_values = holm([_sign_test(logs) for _, _, logs in found])
    alpha = (1 - confidence) / max(1, len(found))
    return tuple(
        AcrossModels(
            source=cells[0].source,
            by=by,
            first=first,
            second=second,
            ratio=_geometric_mean(logs, alpha),
            least=math.exp(min(logs)),
            greatest=math.exp(max(logs)),
            first_less=sum(value < 0 for value in logs),
            p_family=p_value,
        )
        for (first, second, logs), p_value in zip(found, p_values, strict=True)
    )


def comparable(cells: Iterable[Cell]) -> bool:
    """Whether `across_models` finds any pair in one source's cells."""
    cells = tuple(cells)
    return any(_log_ratios(cells, by) for by in By)


def _log_ratios(cells: Sequence[Cell], by: By) -> list[tuple[str, str, list[float]]]:
    """(first, second, logarithm of their ratio for each model that has both) of every pair with two such models."""
    values = values_of(cells, by)
    labels = sorted({label for row in values.values() for label in row}, key=configuration_order)
    pairs = [(a, b) for a, b in itertools.combinations(labels, 2) if provider_of(a) is provider_of(b)]
    found = []
    for first, second in pairs:
        logs = [math.log(row[first] / row[second]) for row in values.values() if first in row and second in row]
        if len(logs) > 1:
            found.append((first, second, logs))
    return found


def _geometric_mean(logs: Sequence[float], alpha: float) -> Interval:
    mean = statistics.fmean(logs)
    if len(logs) < LEAST_MODELS:
        return Interval(math.exp(mean), None, None, len(logs))
    quantile = float(library("scipy.stats").t.ppf(1 - alpha / 2, len(logs) - 1))
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))


def _sign_test(logs: Sequence[float]) -> float:
    """Exact two-sided p-value of the signs; ties are left out."""
    signs = [value for value in logs if value != 0]
    if not signs:
        return 1.0
    less = sum(value < 0 for value in signs)
    return float(library("scipy.stats").binomtest(less, len(signs)).pvalue)

"""What people run today, and what the choice saves over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from servewatt.errors import InputError, nearest
from servewatt.recommendation.records import Recommendation
from servewatt.records import Configuration, Precision, Provider, Via
from servewatt.stats.records import Analysis


def with_baseline(analysis: Analysis, answer: Recommendation, against: str | None = None) -> Recommendation:
    """The answer with its saving over `against`, by default PyTorch in fp32: what most people run.

    `analysis` is in the order of the answer (`servewatt.recommendation.order`), whose comparisons are with the choice.
    Raises InputError if `against` names no measured configuration, or several.
    """
    measured = [s.configuration for s in analysis.summaries if s.has_energy]
    if against is not None:
        baseline: Configuration | None = named(against, measured)
    else:
        baseline = usual(measured, answer.choice.provider if answer.choice is not None else None)
    over = None
    if baseline is not None and answer.choice is not None and baseline != answer.choice:
        pairs = (c for c in analysis.comparisons if (c.first, c.second) == (answer.choice, baseline))
        over = next(pairs, None)
    return replace(answer, baseline=baseline, over_baseline=over)


def usual(measured: Sequence[Configuration], provider: Provider | None) -> Configuration | None:
    """PyTorch in fp32, in process: on the same provider as the choice and one request at a time, if that was measured.

    None where it was not measured at all.
    """
    able = [c for c in measured if c.engine == "torch" and c.precision is Precision.FP32 and c.via is Via.PROCESS]
    return min(able, key=lambda c: (c.provider is not provider, c.batch, len(c.options), c.key), default=None)


def named(key: str, measured: Sequence[Configuration]) -> Configuration:
    """The configuration of this key, or the only one that has all of its parts (`torch/fp32`)."""
    exact = [c for c in measured if c.key == key]
    alike = exact or [c for c in measured if set(key.split("/")) <= set(c.key.split("/"))]
    if len(alike) == 1:
        return alike[0]
    keys = [c.key for c in alike or measured]
    if alike:
        raise InputError(f"{key} is more than one configuration of this run", f"name one of {', '.join(keys)}")
    raise InputError(f"{key} has no energy in this run", nearest(key, keys))

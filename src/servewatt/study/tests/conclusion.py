"""The conclusion on a sample without blocks, in a sentence: which group has the least, and whether that is certain."""

from __future__ import annotations

import math
import statistics

from servewatt.errors import counted
from servewatt.stats.compare import comparison_alpha
from servewatt.stats.records import Interval
from servewatt.study.data.samples import Sample
from servewatt.study.tests.decision import percent_less
from servewatt.study.tests.differences import ratio_of


def conclude(sample: Sample, confidence: float = 0.95) -> str:
    """The conclusion on groups that are not paired, at `confidence` for all comparisons together.

    The group of the least median is set against each other one; `comparison_alpha` says why a correction over these
    is enough. Where a value is not above zero there are no ratios, and the sentence says so.
    """
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in sample.values.items()}
    known = sorted((n for n, values in finite.items() if values), key=lambda n: (statistics.median(finite[n]), n))
    if not known:
        return f"No group has a value of {sample.title}."
    if len(known) == 1:
        return f"{known[0]} is the only group with a value of {sample.title}: there is nothing to compare it with."
    best, alpha = known[0], comparison_alpha(confidence, len(known))
    ratios = {other: ratio_of(sample, best, other, alpha) for other in known[1:]}
    if any(ratio is None for ratio in ratios.values()):
        return (
            f"{best} has the least median {sample.title}; values at or below zero have no ratios, so how sure that is "
            "follows from the tests alone."
        )
    rivals = [other for other, ratio in ratios.items() if not _below(ratio)]
    following = rivals[0] if rivals else known[1]
    ratio = ratios[following]
    assert ratio is not None
    ns = f"{len(finite[best])} and {counted(len(finite[following]), 'observation')}, not paired"
    if not rivals:
        return f"{best} has the least {sample.title}: {percent_less(ratio)} less than {following}, the next ({ns})."
    names = [best, *rivals]
    told = f"{sample.title} of {best} over {following}: {_ratio(ratio)}; {ns}"
    return f"Undecided between {', '.join(names[:-1])} and {names[-1]} ({told})."


def _below(ratio: Interval | None) -> bool:
    return ratio is not None and ratio.high is not None and ratio.high < 1


def _ratio(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.estimate:.3f}, without an interval"
    return f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"

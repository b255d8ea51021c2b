"""Compare configurations: energy per token paired by block, output tokens, and the Pareto front."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

from servewatt.records import Result
from servewatt.stats.intervals import blocks_until_decided, confidence_sequence, exponential
from servewatt.stats.records import Comparison, ConfigurationSummary, Interval, PairedRatio, Verdict

Block = TypeVar("Block", bound=Hashable)


def comparison_alpha(confidence: float, configurations: int) -> float:
    """The error each comparison may make so that a choice among so many configurations holds at `confidence`.

    Bonferroni over m - 1 comparisons, though the configuration compared with all others is picked from the same
    data. Why that is enough: let A be the one that is truly least. Each wrong choice declares some B lower than A,
    and each wrong elimination of A needs the same, so both need the confidence sequence of a pair that contains A
    to fail, and there are m - 1 such pairs. The right choice shows the intervals of just these pairs. So, with the
    given confidence and at all times at once, A is among the configurations still in question, a configuration
    that is chosen is A, and the intervals shown with the choice hold. (Intervals of a leader that is not chosen are
    each valid for their pair, but carry no promise for all of them together.)
    """
    return (1 - confidence) / max(1, configurations - 1)


def compare(first: ConfigurationSummary, second: ConfigurationSummary, alpha: float) -> Comparison | None:
    """Energy per token of `first` over `second` by the blocks that both have; None if either has no positive energy.

    Within a block both met the same machine state, so what drifts slowly cancels in the difference of logarithms.
    Blocks' log ratios are taken as independent Gaussian values. A block whose energy is not positive cannot be
    compared and is left out.
    """
    energies = (first.energy_j_per_token, second.energy_j_per_token)
    if energies[0] is None or energies[1] is None or min(energies[0].estimate, energies[1].estimate) <= 0:
        return None
    paired = compare_blocks(dict(first.block_energy_j_per_token), dict(second.block_energy_j_per_token), alpha)
    if paired is None:
        ratio = Interval(energies[0].estimate / energies[1].estimate, None, None, 0)
        paired = PairedRatio(ratio, Verdict.UNDECIDED, None)
    return Comparison(first.configuration, second.configuration, paired.ratio, paired.verdict, paired.more_blocks)


def compare_blocks(first: Mapping[Block, float], second: Mapping[Block, float], alpha: float) -> PairedRatio | None:
    """A quantity of one configuration over that of another, by the blocks that both have; None if they share none.

    Both map a block to the quantity in it, in one unit. Blocks in which either is not positive are left out. See
    `compare` for what is assumed.
    """
    ratios = log_ratios(first, second)
    if not ratios:
        return None
    ratio = mean_ratio(ratios, alpha)
    if ratio.high is not None and ratio.high < 1:
        verdict = Verdict.LOWER
    elif ratio.low is not None and ratio.low > 1:
        verdict = Verdict.HIGHER
    else:
        verdict = Verdict.UNDECIDED
    more = blocks_until_decided(ratios, alpha) if verdict is Verdict.UNDECIDED else 0
    return PairedRatio(ratio, verdict, more)


def ranking(blocks: Mapping[str, Mapping[Block, float]], confidence: float) -> tuple[str, ...]:
    """Keys by their quantity (block -> value), least median first, those without a positive median last.

    None stands before one that paired blocks show to need less, each pair at `confidence`. Comparisons that are
    corrected for their number never contradict the order, because they decide less. Medians decide where pairs that
    share different blocks contradict each other.
    """
    medians = {key: statistics.median(values.values()) for key, values in blocks.items() if values}
    order = sorted(medians, key=lambda key: (medians[key] <= 0, medians[key], key))
    logs = {key: {b: math.log(v) for b, v in blocks[key].items() if v > 0} for key in order}
    placed: list[str] = []
    remaining = [key for key in order if medians[key] > 0]
    while remaining:
        first = next(
            (
                key
                for key in remaining
                if not any(_shown_higher(logs[key], logs[other], confidence) for other in remaining if other != key)
            ),
            remaining[0],
        )
        placed.append(first)
        remaining.remove(first)
    return (*placed, *(key for key in order if medians[key] <= 0))


def _shown_higher(first: Mapping[Block, float], second: Mapping[Block, float], confidence: float) -> bool:
    """Whether blocks in common show that the first needs more; both map a block to a logarithm."""
    differences = [value - second[block] for block, value in first.items() if block in second]
    if len(differences) < 2 or sum(differences) <= 0:
        return False
    low = confidence_sequence(differences, 1 - confidence).low
    return low is not None and low > 0


def compare_with_first(summaries: Sequence[ConfigurationSummary], confidence: float) -> tuple[Comparison, ...]:
    """The first of `summaries` against each other one, corrected for their number."""
    known = [s for s in summaries if s.has_energy]
    alpha = comparison_alpha(confidence, len(known))
    comparisons = (compare(known[0], other, alpha) for other in known[1:])
    return tuple(c for c in comparisons if c is not None)


def mean_ratio(logarithms: Sequence[float], alpha: float) -> Interval:
    """The geometric mean of ratios given as logarithms, with its anytime-valid interval at error `alpha`."""
    mean = confidence_sequence(logarithms, alpha)
    return Interval(
        exponential(mean.estimate),
        exponential(mean.low) if mean.low is not None else None,
        exponential(mean.high) if mean.high is not None else None,
        mean.n,
    )


def log_ratios(first: Mapping[Block, float], second: Mapping[Block, float]) -> tuple[float, ...]:
    """Logarithm of first over second in each block that both have with positive values."""
    return tuple(
        math.log(value / second[block])
        for block, value in first.items()
        if block in second and value > 0 and second[block] > 0
    )


def agreement(results: Sequence[Result], reference: Result) -> float | None:
    """Share of output tokens equal to the reference's, position by position, over all prompts and `results`.

    A position that only one of the two has counts as different. None if either has no outputs.
    """
    equal = total = 0
    # Equal outputs of many trials are often one object, which is compared once.
    compared: dict[int, tuple[int, int]] = {}
    for result in results:
        if not result.outputs or not reference.outputs:
            continue
        if id(result.outputs) not in compared:
            compared[id(result.outputs)] = _equal_tokens(result.outputs, reference.outputs)
        same, of = compared[id(result.outputs)]
        equal, total = equal + same, total + of
    return equal / total if total else None


def _equal_tokens(outputs: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> tuple[int, int]:
    """How many tokens are equal, of how many."""
    equal = total = 0
    for row, expected in zip_longest(outputs, reference, fillvalue=()):
        equal += sum(a == b for a, b in zip(row, expected, strict=False))
        total += max(len(row), len(expected))
    return equal, total


def pareto_front(summaries: Sequence[ConfigurationSummary]) -> frozenset[str]:
    """Keys of the configurations that no other beats in both energy per token and request p95."""
    points = {
        s.configuration.key: (s.energy_j_per_token.estimate, s.request_p95_s.estimate)
        for s in summaries
        if s.energy_j_per_token is not None and s.request_p95_s is not None
    }
    return frozenset(
        key
        for key, (energy, latency) in points.items()
        if not any(e < energy and p < latency for e, p in points.values())
    )

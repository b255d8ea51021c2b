"""Output quality against a reference: agreement, perplexity ratio, pass rate. Pure functions."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace

from servewatt.quality import Agreement, Quality
from servewatt.records import Configuration, Interval

_MOST_NATS = 700.0
"""e to the power of more does not fit a float."""
_NORMAL_975 = 1.959963984540054


def agreement(reference: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> Agreement:
    """Outputs (token ids of each prompt) beside the reference's for the same prompts.

    Raises ValueError if the two do not have the same number of prompts, or none.
    """
    if not reference or len(reference) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs beside {len(reference)} of the reference")
    equal, shares, differences = 0, [], []
    for theirs, ours in zip(reference, outputs, strict=True):
        pairs = zip(theirs, ours, strict=False)
        leading = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(theirs), len(ours)))
        longest = max(len(theirs), len(ours))
        shares.append(leading / longest if longest else 1.0)
        if leading == longest:
            equal += 1
        else:
            differences.append(leading)
    median = statistics.median(differences) if differences else None
    return Agreement(len(reference), equal / len(reference), statistics.fmean(shares), median)


def perplexity(log_probabilities: Sequence[Sequence[float]]) -> float:
    """e to the mean negative log probability (natural logarithm) over the tokens of all documents.

    Raises ValueError if there are no tokens, or a number is not finite.
    """
    loss, tokens = _totals(log_probabilities)
    return _exp(sum(loss) / sum(tokens))


def bits_per_byte(log_probabilities: Sequence[Sequence[float]], scored_bytes: int) -> float:
    """Sum of -log2 p over the tokens, divided by the bytes they stand for."""
    loss, _ = _totals(log_probabilities)
    return sum(loss) / math.log(2) / scored_bytes


def perplexity_ratio(
    reference: Sequence[Sequence[float]],
    candidate: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Perplexity of the candidate over that of the reference, on the same tokens.

    exp(sum of differences of log probability / number of tokens). The interval is the percentile bootstrap's over
    documents (tokens of one document depend on each other), both configurations resampled together, because they
    find the same documents hard. With fewer than 3 documents the bounds are None.

    Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; for pairs of models
    on one text, P. Koehn, Statistical significance tests for machine translation evaluation (EMNLP 2004).

    Raises ValueError unless both have the same documents and tokens, and all numbers are finite.
    """
    if [len(d) for d in reference] != [len(d) for d in candidate]:
        raise ValueError("the reference scored other tokens")
    base, tokens = _totals(reference)
    loss, _ = _totals(candidate)
    extra = [ours - theirs for ours, theirs in zip(loss, base, strict=True)]
    n = len(tokens)
    estimate = _exp(sum(extra) / sum(tokens))
    if n < 3:
        return Interval(estimate, None, None, n)
    generator = random.Random(seed)
    means = []
    for _ in range(resamples):
        drawn = generator.choices(range(n), k=n)
        means.append(sum(extra[i] for i in drawn) / sum(tokens[i] for i in drawn))
    means.sort()
    tail = (1 - confidence) / 2
    low, high = (means[min(resamples - 1, int(share * resamples))] for share in (tail, 1 - tail))
    return Interval(estimate, _exp(low), _exp(high), n)


def pass_rate(passed: int, problems: int) -> Interval:
    """Share of problems passed, with its 95 % interval (`share_interval`)."""
    if not 0 <= passed <= problems or problems == 0:
        raise ValueError(f"{passed} of {problems} problems")
    return share_interval(passed / problems, problems)


def share_interval(share: float, n: int) -> Interval:
    """A mean of `n` values between 0 and 1 with Wilson's 95 % interval.

    That is the interval of a proportion. Values between 0 and 1 vary less than zeros and ones of the same mean do, so
    for a mean of shares it is on the safe side.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (JASA 22, 1927).
    """
    square = _NORMAL_975**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _NORMAL_975 * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    half /= 1 + square / n
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), n)


def pool(found: Sequence[Quality], configurations: Sequence[Configuration]) -> Quality | None:
    """Merges several records of one model into one for `configurations`; None if none of them is assessed.

    `found` are newest first. Only records that asked the same (reference, prompts, length and held-out text) are
    comparable: of these groups the one that knows most of the configurations is taken, of equal ones the one with the
    newest record. Within it the newest assessment of a configuration counts.
    """
    groups: dict[tuple[object, ...], list[Quality]] = {}
    for quality in found:
        groups.setdefault(_asked(quality), []).append(quality)
    pooled = [_merge(group) for group in groups.values()]
    known = [sum(quality.of(c) is not None for c in configurations) for quality in pooled]
    best = max(known, default=0)
    return pooled[known.index(best)] if best else None


def _asked(quality: Quality) -> tuple[object, ...]:
    reference = replace(quality.reference, batch=1, threads=None)
    text = (quality.held_out.digest, quality.held_out.tokens) if quality.held_out else None
    return reference, quality.workload_digest, quality.new_tokens, text


def _merge(group: Sequence[Quality]) -> Quality:
    newest = {a.configuration: a for quality in reversed(group) for a in quality.assessments}
    order = dict.fromkeys(a.configuration for quality in group for a in quality.assessments)
    return replace(group[0], assessments=tuple(newest[configuration] for configuration in order))


def _totals(log_probabilities: Sequence[Sequence[float]]) -> tuple[list[float], list[int]]:
    """Negative log probability and tokens of each document."""
    loss = [-math.fsum(document) for document in log_probabilities]
    tokens = [len(document) for document in log_probabilities]
    if not sum(tokens):
        raise ValueError("no tokens were scored")
    if not all(math.isfinite(value) for value in loss):
        raise ValueError("a log probability is not a finite number")
    return loss, tokens


def _exp(value: float) -> float:
    return math.exp(min(value, _MOST_NATS))

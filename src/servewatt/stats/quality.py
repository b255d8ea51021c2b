"""What an output is worth beside a reference's: agreement, perplexity ratio, pass rate. Pure functions and records."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from servewatt.records import Configuration, Facts, Model, Status
from servewatt.stats.records import Interval

QUALITY_VERSION = 1
"""Version of the `Quality` record as written to files."""

_MOST_NATS = 700.0
"""e to the power of more does not fit a float."""
_NORMAL_975 = 1.959963984540054


@dataclass(frozen=True)
class Agreement:
    """Greedy outputs beside those of the reference."""

    prompts: int
    equal_share: float
    """Share of prompts whose whole output is the same."""
    leading_share: float
    """Mean over prompts of the share of the output that comes before the first difference."""
    first_difference: float | None
    """Median number of equal tokens before the first difference, over prompts that have one; None if none has."""


@dataclass(frozen=True)
class Perplexity:
    """How well held-out text is predicted."""

    perplexity: float
    """e to the mean negative log probability of a token."""
    bits_per_byte: float | None
    """None where the tokenizer does not tell which bytes were scored."""
    ratio: Interval | None
    """To the reference's perplexity, with its interval over documents; None where the reference has none."""


@dataclass(frozen=True)
class Assessment:
    """One configuration's quality, or why it is not known."""

    configuration: Configuration
    status: Status
    reason: str = ""
    hint: str = ""
    facts: Facts | None = None
    agreement: Agreement | None = None
    perplexity: Perplexity | None = None
    no_perplexity: str = ""
    """Why there is none; empty where there is one."""
    pass_rate: Interval | None = None
    """Share of problems whose tests the answer passes (Wilson's interval); None where no tests were run."""


@dataclass(frozen=True)
class Document:
    """A stretch of one held-out file."""

    path: str
    """Relative to the source's folder."""
    sha256: str
    """Of the stretch that was scored, as UTF-8."""
    scored_bytes: int | None
    """Bytes of the scored tokens; None where the tokenizer does not tell."""


@dataclass(frozen=True)
class HeldOut:
    """The text that perplexity was measured on."""

    source: str
    """Such as `standard library of Python 3.11.7`."""
    seed: int
    tokens: int
    """Tokens of each document; the first is given, the others are scored."""
    documents: tuple[Document, ...]
    digest: str
    """SHA-256 over paths and texts."""


@dataclass(frozen=True)
class Quality:
    """Quality of a model's configurations against one reference."""

    model: Model
    reference: Configuration
    workload: str
    workload_digest: str
    new_tokens: int
    assessments: tuple[Assessment, ...]
    """The reference's first."""
    held_out: HeldOut | None
    servewatt_version: str
    quality_version: int = field(default=QUALITY_VERSION)

    def of(self, configuration: Configuration) -> Assessment | None:
        """The assessment that holds for `configuration`: of the same engine, provider, precision and options.

        Batch, threads and the way in change speed, not (but for rounding) what is said; the exact one goes first.
        """
        alike = [a for a in self.assessments if _kind(a.configuration) == _kind(configuration)]
        return next((a for a in alike if a.configuration == configuration), alike[0] if alike else None)


def _kind(configuration: Configuration) -> tuple[object, ...]:
    return configuration.engine, configuration.provider, configuration.precision, configuration.options


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
    """Share of problems passed, with Wilson's 95 % interval.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (JASA 22, 1927).
    """
    if not 0 <= passed <= problems or problems == 0:
        raise ValueError(f"{passed} of {problems} problems")
    share, square = passed / problems, _NORMAL_975**2
    middle = (share + square / (2 * problems)) / (1 + square / problems)
    half = _NORMAL_975 * math.sqrt(share * (1 - share) / problems + square / (4 * problems**2))
    half /= 1 + square / problems
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), problems)


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

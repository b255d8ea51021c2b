"""A trial's times in a few numbers, computed from its generations: all that statistics need."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servewatt.records.result import Generation


@dataclass(frozen=True)
class DecodeWork:
    """The decode steps of one trial's full batches."""

    rows: int
    context_tokens: float
    """Mean tokens in the KV cache of a row, over these steps."""
    prompt_tokens: float
    """Mean length of a row's prompt."""
    step_s: float
    """Median over the batches of the mean time from one token to the next: the mean, because an engine may hand over
    the tokens of several steps at once."""


@dataclass(frozen=True)
class Timing:
    """Times over all generations of a trial. None where there are none."""

    ttft_sum_s: float
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    inter_token_mean_s: float | None
    inter_token_p50_s: float | None
    inter_token_p95_s: float | None
    inter_token_p99_s: float | None
    request_p50_s: float | None
    request_p95_s: float | None
    request_sum_s: float
    engine_sum_s: float | None
    """Through HTTP: seconds that the engine worked, by the server; None unless known of every request."""
    decode: DecodeWork | None


def timing(generations: Sequence[Generation], prompts: Sequence[Sequence[int]]) -> Timing:
    """The times of a trial that generated from `prompts`."""
    ttft = sorted(g.ttft_s for g in generations)
    gaps = [gap for g in generations for gap in g.inter_token_s]
    between = sorted(gaps)
    request = [g.ttft_s + sum(g.inter_token_s) for g in generations]
    engine = [g.engine_s for g in generations if g.engine_s is not None]
    ordered = sorted(request)
    return Timing(
        ttft_sum_s=sum(g.ttft_s for g in generations),
        ttft_p50_s=_percentile(ttft, 50),
        ttft_p95_s=_percentile(ttft, 95),
        inter_token_mean_s=sum(gaps) / len(gaps) if gaps else None,
        inter_token_p50_s=_percentile(between, 50),
        inter_token_p95_s=_percentile(between, 95),
        inter_token_p99_s=_percentile(between, 99),
        request_p50_s=_percentile(ordered, 50),
        request_p95_s=_percentile(ordered, 95),
        request_sum_s=sum(request),
        engine_sum_s=sum(engine) if len(engine) == len(generations) and engine else None,
        decode=_decode(generations, prompts),
    )


def interpolated(ordered: Sequence[float], percent: float) -> float:
    """The percentile of ascending values by linear interpolation between them (NumPy's default method)."""
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _percentile(ordered: Sequence[float], percent: float) -> float | None:
    return interpolated(ordered, percent) if ordered else None


def _decode(generations: Sequence[Generation], prompts: Sequence[Sequence[int]]) -> DecodeWork | None:
    whole = [g for g in generations if g.inter_token_s and g.rows > 0]
    if not whole or not prompts:
        return None
    rows = max(g.rows for g in whole)
    full = [g for g in whole if g.rows == rows]
    lengths, contexts = [], []
    for g in full:
        length = statistics.fmean(len(prompts[(g.first_prompt + row) % len(prompts)]) for row in range(rows))
        lengths.append(length)
        # The step that follows the n-th new token reads the prompt and n tokens.
        contexts.append(length + (len(g.inter_token_s) + 1) / 2)
    step_s = statistics.median(sum(g.inter_token_s) / len(g.inter_token_s) for g in full)
    return DecodeWork(rows, statistics.fmean(contexts), statistics.fmean(lengths), step_s)

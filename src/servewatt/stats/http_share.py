"""HTTP's share: the client's time over the engine's in one trial, and trials in process and through HTTP by block."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from servewatt.records import Configuration, Result, Via
from servewatt.stats.compare import log_ratios, mean_ratio
from servewatt.stats.records import ConfigurationSummary, HttpShare, Interval


def http_shares(
    summaries: Sequence[ConfigurationSummary], valid: Mapping[Configuration, Sequence[Result]], confidence: float
) -> tuple[HttpShare, ...]:
    """The share of each configuration measured in both ways, or through HTTP with the engine's seconds known.

    In the order of `summaries`. `valid` are the valid trials, one a block. The intervals hold together at `confidence`
    (Bonferroni over all of them). They describe, and do not belong to the family of comparisons that decides.
    """
    pairs = _pairs(summaries, valid)
    energies = [log_ratios(_energies(process), _energies(http)) for process, http in pairs]
    times = [log_ratios(_times(process, valid), _times(http, valid)) for process, http in pairs]
    engines = [tuple(map(math.log, _engine_shares(http, valid))) for _, http in pairs]
    alpha = (1 - confidence) / max(1, sum(map(bool, [*energies, *times, *engines])))
    return tuple(
        HttpShare(
            process.configuration if process is not None else None,
            http.configuration,
            share(energy, alpha),
            share(time, alpha),
            share(engine, alpha),
        )
        for (process, http), energy, time, engine in zip(pairs, energies, times, engines, strict=True)
    )


def engine_share(result: Result) -> float | None:
    """Seconds that the engine worked over seconds that the client waited, both summed over the window's requests.

    The client's seconds are the latencies of its requests, from when it began to write one until it had read the
    answer. None where the result does not hold the engine's seconds of every request.
    """
    engine_s, client_s = result.times.engine_sum_s, result.times.request_sum_s
    return engine_s / client_s if engine_s is not None and engine_s > 0 and client_s > 0 else None


def share(logarithms: Sequence[float], alpha: float) -> Interval | None:
    """1 - the geometric mean of ratios given as logarithms, with its anytime-valid interval; None for none."""
    if not logarithms:
        return None
    ratio = mean_ratio(logarithms, alpha)
    low = None if ratio.high is None else 1 - ratio.high
    high = None if ratio.low is None else 1 - ratio.low
    return Interval(1 - ratio.estimate, low, high, ratio.n)


def _pairs(
    summaries: Sequence[ConfigurationSummary], valid: Mapping[Configuration, Sequence[Result]]
) -> list[tuple[ConfigurationSummary | None, ConfigurationSummary]]:
    """Each configuration in process (None where it was not measured so) and through HTTP."""
    known = {s.configuration: s for s in summaries}
    pairs: list[tuple[ConfigurationSummary | None, ConfigurationSummary]] = []
    for summary in summaries:
        served = known.get(dataclasses.replace(summary.configuration, via=Via.HTTP))
        in_process = known.get(dataclasses.replace(summary.configuration, via=Via.PROCESS))
        if summary is in_process and served is not None:
            pairs.append((summary, served))
        elif summary is served and in_process is None and _engine_shares(summary, valid):
            pairs.append((None, summary))
    return pairs


def _engine_shares(http: ConfigurationSummary, valid: Mapping[Configuration, Sequence[Result]]) -> list[float]:
    shares = (engine_share(trial) for trial in valid[http.configuration])
    return [found for found in shares if found is not None]


def _energies(summary: ConfigurationSummary | None) -> dict[int, float]:
    return dict(summary.block_energy_j_per_token) if summary is not None else {}


def _times(summary: ConfigurationSummary | None, valid: Mapping[Configuration, Sequence[Result]]) -> dict[int, float]:
    """Block -> seconds of the generation section per token."""
    trials = valid[summary.configuration] if summary is not None else ()
    sections = ((trial.trial.block, trial.section("generate")) for trial in trials)
    return {block: s.duration_s / s.tokens_out for block, s in sections if s is not None and s.tokens_out}

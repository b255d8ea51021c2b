"""What HTTP adds: the same configuration in process and through a server, paired by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from servewatt.records import Configuration, Result, Via
from servewatt.stats.compare import log_ratios, mean_ratio
from servewatt.stats.records import ConfigurationSummary, HttpShare, Interval


def http_shares(
    summaries: Sequence[ConfigurationSummary], valid: Mapping[Configuration, Sequence[Result]], confidence: float
) -> tuple[HttpShare, ...]:
    """The share of each configuration that was measured in both ways, in the order of `summaries`.

    `valid` are the valid trials, one a block. The intervals hold together at `confidence` (Bonferroni over all of
    them): they describe, and are no part of the family of comparisons that decides.
    """
    by_configuration = {s.configuration: s for s in summaries}
    pairs = [
        (summary, by_configuration[served])
        for summary in summaries
        if summary.configuration.via is Via.PROCESS
        and (served := dataclasses.replace(summary.configuration, via=Via.HTTP)) in by_configuration
    ]
    energies = [log_ratios(_energies(process), _energies(http)) for process, http in pairs]
    times = [log_ratios(_times(valid[p.configuration]), _times(valid[h.configuration])) for p, h in pairs]
    alpha = (1 - confidence) / max(1, sum(map(bool, energies)) + sum(map(bool, times)))
    return tuple(
        HttpShare(process.configuration, http.configuration, _share(energy, alpha), _share(time, alpha))
        for (process, http), energy, time in zip(pairs, energies, times, strict=True)
    )


def _energies(summary: ConfigurationSummary) -> dict[int, float]:
    return dict(summary.block_energy_j_per_token)


def _times(trials: Sequence[Result]) -> dict[int, float]:
    """Block -> seconds of the generation section per token."""
    sections = ((trial.trial.block, trial.section("generate")) for trial in trials)
    return {block: s.duration_s / s.tokens_out for block, s in sections if s is not None and s.tokens_out}


def _share(logarithms: Sequence[float], alpha: float) -> Interval | None:
    if not logarithms:
        return None
    ratio = mean_ratio(logarithms, alpha)
    low = None if ratio.high is None else 1 - ratio.high
    high = None if ratio.low is None else 1 - ratio.low
    return Interval(1 - ratio.estimate, low, high, ratio.n)

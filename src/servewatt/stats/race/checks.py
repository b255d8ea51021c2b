"""Checks for disturbances of a race: each is a pure function over results that warns if the effect is large enough.

A check that rests on chance warns only where an effect is both larger than its threshold and larger than chance makes
it at `CHANCE`, shared among all that is looked at. benchmarks/checks.py simulates how often a clean race is warned of.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from servewatt.records import Result, Slice
from servewatt.records.slices import blocked_limit
from servewatt.stats.intervals import student_quantile
from servewatt.stats.race.bound import pooled_scatter
from servewatt.stats.race.costs import Costs, SliceCost
from servewatt.stats.race.episode import PROCESS_SD, Levels, hodges_lehmann
from servewatt.stats.race.machine_checks import machine_warnings
from servewatt.stats.race.observed import Observed, effect_of, observe
from servewatt.stats.race.warned import Kind, Margins, RaceWarning, margins

__all__ = ["CHANCE", "Kind", "Margins", "RaceWarning", "margins", "race_warnings"]

CHANCE = 0.005
"""Probability with which each kind of check that rests on chance may warn of a clean race; there are six such."""
LEAST_JOINS = 1
LEAST_SLICES_OF_A_KIND = 3
WHOLE_BATCHES = 6
"""With fewer batches a slice's last third holds later tokens than its first, which cost more by their context alone."""
SPIKE_SCALES = 5.0
"""A slice further above its level than so many robust standard deviations is a spike: of Gaussian noise one in three
million is."""
SCATTER_SD = 0.12
"""Scatter between processes from which on the prior (`PROCESS_SD`, 0.04) misleads: three times it."""
SCATTER_EPISODES = 3
SCATTER_DEGREES = 2
AUTOCORRELATION = 0.3
"""Of neighbouring rounds. At 0.3 the variance of a level is (1 + r) / (1 - r), nearly twice, what is computed: G. E. P.
Box, G. M. Jenkins, "Time Series Analysis", for a first-order autoregression."""


def race_warnings(
    results: Sequence[Result], costs: Costs, slice_cost: SliceCost, ahead: Margins, *, cpu_count: int = 2
) -> tuple[RaceWarning, ...]:
    """Every warning about a race, those that could overturn its choice first.

    Of blocks of whole trials only what the machine said, and what was answered, is looked at.

    `results` are all of the run, with their samples where throttling and clocks are to be seen; `costs` what the race
    was decided by, `slice_cost` the cost of a slice, `ahead` the margins of its choice, `cpu_count` the machine's CPUs.
    """
    observed = observe(results, slice_cost)
    found = (
        *blocked(results, ahead, cpu_count),
        *company(observed, ahead),
        *drift(observed, ahead),
        *predecessor(observed, ahead),
        *spikes(observed, ahead),
        *(scatter(costs.episodes, ahead) if costs.duet else ()),
        *autocorrelation(observed, costs.episodes, ahead),
        *machine_warnings(results, ahead),
    )
    return tuple(sorted(found, key=lambda warning: not warning.could_overturn))


def blocked(results: Sequence[Result], ahead: Margins, cpu_count: int) -> Iterator[RaceWarning]:
    """Size: most CPU time that a process used while it was blocked, as a share of the slice that it disturbed.

    Those slices were repeated; what could overturn the choice is what was left of it in the valid ones, as far as the
    machine's other CPUs do not make up for it.
    """
    limit = blocked_limit(cpu_count)
    disturbing: dict[str, list[float]] = {}
    left: list[float] = [0.0]
    for result in results:
        for one in result.slices:
            share = _blocked_share(one)
            if one.fault and share > limit and one.blocked_by:
                disturbing.setdefault(one.blocked_by, []).append(share)
            elif not one.fault:
                left.append(share)
    for key, shares in sorted(disturbing.items()):
        count = "a slice was" if len(shares) == 1 else f"{len(shares)} slices were"
        text = (
            f"{key} keeps a CPU busy after its last step: {_percent(max(shares))} of one while another was measured "
            f"(limit {_percent(limit)}); {count} measured again"
        )
        overturns = ahead.overturned_by(math.log1p(max(left) * blocked_limit(2) / limit))
        yield RaceWarning(Kind.BLOCKED, key, max(shares), limit, text, overturns)


def _blocked_share(one: Slice) -> float:
    window_s = one.work_s + one.tail_s
    return (one.blocked_cpu_s or 0.0) / window_s if window_s > 0 else 0.0


def company(observed: Observed, ahead: Margins) -> Iterator[RaceWarning]:
    """Size: by what share a configuration costs more beside the others than when it joined and some were missing.

    A slice on joining lies a while before the rounds and has no partner, so its scatter is that of slices without
    anything taken off, twice, for the drift meanwhile.
    """
    variance, degrees = observed.raw_scatter
    if degrees < 1:
        return
    for key in observed.keys:
        differences = []
        noise = []
        for episode in observed.episodes:
            joined, full = episode.joining.get(key), episode.residents.get(key, 1)
            levels = [row[key] for row in episode.rounds if key in row]
            if joined is not None and joined.residents < full and levels:
                differences.append(hodges_lehmann(levels) - joined.log_cost)
                noise.append(2 * variance * (1 + 1 / len(levels)))
        if len(differences) < LEAST_JOINS:
            continue
        mean = statistics.fmean(differences)
        error = math.sqrt(sum(noise)) / len(noise)
        if mean > ahead.log_tie and mean > _quantile(degrees, len(observed.keys)) * error:
            text = (
                f"{key} costs {_percent(math.expm1(mean))} more while the other configurations are loaded than it did "
                f"before they were (threshold {_percent(ahead.tie)}): measure them one after another"
            )
            yield RaceWarning(Kind.COMPANY, key, math.expm1(mean), ahead.tie, text, ahead.overturned_by(mean, key))


def drift(observed: Observed, ahead: Margins) -> Iterator[RaceWarning]:
    """Size: by what share slices read too dear (or too cheap) because their first third is unlike their last.

    The middle third is taken to be like the last.
    """
    for key in observed.keys:
        ratios = observed.thirds[key]
        if len(ratios) < LEAST_SLICES_OF_A_KIND + 1:
            continue
        mean = statistics.fmean(ratios) / 3
        error = statistics.stdev(ratios) / 3 / math.sqrt(len(ratios))
        if mean < 0 and observed.batches[key] < WHOLE_BATCHES:
            continue  # a longer context costs more
        if abs(mean) > ahead.log_tie and abs(mean) > _quantile(len(ratios) - 1, len(observed.keys)) * error:
            how = "slower" if mean > 0 else "faster"
            bias = "dear" if mean > 0 else "cheap"
            text = (
                f"{key}: the first third of a slice is {_percent(abs(math.expm1(3 * mean)))} {how} than its last, so "
                f"that slices read about {_percent(abs(math.expm1(mean)))} too {bias} (threshold {_percent(ahead.tie)})"
            )
            overturns = ahead.overturned_by(abs(mean), key)
            yield RaceWarning(Kind.DRIFT, key, abs(math.expm1(mean)), ahead.tie, text, overturns)


def predecessor(observed: Observed, ahead: Margins) -> Iterator[RaceWarning]:
    """Size: by what share a slice costs more after another configuration's than after one of its own.

    Of each configuration with three slices of each kind; else of all together, as with many configurations few slices
    follow one of their own.
    """
    cells = [cell for cell in observed.cells if cell.after_own is not None]
    able = [key for key in observed.keys if _both_kinds([c.after_own for c in cells if c.key == key])]
    asked: list[str | None] = [*able] if able else [None] if _both_kinds([c.after_own for c in cells]) else []
    for key in asked:
        signs = [float(not c.after_own and key in (None, c.key)) for c in cells]
        found = effect_of(signs, cells)
        if found is None:
            continue
        size, error, degrees = found
        if abs(size) > ahead.log_tie and abs(size) > _quantile(degrees, len(asked)) * error:
            who = "a configuration" if key is None else key
            how = "more" if size > 0 else "less"
            text = (
                f"{who} costs {_percent(abs(math.expm1(size)))} {how} in a slice after another configuration's than "
                f"after one of its own (threshold {_percent(ahead.tie)}): longer slices would show what it costs alone"
            )
            overturns = ahead.overturned_by(abs(size), key)
            yield RaceWarning(Kind.PREDECESSOR, key, abs(math.expm1(size)), ahead.tie, text, overturns)


def _both_kinds(after_own: Sequence[bool | None]) -> bool:
    return min(after_own.count(True), after_own.count(False)) >= LEAST_SLICES_OF_A_KIND


def spikes(observed: Observed, ahead: Margins) -> Iterator[RaceWarning]:
    """Size: by what share the ratio of totals is above the robust ratio, where one configuration has the spikes.

    Spikes that strike everybody are the machine's, and the robust level rightly shrugs them off. Whether one has more
    than its share is R. A. Fisher's exact test on the number of slices far above their level.
    """
    away = {key: observed.away_from_level(key) for key in observed.keys}
    values = [value for own in away.values() for value in own]
    if len(observed.keys) < 2 or not values:
        return
    limit = max(SPIKE_SCALES * 1.4826 * statistics.median(map(abs, values)), ahead.log_tie)
    counts = {key: sum(value > limit for value in own) for key, own in away.items()}
    excess = {
        key: math.log(statistics.fmean(map(math.exp, own))) - hodges_lehmann(own) for key, own in away.items() if own
    }
    for key, own in excess.items():
        others = [value for other, value in excess.items() if other != key]
        size = own - statistics.fmean(others) if others else 0.0
        chance = _fisher(counts[key], len(away[key]), sum(counts.values()), len(values))
        if size > ahead.log_tie and chance < CHANCE / len(observed.keys):
            text = (
                f"{key}: {counts[key]} of {len(away[key])} slices are far above the others; with them it costs "
                f"{_percent(math.expm1(size))} more than its robust level says (threshold {_percent(ahead.tie)})"
            )
            overturns = ahead.overturned_by(size, key)
            yield RaceWarning(Kind.SPIKES, key, math.expm1(size), ahead.tie, text, overturns)


def scatter(episodes: Sequence[Levels], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: standard deviation of the log cost from process to process, after three episodes.

    What could overturn the choice is twice the standard error of a difference over the episodes.
    """
    if len(episodes) < SCATTER_EPISODES:
        return
    pooled = pooled_scatter(episodes)
    if pooled.degrees < SCATTER_DEGREES:
        return
    size = math.sqrt(max(0.0, pooled.squares / pooled.degrees - pooled.within_variance))
    if size > SCATTER_SD:
        text = (
            f"costs scatter by {_percent(size)} from process to process (threshold {_percent(SCATTER_SD)}, three times "
            f"the {_percent(PROCESS_SD)} that bounds begin with): the first episodes' bounds were too narrow"
        )
        overturns = ahead.overturned_by(2 * size * math.sqrt(2 / len(episodes)))
        yield RaceWarning(Kind.SCATTER, None, size, SCATTER_SD, text, overturns)


def autocorrelation(observed: Observed, episodes: Sequence[Levels], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: correlation of what is left of neighbouring rounds once round and configuration are taken off.

    What could overturn the choice is twice what the standard error of a difference lacks on its account.
    """
    size, pairs = observed.neighbours
    if pairs < 1 or not episodes or size <= AUTOCORRELATION or size <= _quantile(10**4, 1) / math.sqrt(pairs):
        return
    text = (
        f"neighbouring rounds are alike (correlation {size:.2f}, threshold {AUTOCORRELATION:.2f}): what disturbs the "
        "machine outlasts a round and does not strike all configurations alike, so an episode tells less than it seems"
    )
    variance = statistics.fmean(episode.variance for episode in episodes)
    widening = math.sqrt((1 + size) / max(1e-9, 1 - size)) - 1
    overturns = ahead.overturned_by(2 * widening * math.sqrt(2 * variance / len(episodes)))
    yield RaceWarning(Kind.AUTOCORRELATION, None, size, AUTOCORRELATION, text, overturns)


def _quantile(degrees: int, looks: int) -> float:
    """How many standard errors chance makes at `CHANCE`, over so many looks."""
    return student_quantile(1 - CHANCE / looks, degrees)


def _fisher(own: int, own_of: int, all_: int, of: int) -> float:
    """Probability that chance gives one at least `own` of the `all_` spikes among its `own_of` of `of` slices."""
    ways = (math.comb(all_, k) * math.comb(of - all_, own_of - k) for k in range(own, min(all_, own_of) + 1))
    return sum(ways) / math.comb(of, own_of)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"

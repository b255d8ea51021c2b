"""How long a race takes to a choice, and how often it is wrong: simulated studies, beside one trial after another.

    python benchmarks/deciding.py                      # 1,000 studies a cell, two minutes
    python benchmarks/deciding.py --studies 200 --noise gpu

A study is a machine's noise (slices, processes, drift) and true costs of K configurations. Each method measures until
it decides, or until --budget. `wrong` is the share of studies whose answer is false: something saves more than its
promise, or a configuration is said to cost more than another by more than it does. `ever` is the share in which that
was so after any episode or block on the way, for those who look meanwhile; the limit of both is 5 %. `open` is the
share that ended at the budget without a promise below --tie. No engine runs: the minutes are of the time model printed
above the table (a process starts, and slices with pauses follow; or a trial starts, idles, prefills and generates).
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from servewatt.stats.compare import comparison_alpha
from servewatt.stats.intervals import confidence_sequence
from servewatt.stats.race import Levels, Standing, after_episode, episode_levels, far_behind, rounds_for


@dataclass(frozen=True)
class Noise:
    """How costs scatter: standard deviations of natural logarithms."""

    slice_sd: float
    """Of a slice, once round and process are taken off."""
    process_sd: float
    """Between processes of one configuration."""
    round_sd: float
    """Between rounds, for all configurations alike."""
    trial_sd: float
    """Between trials of several seconds, one after another: drift included."""
    start_s: float
    """To load and warm up one process."""
    slice_s: float
    """A slice with its pause."""
    trial_s: float
    """A trial: start, idle, prefill, window."""


# Of slices: measured by hand on two shared CPUs and on an H200. Of trials: results/*.parquet.
NOISES = {
    "cpu": Noise(0.10, 0.03, 0.10, 0.12, 5.0, 0.7, 17.0),
    "gpu": Noise(0.005, 0.001, 0.002, 0.06, 15.0, 1.2, 40.0),
}


@dataclass(frozen=True)
class Outcome:
    """How one study ended."""

    minutes: float
    wrong: bool
    ever_wrong: bool
    decided: bool
    promise: float


@dataclass(frozen=True)
class Case:
    """True costs of the configurations, cheapest first."""

    name: str
    costs: tuple[float, ...]


def cases() -> tuple[Case, ...]:
    """Ties, small and large differences, and spreads like those between engines."""
    spread = tuple(float(c) for c in np.geomspace(1, 17, 8))
    wide = tuple(float(c) for c in np.geomspace(1, 17, 16))
    return (
        Case("K = 2, equal", (1.0, 1.0)),
        Case("K = 2, 10 %", (1.0, 1.1)),
        Case("K = 2, 50 %", (1.0, 1.5)),
        Case("K = 4, 10 %", (1.0, 1.1, 1.1, 1.1)),
        Case("K = 8, spread 1x to 17x", spread),
        Case("K = 8, 10 %", (1.0, *[1.1] * 7)),
        Case("K = 8, 50 %", (1.0, *[1.5] * 7)),
        Case("K = 16, spread 1x to 17x", wide),
    )


def race(case: Case, noise: Noise, budget_s: float, tie: float, random: np.random.Generator) -> Outcome:
    """Episodes until the race is decided or the budget is spent."""
    names = [f"c{i}" for i in range(len(case.costs))]
    truth = dict(zip(names, np.log(case.costs), strict=True))
    planned = rounds_for(noise.start_s, noise.slice_s, noise.slice_sd)
    spent_s = 0.0
    episodes: list[Levels] = []
    standing: Standing | None = None
    racing: Sequence[str] = names
    ever_wrong = False
    while standing is None or not standing.decided:
        started = {name: truth[name] + random.normal(0, noise.process_sd) for name in racing}
        spent_s += noise.start_s * len(racing)
        rounds: list[dict[str, float]] = []
        gone: set[str] = set()
        for _ in range(planned):
            shared = random.normal(0, noise.round_sd)
            here = [name for name in racing if name not in gone]
            rounds.append({n: math.exp(started[n] + shared + random.normal(0, noise.slice_sd)) for n in here})
            spent_s += noise.slice_s * len(here)
            if not episodes:
                gone |= far_behind(rounds, len(names)).keys()
        episodes.append(episode_levels(rounds))
        standing = after_episode(episodes, names, standing, tie=tie)
        racing = standing.racing
        told = ((truth[name] - truth[d.beaten_by], math.log(d.ratio_low)) for name, d in standing.dropped.items())
        wrong = saved(truth.values(), truth[standing.choice]) > standing.promise + 1e-12 or any(
            actual < bound for actual, bound in told
        )
        ever_wrong = ever_wrong or wrong
        if spent_s > budget_s:
            break
    return Outcome(spent_s / 60, wrong, ever_wrong, standing.decided, standing.promise)


def saved(log_costs: Collection[float], chosen: float) -> float:
    """The share of the chosen cost that the cheapest saves."""
    return 1 - math.exp(min(log_costs) - chosen)


def blocks(case: Case, noise: Noise, budget_s: float, tie: float, random: np.random.Generator) -> Outcome:
    """Blocks of single trials, compared by pairs within blocks, until one is shown best or the rest within a tie."""
    count = len(case.costs)
    alpha = comparison_alpha(0.95, count)
    truth = np.log(case.costs)
    seen = np.empty((0, count))
    spent_s, promise = 0.0, 1.0
    wrong = ever_wrong = decided = False
    while spent_s <= budget_s:
        seen = np.vstack((seen, truth + random.normal(0, noise.trial_sd, count)))
        spent_s += noise.trial_s * count
        if len(seen) < 3:
            continue
        leader = int(seen.mean(axis=0).argmin())
        others = [i for i in range(count) if i != leader]
        bounds = [confidence_sequence((seen[:, leader] - seen[:, i]).tolist(), alpha) for i in others]
        promise = -math.expm1(-max(0.0, *(math.inf if b.high is None else b.high for b in bounds)))
        told = ((float(truth[leader] - truth[i]), b.high) for i, b in zip(others, bounds, strict=True))
        wrong = any(high is not None and actual > high for actual, high in told)
        ever_wrong = ever_wrong or wrong
        decided = promise < -math.expm1(-math.log1p(tie))
        if decided:
            break
    return Outcome(spent_s / 60, wrong, ever_wrong, decided, promise)


Method = Callable[[Case, Noise, float, float, np.random.Generator], Outcome]


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    """One line of the table."""
    minutes = sorted(o.minutes for o in outcomes)
    flags = zip(*((o.wrong, o.ever_wrong, not o.decided) for o in outcomes), strict=True)
    wrong, ever, left = map(statistics.fmean, flags)
    late = minutes[int(0.95 * (len(minutes) - 1))]
    promise = statistics.median(o.promise for o in outcomes)
    return (
        f"{name:43} {statistics.median(minutes):8.1f} {late:8.1f} {wrong:7.1%} {ever:7.1%} {left:7.1%} {promise:8.1%}"
    )


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="studies a cell [1000]")
    parser.add_argument("--noise", choices=sorted(NOISES), default="cpu")
    parser.add_argument("--budget", type=float, default=60.0, help="minutes a study may take [60]")
    parser.add_argument("--tie", type=float, default=0.03, help="savings below this share are a tie [0.03]")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    noise = NOISES[asked.noise]
    print(noise)
    print(f"{'':43} {'minutes':>8} {'95 % in':>8} {'wrong':>7} {'ever':>7} {'open':>7} {'promise':>8}")
    methods: tuple[tuple[str, Method], ...] = (("race", race), ("blocks of trials", blocks))
    for case in cases():
        if asked.case and asked.case not in case.name:
            continue
        for name, method in methods:
            outcomes = [
                method(case, noise, asked.budget * 60, asked.tie, np.random.default_rng((asked.seed, study)))
                for study in range(asked.studies)
            ]
            print(row(f"{case.name}, {name}", outcomes), flush=True)


if __name__ == "__main__":
    main()

"""How often the checks of a race warn of a clean one, and find what is there: simulated races.

    python -m benchmarks.checks                 # 1,000 races a row, some minutes
    python -m benchmarks.checks --races 200

Each row is a kind of race: its machine's noise (see `benchmarks/deciding.py`; a walk of the whole machine's speed from
slice to slice is added), configurations, episodes and rounds. `any` is the share of races with a warning of any kind,
which should be at most 5 % for a clean one; then the share of each kind. Rows below the first block have something to
find in their first configuration.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.deciding import NOISES, Noise
from servewatt.records import (
    Configuration,
    Model,
    ModelSource,
    Procedure,
    Result,
    Slice,
    Status,
    Trial,
    Weights,
    Workload,
)
from servewatt.stats.race.checks import Kind, margins, race_warnings
from servewatt.stats.race.costs import run_costs, time_cost

MODEL = Model("none", ModelSource.FOLDER, "", "0", "", Weights.RANDOM, 1, 1, 10, 10)


@dataclass(frozen=True)
class Case:
    """A kind of race."""

    name: str
    noise: Noise
    configurations: int
    episodes: int
    rounds: int
    walk_sd: float = 0.0
    """Of a step of the machine's speed from slice to slice."""
    trouble: str = ""
    """What is wrong with the first configuration."""


def cases() -> list[Case]:
    """Clean ones, then troubled ones."""
    clean = [
        Case(f"{name}, K = {k}, {e} x {r}", noise, k, e, r, 0.3 * noise.round_sd)
        for name, noise in NOISES.items()
        for k in (2, 4, 8)
        for e, r in ((2, 6), (4, 10))
    ]
    cpu, gpu = NOISES["cpu"], NOISES["gpu"]
    troubled = [
        Case(f"{name}, {trouble}", noise, 3, 4, 10, 0.0, trouble)
        for name, noise in (("cpu", cpu), ("gpu", gpu))
        for trouble in ("company", "drift", "predecessor", "spikes", "scatter", "autocorrelation")
    ]
    return clean + troubled


def simulate(case: Case, random: np.random.Generator) -> list[Result]:
    """The results of one race."""
    return [result for block in range(case.episodes) for result in _episode(case, block, random)]


def _episode(case: Case, block: int, random: np.random.Generator) -> list[Result]:
    noise, now_s, walk, before = case.noise, 1000.0 * block, 0.0, -1
    spread = 0.4 if case.trouble == "scatter" else noise.process_sd
    level = {k: 0.05 * k + random.normal(0, spread) for k in range(case.configurations)}
    own: dict[int, list[Slice]] = {k: [] for k in range(case.configurations)}
    lingering = 0.0
    for number in range(-1, case.rounds):
        shared = random.normal(0, noise.round_sd)
        lingering = 0.8 * lingering + random.normal(0, 3 * noise.slice_sd)
        for position, k in enumerate(random.permutation(case.configurations)):
            walk += random.normal(0, case.walk_sd)
            residents = position + 1 if number < 0 else case.configurations
            log_cost = level[k] + shared + walk + random.normal(0, noise.slice_sd)
            cold = random.normal(0, 2 * noise.slice_sd)
            if k == 0:
                cold += 0.5 * (case.trouble == "drift")
                log_cost += 0.7 * (case.trouble == "company" and residents > 1)
                log_cost += 0.3 * (case.trouble == "predecessor" and before != k)
                log_cost += 1.5 * (case.trouble == "spikes" and random.random() < 0.3)
                log_cost += lingering * (case.trouble == "autocorrelation")
            work_s = math.exp(log_cost)
            now_s += 1
            made = Slice(number, position, now_s, work_s, 0.0, residents=residents, batches=9, tokens_out=1)
            own[k].append(replace(made, first_third_s=math.exp(cold), last_third_s=1.0))
            before = int(k)
    return [_result(block, k, slices) for k, slices in own.items()]


def _result(block: int, k: int, slices: Sequence[Slice]) -> Result:
    configuration = Configuration("fake", options=(("number", str(k)),))
    trial = Trial("r", block, 0, 0, MODEL, Workload("w", ((1,),), 1), configuration, Procedure())
    return Result(trial, Status.OK, slices=tuple(slices))


def warned(case: Case, random: np.random.Generator) -> frozenset[Kind]:
    """Kinds of warnings of one race."""
    results = simulate(case, random)
    costs = run_costs(results, time_cost, lambda _result: None)
    choice = Configuration("fake", options=(("number", "0"),)).key
    return frozenset(w.kind for w in race_warnings(results, costs, time_cost, margins(costs.episodes, choice)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--races", type=int, default=1000, help="at least 1")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{'race':26} {'any':>6}  kinds")
    for place, case in enumerate(cases()):
        counts: Counter[str] = Counter()
        random = np.random.default_rng((arguments.seed, place))
        for _ in range(arguments.races):
            found = warned(case, random)
            counts.update(kind.value for kind in found)
            counts["any"] += bool(found)
        share = {name: count / arguments.races for name, count in counts.items()}
        kinds = ", ".join(f"{name} {value:.1%}" for name, value in sorted(share.items()) if name != "any")
        print(f"{case.name:26} {share.get('any', 0.0):6.1%}  {kinds}", flush=True)


if __name__ == "__main__":
    main()

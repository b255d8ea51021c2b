"""The cost of a configuration, from slices of duet episodes or from whole trials of blocks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from servewatt.records import Result, Slice, Status
from servewatt.records.slices import corrected
from servewatt.stats.race.bound import Scatter, pooled_scatter
from servewatt.stats.race.episode import Levels, episode_levels
from servewatt.stats.race.twin import Floor, twin_floor

TRIAL_SD = 0.12
"""Standard deviation of the log cost from one trial to the next where trials follow one another, before any is seen: on
a shared virtual machine with two CPUs it was 0.10 to 0.16, on an H200 0.04 to 0.09."""

SliceCost = Callable[[Result, Slice], float | None]
"""Cost of a slice, positive, by the result that it is part of; None where it is not known."""


@dataclass(frozen=True)
class Costs:
    """How the configurations of a run compare, block by block."""

    episodes: tuple[Levels, ...] = ()
    """One a block with costs, in their order; configurations by their keys."""
    blocks: tuple[int, ...] = ()
    """The number of each in the run."""
    duet: bool = False
    """Whether slices of several took turns; otherwise they followed one another, as whole trials or because memory
    held one process."""
    floor: Floor | None = None
    """What a configuration measured twice at once differed from itself by; None where none was."""

    @property
    def least_claim(self) -> float:
        """Difference of log costs below which nothing is claimed."""
        return self.floor.size if self.floor is not None else 0.0

    @cached_property
    def scatter(self) -> Scatter:
        """How much levels scatter over all blocks. ValueError without any."""
        return pooled_scatter(self.episodes)

    def of(self, keys: Iterable[str]) -> Costs:
        """Of these configurations alone."""
        wanted = frozenset(keys)
        kept = [
            (Levels({k: v for k, v in e.log_cost.items() if k in wanted}, e.slice_variance, e.rounds), block)
            for e, block in zip(self.episodes, self.blocks, strict=True)
        ]
        kept = [(levels, block) for levels, block in kept if levels.log_cost]
        return Costs(tuple(levels for levels, _ in kept), tuple(block for _, block in kept), self.duet, self.floor)


def energy_cost(domains: frozenset[str]) -> SliceCost:
    """Joules of `domains` for each generated token."""

    def cost(result: Result, one: Slice) -> float | None:
        found = {e.domain: e.energy_j for e in corrected(one, result.section("idle")) if e.domain in domains}
        if len(found) < len(domains) or not domains or one.tokens_out <= 0:
            return None
        return _positive(sum(found.values()) / one.tokens_out)

    return cost


def time_cost(_result: Result, one: Slice) -> float | None:
    """Seconds for each generated token, over all rows of a batch."""
    return _positive(one.work_s / one.tokens_out) if one.tokens_out > 0 else None


def run_costs(results: Sequence[Result], slice_cost: SliceCost, trial_cost: Callable[[Result], float | None]) -> Costs:
    """The costs of a run by its valid results, each the last valid one of its configuration and block.

    `trial_cost` is the cost of a whole trial, in the unit of `slice_cost`; it counts where a trial has no slices.
    """
    blocks: dict[int, dict[str, Result]] = defaultdict(dict)
    for result in results:
        if result.status is Status.OK:
            blocks[result.trial.block][result.trial.configuration.key] = result
    found: list[Levels] = []
    numbers: list[int] = []
    any_duet = False
    for number, of_block in sorted(blocks.items()):
        with_slices = [result for result in of_block.values() if result.slices]
        any_duet = any_duet or _took_turns(with_slices)
        levels = episode_of(with_slices, slice_cost) if with_slices else _of_trials(of_block, trial_cost)
        if levels is not None:
            found.append(levels)
            numbers.append(number)
    return Costs(tuple(found), tuple(numbers), any_duet, twin_floor(results, slice_cost))


def block_costs(costs: Mapping[str, Mapping[int, float]]) -> Costs:
    """The costs of trials that followed one another: configuration -> block -> cost. Those not above zero count not."""
    blocks = sorted({block for of_block in costs.values() for block in of_block})
    found = [
        Levels({key: math.log(of_block[b]) for key, of_block in costs.items() if of_block.get(b, 0.0) > 0}, 0.0, 1)
        for b in blocks
    ]
    kept = [(levels, block) for levels, block in zip(found, blocks, strict=True) if levels.log_cost]
    return Costs(tuple(levels for levels, _ in kept), tuple(block for _, block in kept))


def episode_of(results: Sequence[Result], cost: SliceCost) -> Levels | None:
    """The levels of one duet episode; None if no slice has a cost."""
    rounds: dict[int, dict[str, float]] = defaultdict(dict)
    for result in results:
        for one in result.slices:
            if one.round >= 0 and not one.fault and (value := cost(result, one)) is not None:
                rounds[one.round][result.trial.configuration.key] = value
    return episode_levels([rounds[number] for number in sorted(rounds)]) if rounds else None


def _took_turns(results: Sequence[Result]) -> bool:
    """Whether any round holds slices of two configurations."""
    rounds = [{one.round for one in result.slices if one.round >= 0} for result in results]
    return len(set().union(*rounds)) < sum(map(len, rounds))


def _of_trials(of_block: dict[str, Result], cost: Callable[[Result], float | None]) -> Levels | None:
    known = {key: value for key, result in of_block.items() if (value := cost(result)) is not None and value > 0}
    return Levels({key: math.log(value) for key, value in known.items()}, 0.0, 1) if known else None


def _positive(value: float) -> float | None:
    return value if math.isfinite(value) and value > 0 else None

"""What a choice is to make least: energy, latency or the time of all rows together."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from servewatt.errors import InputError
from servewatt.records import Result, Slice
from servewatt.stats.race.costs import Costs, SliceCost, run_costs, time_cost


class Objective(StrEnum):
    """The cost that configurations are compared by, for each generated token."""

    ENERGY = "energy"
    """Joules inside the boundary."""
    LATENCY = "latency"
    """Seconds that one request takes: those of its batch over the tokens of one row."""
    THROUGHPUT = "throughput"
    """Seconds over the tokens of all rows of a batch."""

    @property
    def words(self) -> str:
        """What is saved, for each token; that of energy is worded with its boundary and grade."""
        return {"energy": "energy", "latency": "request time", "throughput": "time over all rows"}[self.value]


def slice_cost(objective: Objective) -> SliceCost:
    """The cost of a slice in seconds per token. ValueError for energy, whose cost depends on the boundary."""
    if objective is Objective.ENERGY:
        raise ValueError("the cost of energy depends on the boundary")
    return latency_cost if objective is Objective.LATENCY else time_cost


def latency_cost(result: Result, one: Slice) -> float | None:
    """Seconds of a slice's work for each token of one row; a batch that is not full counts as full."""
    seconds = time_cost(result, one)
    return seconds * result.trial.configuration.batch if seconds is not None else None


def time_costs(results: Sequence[Result], objective: Objective) -> Costs:
    """The run's costs by an objective of time. Raises InputError where no valid result has a time."""
    costs = run_costs(results, slice_cost(objective), lambda result: _trial_cost(result, objective))
    if not costs.episodes:
        raise InputError(
            f"nothing in this run has a time per token, so {objective.value} cannot decide", "choose by energy"
        )
    return costs


def _trial_cost(result: Result, objective: Objective) -> float | None:
    section = result.section("generate")
    if section is None or not section.tokens_out:
        return None
    rows = result.trial.configuration.batch if objective is Objective.LATENCY else 1
    return section.duration_s * rows / section.tokens_out

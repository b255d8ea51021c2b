"""HTTP's share in the study: within one trial, and of a configuration measured in both ways, paired by block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from servewatt.records import Via
from servewatt.stats.compare import log_ratios
from servewatt.stats.http_share import share
from servewatt.stats.records import Interval
from servewatt.study.data.observations import Observation, usable

Block = tuple[str, int]
"""A run and a block of it."""
Ways = dict[Via, list[Observation]]


@dataclass(frozen=True)
class StudyHttpShare:
    """HTTP's share of a configuration; see `servewatt.stats.records.HttpShare`."""

    campaign: str
    model: str
    configuration: str
    """As measured in process."""
    energy: Interval | None
    """Of the energy per token, 1 - process / HTTP; None where it was not metered in both ways."""
    time: Interval | None
    """Of the time per token, likewise."""
    outside_engine: Interval | None = None
    """Of the client's time, within one trial; None where the results do not hold the engine's seconds."""


def http_shares(observations: Iterable[Observation], confidence: float = 0.95) -> tuple[StudyHttpShare, ...]:
    """The share of each model and configuration measured both ways, or through HTTP with the engine's seconds known.

    By number of parameters and model. The intervals are anytime-valid and hold together at `confidence` (Bonferroni
    over all of them).
    """
    found: dict[tuple[str, int, str, str], Ways] = {}
    for one in usable(observations):
        ways = found.setdefault((one.campaign, one.parameters, one.model, _label_in_process(one)), {})
        ways.setdefault(one.via, []).append(one)
    logarithms = {
        key: (_paired(ways, "energy_j_per_token"), _paired(ways, "s_per_token"), _within(ways))
        for key, ways in found.items()
        if Via.HTTP in ways and (Via.PROCESS in ways or _within(ways))
    }
    alpha = (1 - confidence) / max(1, sum(bool(one) for several in logarithms.values() for one in several))
    return tuple(
        StudyHttpShare(campaign, model, configuration, *(share(one, alpha) for one in several))
        for (campaign, _, model, configuration), several in sorted(logarithms.items())
    )


def _label_in_process(one: Observation) -> str:
    return one.configuration.replace(", HTTP", "", 1) if one.via is Via.HTTP else one.configuration


def _paired(ways: Ways, variable: str) -> tuple[float, ...]:
    process, http = (_by_block(ways.get(via, ()), variable) for via in (Via.PROCESS, Via.HTTP))
    return log_ratios(process, http)


def _within(ways: Ways) -> tuple[float, ...]:
    return tuple(math.log(o.engine_share) for o in ways[Via.HTTP] if o.engine_share is not None)


def _by_block(observations: Sequence[Observation], variable: str) -> dict[Block, float]:
    values = (((o.run, o.block), getattr(o, variable)) for o in observations)
    return {block: value for block, value in values if value is not None}

"""What HTTP adds in the study: a configuration measured in process and through a server, paired by block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from servewatt.records import Via
from servewatt.stats.compare import compare_blocks
from servewatt.stats.records import Interval
from servewatt.study.observations import usable
from servewatt.study.records import Observation

Block = tuple[str, int]
"""A run and a block of it."""


@dataclass(frozen=True)
class StudyHttpShare:
    """HTTP's share of a configuration that was measured both ways: 1 - process / HTTP."""

    campaign: str
    model: str
    configuration: str
    """As measured in process."""
    energy: Interval | None
    """Share of the energy per token; None where it was not metered."""
    time: Interval | None
    """Share of the time per token."""


def http_shares(observations: Iterable[Observation], confidence: float = 0.95) -> tuple[StudyHttpShare, ...]:
    """The share of each model and configuration measured both ways, by number of parameters and model.

    The intervals are anytime-valid and hold together at `confidence` (Bonferroni over all of them).
    """
    found: dict[tuple[str, int, str, str], dict[Via, list[Observation]]] = {}
    for one in usable(observations):
        in_process = _label_in_process(one)
        ways = found.setdefault((one.campaign, one.parameters, one.model, in_process), {})
        ways.setdefault(one.via, []).append(one)
    both = {key: ways for key, ways in found.items() if len(ways) == len(Via)}
    alpha = (1 - confidence) / max(1, 2 * len(both))
    return tuple(
        StudyHttpShare(
            campaign,
            model,
            configuration,
            _share(ways, "energy_j_per_token", alpha),
            _share(ways, "s_per_token", alpha),
        )
        for (campaign, _, model, configuration), ways in sorted(both.items())
    )


def _label_in_process(one: Observation) -> str:
    return one.configuration.replace(", HTTP", "", 1) if one.via is Via.HTTP else one.configuration


def _share(ways: dict[Via, list[Observation]], variable: str, alpha: float) -> Interval | None:
    process, http = (_by_block(ways[via], variable) for via in (Via.PROCESS, Via.HTTP))
    paired = compare_blocks(process, http, alpha)
    if paired is None:
        return None
    ratio = paired.ratio
    low = None if ratio.high is None else 1 - ratio.high
    high = None if ratio.low is None else 1 - ratio.low
    return replace(ratio, estimate=1 - ratio.estimate, low=low, high=high)


def _by_block(observations: Sequence[Observation], variable: str) -> dict[Block, float]:
    values = (((o.run, o.block), getattr(o, variable)) for o in observations)
    return {block: value for block, value in values if value is not None}

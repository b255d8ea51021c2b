"""Records of the statistics, which `recommend` and `report` read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from servewatt.quality import Quality
from servewatt.records import Boundary, Component, Configuration, Facts, Grade, Interval, Run, Status
from servewatt.stats.race.costs import Costs, block_costs
from servewatt.stats.race.raced import Raced

__all__ = [
    "Analysis",
    "BatchCurve",
    "BoundaryRanking",
    "Comparison",
    "ConfigurationSummary",
    "HttpShare",
    "Interval",
    "Limit",
    "PairedRatio",
    "PhaseEnergy",
    "StatusCount",
    "Verdict",
]


@dataclass(frozen=True)
class PhaseEnergy:
    """Energy of one phase (`idle`, `prefill`, `decode`) and component, per generated token."""

    phase: str
    """`prefill` and `decode` are energy above idle; `idle` is what the loaded machine drew over the same time."""
    component: Component
    j_per_token: Interval
    grade: Grade


@dataclass(frozen=True)
class Limit:
    """The physical limit of decoding, and how near a configuration came to it (`servewatt.stats.limits`)."""

    rows: int
    """Rows of a decode step."""
    context_tokens: float
    """Mean tokens in the KV cache of a row."""
    weight_bytes_per_step: int
    cache_bytes_per_step: int
    bytes_per_token: float
    """Weights and KV cache of a step over its rows."""
    spared_bytes_per_step: int
    """Of these, bytes that the last-level cache may keep from step to step, so that memory need not deliver them."""
    decode_flops_per_token: float
    prefill_flops_per_prompt: float
    decode_s_per_token: Interval
    """Measured: time from one token to the next over the rows."""
    bandwidth_bytes_s: float | None
    peak_flops_s: float | None
    source: str
    """Where bandwidth and peak are known from: `measured`, or the board whose data sheet it is; empty if unknown."""
    floor_s_per_token: float | None
    """The larger of bytes over bandwidth and operations over peak; None where no floor is known."""
    bound_by: str
    """`memory` or `compute`: which of the two it is; empty without a floor."""
    times_floor: Interval | None
    """`decode_s_per_token` over the floor."""
    bandwidth_share: Interval | None
    """Bytes that memory had to deliver, over what it could have delivered in the measured time."""
    no_floor: str
    """Why there is no floor; empty where there is one."""


@dataclass(frozen=True)
class StatusCount:
    """How many of a configuration's trials ended in one way."""

    status: Status
    count: int
    reason: str
    """The most frequent reason."""


@dataclass(frozen=True)
class ConfigurationSummary:
    """One configuration over all its valid trials. Medians over blocks, intervals at the analysis' confidence."""

    configuration: Configuration
    statuses: tuple[StatusCount, ...]
    blocks: int
    """Valid trials that enter the numbers below; with 0 all of them are None."""
    energy_j_per_token: Interval | None = None
    """Total energy inside the boundary over the generation section, per generated token."""
    energy_j_per_request: Interval | None = None
    active_j_per_token: Interval | None = None
    """The same less idle power times duration."""
    energy_grade: str = ""
    """Grades of the domains that were added, best first, such as `counter` or `counter + estimated`."""
    energy_error_share: float | None = None
    """Largest bound of the quantum's error as a share of the energy."""
    load_energy_j: Interval | None = None
    load_s: Interval | None = None
    idle_power_w: Interval | None = None
    phases: tuple[PhaseEnergy, ...] = ()
    prefill_j_per_token: Interval | None = None
    """All that the boundary drew until the first tokens, idle power included, per generated token."""
    decode_j_per_token: Interval | None = None
    """All that it drew after them; the two add up to the total in every trial."""
    tokens_per_s: Interval | None = None
    ttft_s: Interval | None = None
    """Median TTFT of each trial, then over blocks."""
    ttft_p95_s: Interval | None = None
    inter_token_mean_s: Interval | None = None
    """The mean is meaningful also for an engine that returns the tokens of several steps at once."""
    inter_token_p50_s: Interval | None = None
    inter_token_p95_s: Interval | None = None
    inter_token_p99_s: Interval | None = None
    request_p50_s: Interval | None = None
    request_p95_s: Interval | None = None
    """Latency of a whole request (TTFT plus all further tokens)."""
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    cpu_percent: float | None = None
    """Mean CPU use of the worker over the generation section; 100 is one CPU."""
    gpu_percent: float | None = None
    output_agreement: float | None = None
    """Share of output tokens equal to the reference configuration's, position by position."""
    facts: Facts | None = None
    on_pareto_front: bool = False
    """No other configuration has both lower energy per token and lower request p95."""
    block_energy_j_per_token: tuple[tuple[int, float], ...] = ()
    """(block, energy per token) of each valid trial: what comparisons pair."""
    limit: Limit | None = None
    """None for a model whose shape is not known, and for an engine without a model."""
    repeated_rows: int = 0
    """Rows of each pass that repeat prompts to fill the last batch."""

    @property
    def has_energy(self) -> bool:
        """Whether its energy per token is known and above zero, so that it can be ranked and compared."""
        return self.energy_j_per_token is not None and self.energy_j_per_token.estimate > 0


class Verdict(StrEnum):
    """Verdict on the first configuration's energy."""

    LOWER = "lower"
    """`first` needs less energy than `second`: the interval of their ratio lies below 1."""
    HIGHER = "higher"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class PairedRatio:
    """A quantity of one configuration over that of another, paired by block on the log scale."""

    ratio: Interval
    """Geometric mean over blocks and its anytime-valid confidence interval."""
    verdict: Verdict
    more_blocks: int | None
    """Blocks that would likely decide it at the present scatter; 0 if decided, None if no finite number can be told."""


@dataclass(frozen=True)
class Comparison:
    """Energy per token of two configurations, paired by block on the log scale."""

    first: Configuration
    second: Configuration
    ratio: Interval
    """first / second: geometric mean over blocks and its anytime-valid confidence interval."""
    verdict: Verdict
    more_blocks: int | None
    """Blocks that would likely decide it at the present scatter; 0 if decided, None if no finite number can be told."""


@dataclass(frozen=True)
class HttpShare:
    """HTTP's share of what a token takes.

    All are from geometric means over blocks, with anytime-valid confidence intervals. `energy` and `time` set two
    trials of a block beside each other, 1 - process / http, and are below zero where the server did better.
    """

    process: Configuration | None
    """None where it was measured through HTTP alone."""
    http: Configuration
    energy: Interval | None
    """Of the energy per token inside the boundary; None where no block has both energies."""
    time: Interval | None
    """Of the time per token, that of the generation section over its tokens; None where no block has both."""
    outside_engine: Interval | None = None
    """Of the client's time, within one trial: 1 - engine seconds / client seconds; None in results without them."""


@dataclass(frozen=True)
class BatchCurve:
    """Configurations that differ in batch alone, and the batch of least energy among them."""

    points: tuple[ConfigurationSummary, ...]
    """Those with energy, smallest batch first; at least two."""
    best: Configuration
    """Of least energy per token; not beaten by any other."""
    candidates: tuple[Configuration, ...]
    """The best, and those that cannot be told from it, smallest batch first."""
    against_smallest: PairedRatio | None
    """Energy per token of the best over that of the smallest batch; None where they are one, or share no block."""


@dataclass(frozen=True)
class BoundaryRanking:
    """Configurations by energy per token inside one boundary, in an order like that of `Analysis.summaries`."""

    boundary: Boundary
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Analysis:
    """Everything computed from the results of one run."""

    run: Run
    boundary: Boundary
    confidence: float
    reference: Configuration | None
    """The configuration with which outputs are compared."""
    summaries: tuple[ConfigurationSummary, ...]
    """Least energy per token first, but none before one that paired blocks show to need less; those without energy,
    or with one that reads as zero or less, after them, and those without valid trials last."""
    comparisons: tuple[Comparison, ...]
    """The best configuration against each other one, corrected for their number."""
    rankings: tuple[BoundaryRanking, ...]
    """One for each boundary that the metered domains allow; more than one only matters where they differ."""
    warnings: tuple[str, ...] = ()
    """Warnings: outputs that differ, scatter, stolen time, missing blocks."""
    http_shares: tuple[HttpShare, ...] = ()
    """One for each configuration that was measured both in process and through HTTP, in the order of the ranking."""
    batch_curves: tuple[BatchCurve, ...] = ()
    """One for each family of configurations that was measured at more than one batch."""
    quality: Quality | None = None
    """Results of `servewatt quality` for these configurations; None if there are none."""
    costs: Costs = field(default_factory=Costs)
    """Energy per token inside the boundary, block by block, of every configuration that has it; see `all_costs`."""

    race: tuple[Raced, ...] = ()
    """How the configurations that were compared came to the choice, in the order of the ranking."""

    @property
    def all_costs(self) -> Costs:
        """What comparisons are made from: `costs`, or without them what the summaries say of each block."""
        if self.costs.episodes:
            return self.costs
        return block_costs({s.configuration.key: dict(s.block_energy_j_per_token) for s in self.summaries})

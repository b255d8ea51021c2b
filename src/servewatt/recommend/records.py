"""What a user requires, and what servewatt answers."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.records import Configuration, Provider
from servewatt.stats.records import Comparison


@dataclass(frozen=True)
class Constraints:
    """Limits a configuration must meet; None is no limit."""

    max_latency_p95_s: float | None = None
    """On the 95th percentile of a whole request's latency."""
    max_ttft_s: float | None = None
    """On the 95th percentile of the time to first token."""
    max_memory_bytes: int | None = None
    """On peak memory: resident memory plus, on a GPU, device memory, each against the limit."""
    provider: Provider | None = None
    concurrency: int | None = None
    """Requests that wait at a time: a larger batch would not be filled."""


@dataclass(frozen=True)
class Exclusion:
    """A configuration that is out of the question, and why."""

    configuration: Configuration
    reason: str


@dataclass(frozen=True)
class Recommendation:
    """One reasoned answer."""

    constraints: Constraints
    choice: Configuration | None
    """None if undecided, or if nothing meets the constraints."""
    candidates: tuple[Configuration, ...]
    """Those still in question: the choice alone, or the configurations that cannot be told apart."""
    runner_up: Comparison | None
    """The choice (or leader) against the next best feasible configuration."""
    exclusions: tuple[Exclusion, ...]
    sentence: str
    """The answer in one sentence, with its interval."""
    more_blocks: int | None
    """Blocks that would likely decide; 0 if decided."""

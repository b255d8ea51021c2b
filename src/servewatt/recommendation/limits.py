"""Checks a configuration against the user's numeric limits by the interval of each measured value."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.recommendation.records import Constraints, LimitCheck, Standing
from servewatt.records import Configuration, Interval, Provider
from servewatt.stats.intervals import blocks_until_apart
from servewatt.stats.records import ConfigurationSummary


def checks(summary: ConfigurationSummary, constraints: Constraints, confidence: float) -> tuple[LimitCheck, ...]:
    """Every numeric limit of `constraints` with the configuration's own value.

    Times are judged by their intervals over blocks at `confidence`. Peak memory is the largest that any block needed,
    and is taken as exact.
    """
    key, found = summary.configuration, list[LimitCheck]()

    def time(name: str, interval: Interval | None, limit_s: float | None) -> None:
        if limit_s is not None:
            found.append(_time(key, name, interval, limit_s, confidence))

    def memory(name: str, size: int | None) -> None:
        if constraints.max_memory_bytes is not None:
            exact = None if size is None else Interval(size, size, size, summary.blocks)
            found.append(check(key, name, "bytes", exact, constraints.max_memory_bytes))

    time("request latency p95", summary.request_p95_s, constraints.max_latency_p95_s)
    time("time to first token p95", summary.ttft_p95_s, constraints.max_ttft_s)
    memory("peak memory", summary.peak_rss_bytes)
    if key.provider is not Provider.CPU:
        memory("peak GPU memory", summary.peak_gpu_bytes)
    return tuple(found)


def check(
    configuration: Configuration,
    name: str,
    unit: str,
    value: Interval | None,
    limit: float,
    *,
    at_least: bool = False,
    more_blocks: int | None = None,
) -> LimitCheck:
    """A value beside its limit, an upper one unless it asks for `at_least` so much."""
    if value is None:
        return LimitCheck(configuration, name, unit, limit, None, None, None, 0, Standing.NOT_MEASURED)
    low, high = value.low, value.high
    if low is None or high is None:
        standing = Standing.NOT_SHOWN
    elif (low >= limit) if at_least else (high <= limit):
        standing = Standing.MET
    elif (high < limit) if at_least else (low > limit):
        standing = Standing.NOT_MET
    else:
        standing = Standing.NOT_SHOWN
    more = more_blocks if standing is Standing.NOT_SHOWN else None
    return LimitCheck(configuration, name, unit, limit, value.estimate, low, high, value.n, standing, more)


def needed_blocks(found: Sequence[LimitCheck]) -> int | None:
    """Blocks that would likely decide every open limit of one configuration."""
    needed = [c.more_blocks for c in found if c.standing is Standing.NOT_SHOWN]
    return None if None in needed else max((n for n in needed if n is not None), default=None)


def _time(
    configuration: Configuration, name: str, interval: Interval | None, limit_s: float, confidence: float
) -> LimitCheck:
    more = None if interval is None else blocks_until_apart(interval, limit_s, confidence)
    return check(configuration, name, "s", interval, limit_s, more_blocks=more)

"""Whether a measured trial may count: foreign load, and the physical limit."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from servewatt.engines.limits import least_bytes_per_step
from servewatt.records import Environment, Provider, Result, Status

CACHE_FACTOR = 4
"""Weights under this many times the last-level cache may be read partly from it, so memory sets no limit."""
LIMIT_TOLERANCE = 1.15
"""The bandwidth measurement itself may be low by so much."""


@dataclass(frozen=True)
class Fault:
    """Why a result cannot count, and what to do."""

    reason: str
    hint: str
    beyond_limit: bool = False
    """Whether it is faster than the hardware can be."""


def judge(result: Result, environment: Environment, measure_bandwidth: Callable[[], float] | None = None) -> Result:
    """The result, marked invalid with the reason if it was measured but cannot count.

    `measure_bandwidth` (bytes/s) is asked again before a result is called impossible: where others share the
    memory, bandwidth changes from minute to minute.
    """
    if result.status is not Status.OK:
        return result
    fault = _foreign_load(result, environment) or _beyond_the_limit(result, environment)
    if fault is not None and fault.beyond_limit and measure_bandwidth is not None:
        known = environment.memory_bandwidth_bytes_s or 0.0
        machine = replace(environment, memory_bandwidth_bytes_s=max(known, measure_bandwidth()))
        fault = _beyond_the_limit(result, machine)
    if fault is None:
        return result
    return replace(result, status=Status.INVALID, reason=fault.reason, hint=fault.hint)


def _foreign_load(result: Result, environment: Environment) -> Fault | None:
    section = result.section("generate")
    if section is None or section.foreign_cpu_s is None:
        return None
    # Clock ticks are coarse: on a busy machine a short window may seem to hold more time than there was.
    share = min(1.0, section.foreign_cpu_s / (section.duration_s * environment.cpu_count))
    limit = result.trial.procedure.foreign_limit
    if share <= limit:
        return None
    return Fault(
        f"other processes used {share:.1%} of the machine's CPU during the window (limit {limit:.0%})",
        "stop what else runs here (servewatt doctor names it)",
    )


def _beyond_the_limit(result: Result, environment: Environment) -> Fault | None:
    """A decode step faster than memory can deliver the bytes it must read."""
    trial = result.trial
    bandwidth, cache = environment.memory_bandwidth_bytes_s, environment.cache_bytes
    steps_s = [s for g in result.generations for s in g.inter_token_s]
    config = Path(trial.model.folder) / "config.json"
    if trial.configuration.provider is not Provider.CPU or not bandwidth or not cache or not steps_s:
        return None
    if trial.configuration.engine == "fake" or not config.is_file():
        return None
    shape = json.loads(config.read_text())
    needed = least_bytes_per_step(shape, trial.configuration.precision, trial.configuration.batch, 0)
    if needed < CACHE_FACTOR * cache:
        return None
    rate = needed / statistics.median(steps_s)
    if rate <= LIMIT_TOLERANCE * bandwidth:
        return None
    return Fault(
        f"decoding at {rate / 1e9:.1f} GB/s of weights where memory delivers {bandwidth / 1e9:.1f} GB/s:"
        " something is not computed, or bandwidth was measured under load",
        "measure again on a quiet machine; if it stays, please report it",
        beyond_limit=True,
    )

"""Whether a measured trial may count: foreign load, and the physical limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from servewatt.records import Environment, Provider, Result, Status
from servewatt.stats.limits import decode_flops, decode_work, from_memory, group_of, weight_bytes
from servewatt.stats.peaks import peak_of

LIMIT_TOLERANCE = 1.15
"""Tolerance for a low bandwidth measurement."""


@dataclass(frozen=True)
class Fault:
    """Why a result is invalid, and what to do."""

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
    on_cpu = result.trial.configuration.provider is Provider.CPU
    if fault is not None and fault.beyond_limit and on_cpu and measure_bandwidth is not None:
        known = environment.memory_bandwidth_bytes_s or 0.0
        machine = replace(environment, memory_bandwidth_bytes_s=max(known, measure_bandwidth()))
        fault = _beyond_the_limit(result, machine)
    if fault is None:
        return result
    return replace(result, status=Status.INVALID, reason=fault.reason, hint=fault.hint)


def foreign_share(result: Result, environment: Environment) -> float | None:
    """Share of the machine's CPUs that other processes used while it was measured; None where that is not known."""
    section = result.section("generate")
    if section is None or section.foreign_cpu_s is None:
        return None
    # Clock ticks are coarse: on a busy machine a short window may seem to hold more time than there was.
    return min(1.0, section.foreign_cpu_s / (section.duration_s * environment.cpu_count))


def _foreign_load(result: Result, environment: Environment) -> Fault | None:
    share = foreign_share(result, environment)
    limit = result.trial.procedure.foreign_limit
    if share is None or share <= limit:
        return None
    return Fault(
        f"other processes used {100 * share:.1f} % of the machine's CPU during the window (limit {100 * limit:.0f} %)",
        "stop what else runs here (servewatt doctor names it) and run the same command again",
    )


def _beyond_the_limit(result: Result, environment: Environment) -> Fault | None:
    """A decode step faster than memory can deliver the weights, or than the device can multiply.

    The KV cache is left out: an engine may hold equal prompts of a batch once.
    """
    configuration, shape = result.trial.configuration, result.trial.model.shape
    work, peak = decode_work(result), peak_of(environment, configuration.provider)
    if shape is None or configuration.engine == "fake" or work is None or work.step_s <= 0 or peak is None:
        return None
    if peak.bandwidth_bytes_s is None or peak.cache_bytes is None:
        return None
    needed = from_memory(weight_bytes(shape, configuration.precision, group_of(configuration, result.facts)), peak)
    rate, flops_s = needed / work.step_s, work.rows * decode_flops(shape, 0) / work.step_s
    most = peak.flops(configuration.precision, result.facts.compute_dtype if result.facts is not None else "")
    if rate > LIMIT_TOLERANCE * peak.bandwidth_bytes_s:
        what = (
            f"decoding at {rate / 1e9:.1f} GB/s of weights from memory, which delivers"
            f" {peak.bandwidth_bytes_s / 1e9:.1f} GB/s ({peak.source})"
        )
    elif most is not None and flops_s > LIMIT_TOLERANCE * most:
        what = (
            f"decoding at {flops_s / 1e12:.1f} TFLOP/s where {configuration.precision.value} allows"
            f" {most / 1e12:.1f} ({peak.source})"
        )
    else:
        return None
    return Fault(
        f"{what}: something is not computed, or bandwidth was measured under load",
        "measure again on a quiet machine; if it stays, please report it",
        beyond_limit=True,
    )

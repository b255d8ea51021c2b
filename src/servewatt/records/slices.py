"""The result of a trial in a duet episode, from the slices that its process measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from servewatt.records.result import DomainEnergy, Result, Section, Slice
from servewatt.records.vocabulary import Status

if TYPE_CHECKING:
    from servewatt.records.plan import Workload


def with_slices(ready: Result, slices: Sequence[Slice]) -> Result:
    """The result of a process that measured `slices` after it was `ready`: its section `generate` is their sum.

    `ready` has the sections before it (load, idle, prefill). Slices with a fault are kept and count for nothing.
    Energy that the loaded, idle machine drew between the end of a slice's work and the step of the counter that closed
    it is taken off, by the power of the `idle` section. Without a slice that counts there is no section `generate`.
    """
    kept = tuple(replace(one, generations=()) for one in slices if not one.twin)
    twin = tuple(replace(one, generations=()) for one in slices if one.twin)
    slices = [one for one in slices if not one.twin]
    # The slice on joining tells whether company matters, and is no part of the sum.
    valid = [one for one in slices if not one.fault and one.round >= 0]
    before = tuple(section for section in ready.sections if section.name != "generate")
    if not valid:
        return replace(ready, slices=kept, twin_slices=twin, sections=before)
    generations = tuple(generation for one in valid for generation in one.generations) or ready.generations
    idle = ready.section("idle")
    energies = [corrected(one, idle) for one in valid]
    domains = {energy.domain: energy for listed in energies for energy in listed}
    energy = tuple(
        replace(
            domain,
            energy_j=math.fsum(e.energy_j for listed in energies for e in listed if e.domain == name),
            error_j=math.fsum(e.error_j for listed in energies for e in listed if e.domain == name),
        )
        for name, domain in domains.items()
        # A domain that some slices lack has no sum.
        if sum(e.domain == name for listed in energies for e in listed) == len(valid)
    )
    generate = Section(
        name="generate",
        start_s=valid[0].start_s,
        duration_s=math.fsum(one.work_s for one in valid),
        energy=energy,
        own_cpu_s=math.fsum(one.own_cpu_s for one in valid),
        foreign_cpu_s=_known_sum([one.foreign_cpu_s for one in valid]),
        stolen_cpu_s=_known_sum([one.stolen_cpu_s for one in valid]),
        passes=sum(one.batches for one in valid)
        // batches_per_pass(ready.trial.workload, ready.trial.configuration.batch),
        tokens_in=sum(one.tokens_in for one in valid),
        tokens_out=sum(one.tokens_out for one in valid),
    )
    return replace(ready, slices=kept, twin_slices=twin, sections=(*before, generate), generations=generations)


def blocked_limit(cpu_count: int) -> float:
    """CPU time that blocked processes may use while another measures, as a share of the slice: half a percent of what
    the machine's CPUs have, so 1 % where there are two."""
    return 0.005 * max(2, cpu_count)


LEAST_SLICES = 4
"""With fewer valid slices a trial does not count."""


def finished(result: Result, slices: Sequence[Slice]) -> Result:
    """`with_slices`; invalid where too few of them count."""
    whole = with_slices(result, slices)
    own = [one for one in slices if one.round >= 0 and not one.twin]
    faults = [one.fault for one in own if one.fault]
    valid = len(own) - len(faults)
    if whole.status is not Status.OK or valid >= LEAST_SLICES:
        return whole
    reason = f"{valid} of {len(own)} slices count, and {LEAST_SLICES} are needed"
    if not faults:
        return replace(whole, status=Status.INVALID, reason=reason, hint="run the same command again, or for longer")
    hint = "stop what else runs here (servewatt doctor names it) and run the same command again"
    return replace(whole, status=Status.INVALID, reason=f"{reason}: {max(set(faults), key=faults.count)}", hint=hint)


def corrected(one: Slice, idle: Section | None) -> tuple[DomainEnergy, ...]:
    """Each domain's energy over the slice's work alone, in joules.

    What it drew in the tail is taken to be idle power; where that is not known, the tail's share of the time. The
    tail's own uncertainty, as large as what is taken off, is not part of `error_j`: it is the same for every slice.
    """
    if one.tail_s <= 0:
        return one.energy
    powers: Mapping[str, float] = {}
    if idle is not None and idle.duration_s > 0:
        powers = {energy.domain: energy.energy_j / idle.duration_s for energy in idle.energy}
    whole_s = one.work_s + one.tail_s
    return tuple(
        replace(
            energy,
            energy_j=energy.energy_j
            - min(powers.get(energy.domain, math.inf) * one.tail_s, energy.energy_j * one.tail_s / whole_s),
        )
        for energy in one.energy
    )


def batches_per_pass(workload: Workload, batch: int) -> int:
    """How many batches one pass over the workload's prompts takes; the last one is filled up."""
    return max(1, -(-len(workload.prompts) // batch))


def _known_sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None

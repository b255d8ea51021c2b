"""The order of a plan's trials, and the trials that are still missing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from servewatt.records import Configuration, Plan, Procedure, Result, Run, Status, Trial

GIVE_UP_AFTER = 2
"""Failures (crash, time-out, exception) of one configuration after which its later blocks are left out."""


def block_order(plan: Plan, block: int) -> tuple[Configuration, ...]:
    """The configurations of one block in the random order that the plan's seed gives."""
    order = sorted(plan.configurations, key=lambda c: c.key)
    random.Random(f"{plan.procedure.seed}:{block}").shuffle(order)
    return tuple(order)


def reopened(results: Sequence[Result]) -> list[Result]:
    """The results of earlier starts of a command as its next start sees them.

    What may have passed since, a busy machine (`invalid`) or a shortage (`transient`), counts as not tried: it only
    keeps the numbers of its attempts.
    """
    return [
        replace(result, status=Status.INVALID, transient=True)
        if result.transient or result.status is Status.INVALID
        else result
        for result in results
    ]


def is_reopened(result: Result) -> bool:
    """Whether `reopened` made the result that of an attempt which counts no longer."""
    return result.transient and result.status is Status.INVALID


@dataclass
class Progress:
    """Progress of a run: which trials are done and which are missing. Updated with every result."""

    run: Run
    results: list[Result]

    def missing(self, block: int) -> tuple[Trial, ...]:
        """The trials of a block that still have to be run, in order, each with its next attempt number."""
        trials = []
        for position, configuration in enumerate(block_order(self.run.plan, block)):
            attempt = self._next_attempt(block, configuration)
            if attempt is not None:
                trials.append(self._trial(block, position, configuration, attempt))
        return tuple(trials)

    @property
    def remaining(self) -> int:
        """Trials still to run if none has to be repeated."""
        return sum(len(self.missing(block)) for block in range(self.run.plan.procedure.blocks))

    def _next_attempt(self, block: int, configuration: Configuration) -> int | None:
        """The number of the next attempt, or None where no further one is due."""
        own = [r for r in self.results if r.trial.configuration == configuration]
        here = [r for r in own if r.trial.block == block]
        tried = [r for r in here if not is_reopened(r)]
        if any(r.status is not Status.INVALID for r in tried) or len(tried) > self.run.plan.procedure.retries:
            return None
        refused = any(r.status is Status.REFUSED for r in own)
        failures = [r for r in own if r.status not in (Status.OK, Status.INVALID)]
        if refused or len(failures) >= GIVE_UP_AFTER:
            return None
        return len(here)

    def _trial(self, block: int, position: int, configuration: Configuration, attempt: int) -> Trial:
        plan = self.run.plan
        return Trial(
            run_id=self.run.id,
            block=block,
            position=position,
            attempt=attempt,
            model=plan.model,
            workload=plan.workload,
            configuration=configuration,
            procedure=plan.procedure,
        )


def preparation(run: Run, configuration: Configuration) -> Trial:
    """The trial that only loads a configuration and generates a few tokens, to export, check and time it."""
    return Progress(run, [])._trial(-1, 0, configuration, 0)


@dataclass(frozen=True)
class Estimate:
    """Expected time of one trial of a configuration."""

    configuration: Configuration
    load_s: float
    pass_s: float
    """One pass over the whole workload."""

    def trial_s(self, procedure: Procedure, quantum_s: float) -> float:
        """Seconds one trial takes, from the procedure's sections and the coarsest counter."""
        sections = section_lengths(procedure, quantum_s)
        warm_up = max(procedure.warmup_s, 0.3 * self.pass_s)
        generate = max(sections.generate_s, self.pass_s)
        return 1.0 + self.load_s + procedure.settle_s + warm_up + sections.idle_s + sections.prefill_s + generate


ALIGN_FROM_S = 0.02
"""Counters that step less often than this are waited for at the ends of sections; finer ones need it not."""


@dataclass(frozen=True)
class SectionLengths:
    """Least lengths of the measured sections in seconds."""

    idle_s: float
    prefill_s: float
    generate_s: float


def section_lengths(procedure: Procedure, quantum_s: float) -> SectionLengths:
    """How long each section must last for the counter's quantum to be a small enough share of it.

    Sections open just after a coarse counter has stepped, which halves its error. The generation section obeys
    `quantum_share` itself. Idle power enters results only as a correction, so its section may have five times that
    share (and needs less, as it also closes with a step); prefill is one part of the whole, five times too.
    """
    needed_s = quantum_s / procedure.quantum_share
    if quantum_s >= ALIGN_FROM_S:
        needed_s *= 0.55  # half a step, and the time it takes to see one
    return SectionLengths(
        idle_s=max(procedure.idle_s, needed_s / 5),
        prefill_s=max(procedure.idle_s / 4, needed_s / 5),
        generate_s=max(procedure.window_s, needed_s),
    )


def roughly(configuration: Configuration, plan: Plan, bandwidth_bytes_s: float) -> Estimate:
    """A first guess from the weights' size and the memory's bandwidth, before anything has been loaded."""
    batches = -(-len(plan.workload.prompts) // configuration.batch)
    bytes_per_weight = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5, "w8a8": 1.0}[
        configuration.precision.value
    ]
    if configuration.provider.value == "cuda":
        bandwidth_bytes_s = max(bandwidth_bytes_s, 500e9)
    step_s = 0.5e-3 + plan.model.parameters * bytes_per_weight / bandwidth_bytes_s
    load_s = 5.0 + plan.model.weight_bytes / 200e6
    return Estimate(configuration, load_s, batches * plan.workload.new_tokens * step_s)


def measured(result: Result, plan: Plan) -> Estimate | None:
    """The estimate that a preparation (or a finished trial) supports; None if it did not get far enough."""
    load = result.section("load")
    if load is None or not result.generations:
        return None
    batches = -(-len(plan.workload.prompts) // result.trial.configuration.batch)
    last = result.generations[-1]
    steps = last.inter_token_s
    step_s = sum(steps) / len(steps) if steps else 0.0
    pass_s = batches * (last.ttft_s + step_s * (plan.workload.new_tokens - 1))
    return Estimate(result.trial.configuration, load.duration_s, pass_s)


def run_estimate_s(estimates: Sequence[Estimate], procedure: Procedure, quantum_s: float) -> float:
    """Seconds that one block of these configurations takes."""
    return sum(e.trial_s(procedure, quantum_s) for e in estimates)

"""A run's plan as it is shown before the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from servewatt.errors import counted
from servewatt.experiment.planning import LeftOut
from servewatt.harness import schedule
from servewatt.records import Configuration, Domain, Model, Plan, Race, Result, Run

EXPECTED_EPISODES = 2
"""A choice takes two episodes at least, and later ones hold fewer configurations."""


@dataclass(frozen=True)
class PlanView:
    """A plan as its user sees it."""

    run: str
    model: Model
    work: str
    configurations: tuple[Configuration, ...]
    left_out: tuple[LeftOut, ...]
    blocks: int
    seed: int
    domains: tuple[Domain, ...]
    machine: str
    takes_s: float
    trials_done: int
    race: Race | None = None
    """Where it is a race: as many blocks as a choice takes."""


def view(run: Run, done: Sequence[Result], left_out: tuple[LeftOut, ...], quantum_s: float) -> PlanView:
    """The plan of `run`; `quantum_s` is the time between two steps of its coarsest counter."""
    plan = run.plan
    bandwidth = run.environment.memory_bandwidth_bytes_s or 10e9
    estimates = [schedule.roughly(c, plan, bandwidth) for c in plan.configurations]
    block_s = schedule.run_estimate_s(estimates, plan.procedure, quantum_s)
    blocks = plan.procedure.blocks if plan.race is None else EXPECTED_EPISODES
    takes_s = blocks * block_s + sum(e.load_s for e in estimates)
    return PlanView(
        run=run.id,
        model=plan.model,
        work=_work(plan),
        configurations=plan.configurations,
        left_out=left_out,
        blocks=plan.procedure.blocks,
        seed=plan.procedure.seed,
        domains=run.environment.domains,
        machine=f"{run.environment.cpu}, {counted(run.environment.cpu_count, 'CPU')}",
        takes_s=takes_s if plan.race is None else min(takes_s, plan.race.budget_s),
        trials_done=len(done),
        race=plan.race,
    )


def _work(plan: Plan) -> str:
    work = plan.workload
    ends = "each" if work.stop == "length" else "at most"
    return (
        f"{work.name}: {counted(len(work.prompts), 'prompt')}, {counted(work.new_tokens, 'new token')} {ends}, greedy"
    )

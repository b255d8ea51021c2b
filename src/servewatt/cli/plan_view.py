"""What a run will do, told before it is done: as a table, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from servewatt.errors import counted
from servewatt.experiment.planning import LeftOut, distinct, weights_note
from servewatt.harness import schedule
from servewatt.records import Configuration, Domain, Model, Plan, Result, Run


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


def view(run: Run, done: Sequence[Result], left_out: tuple[LeftOut, ...], quantum_s: float) -> PlanView:
    """The plan of `run`; `quantum_s` is the time between two steps of its coarsest counter."""
    plan = run.plan
    bandwidth = run.environment.memory_bandwidth_bytes_s or 10e9
    estimates = [schedule.roughly(c, plan, bandwidth) for c in plan.configurations]
    block_s = schedule.run_estimate_s(estimates, plan.procedure, quantum_s)
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
        takes_s=plan.procedure.blocks * block_s + sum(e.load_s for e in estimates),
        trials_done=len(done),
    )


def show(console: Console, plan: PlanView, *, verbose: bool) -> None:
    """The plan as a table."""
    table = Table(title=f"Plan of run {plan.run}", title_justify="left", show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    done = f"; {counted(plan.trials_done, 'trial')} done already" if plan.trials_done else ""
    rows = [
        ("model", f"{plan.model.name}{weights_note(plan.model)}, {plan.model.parameters / 1e6:.1f} M parameters"),
        ("work", plan.work),
        ("configurations", "\n".join(c.key for c in plan.configurations)),
        ("blocks", f"{plan.blocks}, order from seed {plan.seed}"),
        ("energy from", _meters_line(plan.domains)),
        ("machine", plan.machine),
        ("takes about", duration(plan.takes_s) + done),
    ]
    if plan.left_out:
        rows.append(("left out", _left_out(plan.left_out, verbose=verbose)))
    for name, text in rows:
        table.add_row(name, escape(text))
    console.print(table)


def _left_out(left_out: Sequence[LeftOut], *, verbose: bool) -> str:
    """One line, unless every one is to be named."""
    if verbose:
        return "\n".join(f"{left.key}: {_reason(left).removeprefix(f'{left.key}: ')}" for left in left_out)
    reasons = distinct(left_out)
    many = counted(len(left_out), "configuration")
    if len(reasons) == 1:
        return _reason(reasons[0]) if len(left_out) == 1 else f"{many}: {_reason(reasons[0])}"
    return f"{many} that cannot run here; --plan --verbose tells why"


def _reason(left: LeftOut) -> str:
    return f"{left.reason} ({left.hint})" if left.hint else left.reason


def _work(plan: Plan) -> str:
    work = plan.workload
    ends = "each" if work.stop == "length" else "at most"
    return (
        f"{work.name}: {counted(len(work.prompts), 'prompt')}, {counted(work.new_tokens, 'new token')} {ends}, greedy"
    )


def _meters_line(domains: tuple[Domain, ...]) -> str:
    if not domains:
        return "no meter (see servewatt doctor); time and resources only"
    return ", ".join(f"{d.name} ({d.grade.value})" for d in domains if d.within is None)


def duration(seconds: float) -> str:
    """Such as `45 s`, `12 min` or `1.8 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

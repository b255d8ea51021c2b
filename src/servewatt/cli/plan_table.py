"""The plan of a run as a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from servewatt.cli.hints import worded
from servewatt.errors import counted
from servewatt.experiment.events import duration
from servewatt.experiment.plan_view import PlanView
from servewatt.experiment.planning import LeftOut, distinct, weights_note
from servewatt.harness.pair_race import pairs_of
from servewatt.records import Domain


def show_plan(console: Console, plan: PlanView, *, verbose: bool) -> None:
    """The plan as a table."""
    table = Table(title=f"Plan of run {plan.run}", title_justify="left", show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    done = f"; {counted(plan.trials_done, 'trial')} done already" if plan.trials_done else ""
    rows = [
        ("model", f"{plan.model.name}{weights_note(plan.model)}, {plan.model.parameters / 1e6:.1f} M parameters"),
        ("work", plan.work),
        ("configurations", "\n".join(c.key for c in plan.configurations)),
        _blocks(plan),
        ("energy from", _meters_line(plan.domains)),
        ("machine", plan.machine),
        ("takes about", duration(plan.takes_s) + done),
    ]
    if plan.left_out:
        rows.append(("left out", _left_out(plan.left_out, verbose=verbose)))
    for name, text in rows:
        table.add_row(name, escape(text))
    console.print(table)


def _blocks(plan: PlanView) -> tuple[str, str]:
    if plan.race is None:
        return "blocks", f"{plan.blocks}, order from seed {plan.seed}"
    tie = f"{100 * plan.race.tie:g} %"
    pairs = pairs_of(plan.configurations)
    clear = f"each pair is told, a tie being {tie}," if pairs else f"nothing else saves {tie}"
    until = f"until {clear} or {duration(plan.race.budget_s)} are over"
    return "measures", f"all in turns, {until}; order from seed {plan.seed}"


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
    return f"{left.reason} ({worded(left.hint)})" if left.hint else left.reason


def _meters_line(domains: tuple[Domain, ...]) -> str:
    if not domains:
        return "no meter (see servewatt doctor); time and resources only"
    return ", ".join(f"{d.name} ({d.grade.value})" for d in domains if d.within is None)

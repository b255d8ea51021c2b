"""What `servewatt run` does, stage by stage."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from servewatt import __version__, wire
from servewatt.cli import keeping, plan_view, quiet, showing, turns
from servewatt.cli.keeping import Keeper
from servewatt.cli.plan_view import duration
from servewatt.cli.progress import TrialProgress, step
from servewatt.errors import StoreError
from servewatt.experiment.planning import LeftOut, board_in_use, check_boards, check_boundary, make_plan
from servewatt.experiment.study_file import StudyFile
from servewatt.harness import runner, schedule
from servewatt.harness.environment import describe, describe_gpus
from servewatt.harness.fitness import memory_bandwidth_bytes_s
from servewatt.harness.schedule import Estimate
from servewatt.meters import open_meters
from servewatt.meters.steps import check_steps
from servewatt.models.cache import ArtefactCache
from servewatt.records import Configuration, Domain, Environment, Plan, Procedure, Result, Run, Status, Trial
from servewatt.store import Store


@dataclass(frozen=True)
class Flags:
    """Options of the command that are no part of the plan."""

    store: str | None = None
    report_folder: Path | None = None
    fresh: bool = False
    plan_only: bool = False
    verbose: bool = False
    """Name every configuration that is left out of the plan."""
    as_json: bool = False
    prepare: bool = True
    """Try each configuration out before measuring: exports graphs, tells the pace, finds what cannot run."""


def run(asked: StudyFile, flags: Flags) -> int:
    """Plan, show, prepare, measure, report. Returns the exit code: 1 if no trial succeeded."""
    console = Console(stderr=True)
    environment_domains = metered_domains(asked.procedure.procedure())
    with ArtefactCache() as cache:
        with step(console, "looking at the model and the machine"):
            plan, left_out = make_plan(asked, cache, has_gpu=bool(describe_gpus()), draw=not flags.plan_only)
            check_boards(plan.configurations, environment_domains, board_in_use(asked.procedure.meters))
            environment = describe(environment_domains, memory_bandwidth_bytes_s(1.0))
        with Store.open(flags.store) as store:
            measured = measure_plan(console, store, plan, environment, left_out, flags)
            if measured is None:
                return 0
            found = measured.found(store)
    showing.show_run(found, as_json=flags.as_json)
    if flags.report_folder is not None:
        showing.write_folder(showing.compute(found), flags.report_folder)
        console.print(f"report: {flags.report_folder / 'report.html'}", highlight=False, soft_wrap=True)
    if (problem := measured.keeper.problem()) is not None:
        raise problem
    return 0 if any(r.status is Status.OK for r in found.results) else 1


@dataclass(frozen=True)
class Measured:
    """A run as far as it was measured."""

    run: Run
    keeper: Keeper

    def found(self, store: Store) -> showing.Found:
        """All of it from the store, or as it was measured where the store does not have it."""
        if self.keeper.problem() is None:
            try:
                return showing.gather(store, self.run, with_samples=True)
            except StoreError as error:
                self.keeper.lose(error)
        return showing.Found(self.run, self.keeper.results)


def measure_plan(
    console: Console,
    store: Store,
    plan: Plan,
    environment: Environment,
    left_out: tuple[LeftOut, ...],
    flags: Flags,
) -> Measured | None:
    """Show a plan and measure what of it is missing in the store; None where only the plan was asked for.

    The same plan measured before on this machine is continued, unless `flags.fresh`. While another process measures
    it, this one waits.
    """
    if flags.plan_only:
        current, _, done = _find(store, plan, environment, flags)
        shown = _show_plan(console, current, done, left_out, flags)
        if flags.as_json:
            click.echo(wire.dump(shown))
        return None
    with turns.plan_claimed(console, store, plan, environment.fingerprint) as renew:
        if not flags.fresh:
            keeping.take_back(console, store, plan.digest, environment.fingerprint)
        current, known, done = _find(store, plan, environment, flags)
        _show_plan(console, current, done, left_out, flags)
        if known is None:
            store.create_run(current)
        elif current != known:
            store.extend_run(current)
        keeper = Keeper(console, store, current, done)
        renew(current.id)
        _measure_all(console, keeper, current, renew, _quantum_s(environment), prepare=flags.prepare)
        return Measured(current, keeper)


def _find(store: Store, plan: Plan, environment: Environment, flags: Flags) -> tuple[Run, Run | None, list[Result]]:
    """The run to measure, the same as it is stored if it is, and what of it is done."""
    now = datetime.now(UTC)
    known = None if flags.fresh else store.find_run(plan.digest, environment.fingerprint)
    new = Run(_run_id(now), now.isoformat(timespec="seconds"), plan, environment, __version__)
    done = store.results(known.id, with_samples=True, skip_damaged=True) if known is not None else []
    showing.tell_damage(store)
    return new if known is None else _continued(known, plan), known, done


def _show_plan(
    console: Console, run: Run, done: list[Result], left_out: tuple[LeftOut, ...], flags: Flags
) -> plan_view.PlanView:
    shown = plan_view.view(run, done, left_out, _quantum_s(run.environment))
    plan_view.show(console, shown, verbose=flags.verbose)
    return shown


def _quantum_s(environment: Environment) -> float:
    return max((d.quantum_s for d in environment.domains if d.within is None), default=0.0)


def _continued(known: Run, plan: Plan) -> Run:
    """A known run with the plan as it is now: more blocks may be asked for, and the model may lie elsewhere."""
    blocks = max(known.plan.procedure.blocks, plan.procedure.blocks)
    return replace(known, plan=replace(plan, procedure=replace(plan.procedure, blocks=blocks)))


def _measure_all(
    console: Console, keeper: Keeper, run: Run, renew: turns.Renew, quantum_s: float, *, prepare: bool
) -> None:
    """Prepare and measure what is missing; every result is in the store before the next trial starts."""
    plan = run.plan
    done = schedule.reopened(keeper.results)
    if schedule.Progress(run, done).remaining == 0:
        console.print(f"run {run.id} is complete; --fresh measures again", highlight=False)
        return
    try:
        with _terminated_as_interrupt(), turns.machine_held(console, plan.procedure):
            quiet.tell_load(console, plan.procedure)
            estimates = {}
            for result in _prepare_all(console, run, done) if prepare else ():
                if result.status is not Status.OK:
                    done.append(keeper.keep(result))
                if (estimate := schedule.measured(result, plan)) is not None:
                    estimates[result.trial.configuration] = estimate
            quiet.await_quiet(console, plan.procedure)
            _measure(console, keeper, run, done, renew, _TimeLeft(run, done, estimates, quantum_s))
    except KeyboardInterrupt:
        console.print(f"\nstopped; what is done is kept. The same command goes on with run {run.id}.", highlight=False)
        raise


def _prepare_all(console: Console, run: Run, done: list[Result]) -> Iterator[Result]:
    """Try out every configuration that has no result yet; one that fails is yielded as its first trial."""
    seen = {r.trial.configuration for r in done if r.generations or not schedule.is_reopened(r)}
    for position, configuration in enumerate(schedule.block_order(run.plan, 0)):
        if configuration in seen:
            continue
        with step(console, f"preparing {configuration.key}"):
            result = runner.prepare(run, configuration)
        if result.status is not Status.OK:
            console.print(f"[red]{result.status.value}[/] {escape(f'{configuration.key}: {result.reason}')}")
            if result.hint:
                console.print(f"  {escape(result.hint)}", style="dim")
        attempt = sum(r.trial.block == 0 and r.trial.configuration == configuration for r in done)
        yield replace(result, trial=replace(result.trial, block=0, position=position, attempt=attempt))


def _measure(
    console: Console, keeper: Keeper, run: Run, done: list[Result], renew: turns.Renew, time_left: _TimeLeft
) -> None:
    progress = schedule.Progress(run, done)
    first = next(len(missing) for n in range(run.plan.procedure.blocks) if (missing := progress.missing(n)))
    already, total = len(done), len(done) + progress.remaining
    bar = TrialProgress(
        console, run.plan.procedure.blocks, total=total, done=already, left=lambda: time_left.text(done)
    )
    with bar:

        def before(trial: Trial) -> None:
            renew(run.id)
            bar.before(trial.block, trial.configuration.key)

        for measured in runner.run_trials(run, done, before=before):
            result = keeper.keep(measured)
            done.append(result)
            bar.after(result, done=len(done), total=len(done) + schedule.Progress(run, done).remaining)
            quiet.check_worth(done[already:], run.environment, first)


class _TimeLeft:
    """How long the rest of a run will take, from preparations and finished trials."""

    def __init__(
        self, run: Run, done: list[Result], estimates: dict[Configuration, Estimate], quantum_s: float
    ) -> None:
        self._run = run
        self._quantum_s = quantum_s
        self._estimates = dict(estimates)
        for result in done:
            if (estimate := schedule.measured(result, run.plan)) is not None:
                self._estimates[result.trial.configuration] = estimate

    def text(self, done: list[Result]) -> str:
        """Such as `about 3 min left`."""
        progress = schedule.Progress(self._run, done)
        procedure = self._run.plan.procedure
        missing = [t.configuration for block in range(procedure.blocks) for t in progress.missing(block)]
        known = {c: e.trial_s(procedure, self._quantum_s) for c, e in self._estimates.items()}
        typical_s = sum(known.values()) / len(known) if known else 10.0
        return f"about {duration(sum(known.get(c, typical_s) for c in missing))} left"


def metered_domains(procedure: Procedure) -> tuple[Domain, ...]:
    """What the procedure's meters read on this machine.

    Raises UnavailableError where the boundary is a part of the machine that none of them reads, and where a counter
    stands still.
    """
    meters = open_meters(procedure.meters, procedure.cpu_watts)
    try:
        domains = tuple(domain for meter in meters for domain in meter.domains())
        check_steps(meters)
    finally:
        for meter in meters:
            meter.close()
    check_boundary(procedure.boundary, domains)
    return domains


def _run_id(now: datetime) -> str:
    return f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the run the way Ctrl-C does, so that the worker does not outlive us."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

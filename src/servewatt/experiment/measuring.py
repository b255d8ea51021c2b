"""From a plan to a run in the store: prepares and measures what is missing, and keeps each result at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from servewatt.engines import ENGINES
from servewatt.errors import StoreError
from servewatt.experiment import keeping, plan_view, quiet, turns
from servewatt.experiment.events import (
    AlreadyComplete,
    EpisodeBegan,
    EpisodeEnded,
    Interrupted,
    Log,
    Observer,
    Planned,
    PreparationFailed,
    SliceEnded,
    TrialBegan,
    TrialEnded,
    TrialsBegan,
    TrialsEnded,
    step,
)
from servewatt.experiment.gathering import Found, gather, tell_damage
from servewatt.experiment.keeping import Keeper
from servewatt.experiment.machine import board_in_use, check_boards, described, metered_domains
from servewatt.experiment.planning import LeftOut, make_plan
from servewatt.experiment.study_file import StudyFile
from servewatt.experiment.time_left import TimeLeft
from servewatt.harness import runner, schedule
from servewatt.harness.environment import describe_gpus
from servewatt.harness.episode import Ended, Ready
from servewatt.harness.episode import Measured as MeasuredSlice
from servewatt.harness.pair_race import racing_of
from servewatt.harness.race import Progressed
from servewatt.models.cache import ArtefactCache
from servewatt.records import Configuration, Environment, Plan, Result, Run, Status, Trial
from servewatt.store import Store
from servewatt.version import __version__


@dataclass(frozen=True)
class Experiment:
    """A plan, and the machine that it is to be measured on."""

    plan: Plan
    environment: Environment
    left_out: tuple[LeftOut, ...] = ()
    """What was asked for and cannot run here."""

    @property
    def quantum_s(self) -> float:
        """Time between two steps of the coarsest counter."""
        return max((d.quantum_s for d in self.environment.domains if d.within is None), default=0.0)


def design(
    asked: StudyFile,
    cache: ArtefactCache,
    observer: Observer,
    *,
    draw: bool = True,
    configurations: Sequence[Configuration] | None = None,
) -> Experiment:
    """Look at the model and the machine, and make the plan; nothing is measured.

    Keep `cache` open until it is measured: it holds on to what the plan needs. `configurations` stand in place of those
    that `asked` lists. Without `draw` random weights are not written, and the plan can only be shown. Raises
    ServewattError for whatever cannot be used or metered.
    """
    domains = metered_domains(asked.procedure.procedure())
    with step(observer, "looking at the model and the machine"):
        plan, left_out = make_plan(
            asked, cache, has_gpu=bool(describe_gpus()), draw=draw, configurations=configurations
        )
        check_boards(plan.configurations, domains, board_in_use(asked.procedure.meters))
        return Experiment(plan, described(domains), left_out)


@dataclass(frozen=True)
class Measured:
    """A run as far as it was measured."""

    run: Run
    keeper: Keeper

    def found(self, store: Store) -> Found:
        """All of it from the store, or as it was measured where the store does not have it."""
        if self.keeper.problem() is None:
            try:
                return gather(store, self.run, with_samples=True)
            except StoreError as error:
                self.keeper.lose(error)
        return Found(self.run, self.keeper.results)

    @property
    def succeeded(self) -> bool:
        """Whether any trial did."""
        return any(r.status is Status.OK for r in self.keeper.results)


def outlook(experiment: Experiment, store: Store, observer: Observer, *, fresh: bool = False) -> plan_view.PlanView:
    """What measuring would do, told to the observer too: which trials, how many are done already, how long it takes."""
    current, _, done = _find(experiment, store, observer, fresh=fresh)
    return _tell(experiment, current, done, observer)


def measure(
    experiment: Experiment,
    store: Store,
    observer: Observer | None = None,
    *,
    fresh: bool = False,
    prepare: bool = True,
) -> Measured:
    """Measure what of a plan is missing in the store; every result is kept before the next trial starts.

    The same plan measured before on this machine is continued, unless `fresh`. While another process measures it, or
    anything else on this machine, this one waits. `prepare` tries each configuration out first: exports graphs, tells
    the pace, finds what cannot run. Raises UnavailableError where others load the machine too much; a configuration
    that fails is a result, not an error.
    """
    observer = observer or Log()
    plan, machine = experiment.plan, experiment.environment.fingerprint
    with turns.plan_claimed(observer, store, plan, machine) as renew:
        if not fresh:
            keeping.take_back(observer, store, plan.digest, machine)
        current, known, done = _find(experiment, store, observer, fresh=fresh)
        _tell(experiment, current, done, observer)
        if known is None:
            store.create_run(current)
        else:
            store.close_journal(known.id)
        if known is not None and current != known:
            store.extend_run(current)
        keeper = Keeper(observer, store, current, done)
        renew(current.id)
        _Measuring(current, keeper, observer, renew, experiment.quantum_s).measure_missing(prepare=prepare)
        return Measured(current, keeper)


def unfinished(experiment: Experiment, store: Store) -> Found | None:
    """What the store has of a plan that is being measured; None where no configuration has an energy yet."""
    run = store.find_run(experiment.plan.digest, experiment.environment.fingerprint)
    if run is None:
        return None
    found = gather(store, run, with_samples=False)
    return found if any(r.status is Status.OK for r in found.results) else None


def _find(
    experiment: Experiment, store: Store, observer: Observer, *, fresh: bool
) -> tuple[Run, Run | None, list[Result]]:
    """The run to measure, the same as it is stored if it is, and what of it is done."""
    plan, environment = experiment.plan, experiment.environment
    now = datetime.now(UTC)
    known = None if fresh else store.find_run(plan.digest, environment.fingerprint)
    new = Run(_run_id(now), now.isoformat(timespec="seconds"), plan, environment, __version__)
    done = store.results(known.id, with_samples=True, skip_damaged=True) if known is not None else []
    tell_damage(store.damaged, observer)
    return new if known is None else _continued(known, plan), known, done


def _tell(experiment: Experiment, run: Run, done: list[Result], observer: Observer) -> plan_view.PlanView:
    view = plan_view.view(run, done, experiment.left_out, experiment.quantum_s)
    observer.notice(Planned(view))
    return view


def _continued(known: Run, plan: Plan) -> Run:
    """A known run with the plan as it is now: more blocks may be asked for, and the model may lie elsewhere."""
    blocks = max(known.plan.procedure.blocks, plan.procedure.blocks)
    return replace(known, plan=replace(plan, procedure=replace(plan.procedure, blocks=blocks)))


def _run_id(now: datetime) -> str:
    return f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


TYPICAL_BANDWIDTH_BYTES_S = 20e9
"""Of a CPU's memory; only the order of what is guessed by it matters."""


@dataclass
class _Measuring:
    """One run being measured."""

    run: Run
    keeper: Keeper
    observer: Observer
    renew: turns.Renew
    quantum_s: float

    def measure_missing(self, *, prepare: bool) -> None:
        """Prepare and measure what is missing."""
        procedure = self.run.plan.procedure
        done = schedule.reopened(self.keeper.results)
        if self._is_complete(done):
            self.observer.notice(AlreadyComplete(self.run.id))
            return
        try:
            with turns.machine_held(self.observer, procedure):
                quiet.tell_load(self.observer, procedure)
                time_left = TimeLeft(self.run, done, self.quantum_s)
                for result in self._preparations(done) if prepare else ():
                    if result.status is not Status.OK:
                        done.append(self.keeper.keep(result))
                    time_left.learn(result)
                quiet.await_quiet(self.observer, procedure)
                if self.run.plan.race is not None:
                    self._race(done)
                else:
                    self._trials(done, time_left)
        except KeyboardInterrupt:
            self.observer.notice(Interrupted(self.run.id))
            raise

    def _is_complete(self, done: list[Result]) -> bool:
        """Whether nothing is left to measure."""
        if self.run.plan.race is None:
            return schedule.Progress(self.run, done).remaining == 0
        reached = racing_of(self.run, done).standing()
        return reached is not None and reached.decided

    def _race(self, done: list[Result]) -> None:
        """Episodes until the choice is clear or the budget is spent; slices and results are kept as they come."""
        racing = racing_of(self.run, done)
        episode, began_s, slices = 0, time.monotonic(), dict[str, int]()
        own: list[Result] = []

        def before(trials: Sequence[Trial]) -> None:
            nonlocal episode, began_s
            self.renew(self.run.id)
            episode, began_s = trials[0].block + 1, time.monotonic()
            own.clear()
            slices.clear()
            keys = tuple(trial.configuration for trial in trials)
            self.observer.notice(EpisodeBegan(episode, keys, racing.left_s))

        for event in racing.measure(before=before):
            match event:
                case Ready(result):
                    self.keeper.keep_ready(result)
                case MeasuredSlice(trial, one):
                    key = trial.configuration.key
                    slices[key] = slices.get(key, -1) + 1
                    self.keeper.keep_slice(trial, slices[key], one)
                    self.observer.notice(SliceEnded(episode, one.round + 1, trial.configuration, racing.left_s))
                case Ended(result):
                    own.append(self.keeper.keep(result))
                    if result.status is not Status.OK:
                        self.observer.notice(PreparationFailed(result))
                case Progressed(reached):
                    took_s = time.monotonic() - began_s
                    self.observer.notice(EpisodeEnded(episode, reached, took_s, racing.left_s))
                    quiet.check_episode(own)

    def _preparations(self, done: list[Result]) -> Iterator[Result]:
        """Try out every configuration that has no result yet; one that fails is yielded as its first trial.

        In a race only those that write files for later loads, the quickest first: a race's first episode tries out
        whatever it starts, and estimates nothing.
        """
        seen = {r.trial.configuration for r in done if r.generations or not schedule.is_reopened(r)}
        order = list(enumerate(schedule.block_order(self.run.plan, 0)))
        if self.run.plan.race is not None:
            order = [(place, c) for place, c in order if ENGINES[c.engine].keeps_artefacts]
            order.sort(key=lambda placed: schedule.roughly(placed[1], self.run.plan, TYPICAL_BANDWIDTH_BYTES_S).pass_s)
        for position, configuration in order:
            if configuration in seen:
                continue
            with step(self.observer, f"preparing {configuration.key}"):
                result = runner.prepare(self.run, configuration)
            if result.status is not Status.OK:
                self.observer.notice(PreparationFailed(result))
            attempt = sum(r.trial.block == 0 and r.trial.configuration == configuration for r in done)
            yield replace(result, trial=replace(result.trial, block=0, position=position, attempt=attempt))

    def _trials(self, done: list[Result], time_left: TimeLeft) -> None:
        """Run what is missing; `done` grows with each result."""
        progress, blocks = schedule.Progress(self.run, done), self.run.plan.procedure.blocks
        if progress.remaining == 0:  # as nothing could be prepared
            return
        first = next(len(missing) for n in range(blocks) if (missing := progress.missing(n)))
        already, began_s = len(done), time.monotonic()

        def before(trial: Trial) -> None:
            nonlocal began_s
            self.renew(self.run.id)
            began_s = time.monotonic()
            self.observer.notice(TrialBegan(trial.block, trial.configuration))

        finished = False
        self.observer.notice(TrialsBegan(blocks, already + progress.remaining, already, time_left.seconds(done)))
        try:
            for measured in runner.run_trials(self.run, done, before=before):
                took_s = time.monotonic() - began_s
                result = self.keeper.keep(measured)
                done.append(result)
                total = len(done) + schedule.Progress(self.run, done).remaining
                self.observer.notice(TrialEnded(result, blocks, total, len(done), took_s, time_left.seconds(done)))
                quiet.check_worth(done[already:], self.run.environment, first)
            finished = True
        finally:
            self.observer.notice(TrialsEnded(finished))

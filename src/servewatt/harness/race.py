"""A race: duet episodes until a choice can be promised, or the budget is spent.

What is shown worse is dropped, and what can save less than a tie rests, so that later episodes hold fewer processes
(`servewatt.stats.race`).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from servewatt.errors import InputError
from servewatt.harness.episode import PAUSE_S, Ended, Episode, Event, Next, Ready, Round
from servewatt.harness.schedule import Progress, block_order
from servewatt.records import Configuration, Race, Result, Run, Status, Trial
from servewatt.records.slices import LEAST_SLICES
from servewatt.stats.energy import counted_domains
from servewatt.stats.race import Standing, episode_levels, far_behind, rounds_for
from servewatt.stats.race.costs import Costs, SliceCost, energy_cost, run_costs, time_cost
from servewatt.stats.race.episode import ROUNDS
from servewatt.stats.race.pairs import standing_of
from servewatt.stats.race.warned import margins

NEAR = 0.05
"""A rival that costs less than this share more or less than the leader is near: to tell it apart takes a twin."""
FIRST_SD = 0.1
"""Standard deviation of a slice's log cost before any is seen."""


@dataclass(frozen=True)
class Progressed:
    """Where a race stands after an episode."""

    standing: Standing | None
    """None while nothing has a cost."""


class Racing:
    """A race of the configurations of a run, fed with every result as it comes."""

    drops = True
    """Whether what is far behind another leaves the first episode."""

    def __init__(self, run: Run, done: Sequence[Result], clock: Callable[[], float] = time.monotonic) -> None:
        """`done`: results of earlier starts, as `servewatt.harness.schedule.reopened` gives them."""
        if run.plan.race is None:
            raise InputError("the plan has no race", "plan one")
        self.run = run
        self.race: Race = run.plan.race
        self.results = list(done)
        self.clock = clock
        self._deadline_s = clock() + self.race.budget_s
        self._start_s: dict[str, float] = {}
        """Seconds from start to ready of each configuration's process."""

    def measure(self, before: Callable[[Sequence[Trial]], None] | None = None) -> Iterator[Event | Progressed]:
        """Episodes until the race is decided or the budget is spent; `before` is called with the trials of each."""
        self._deadline_s = self.clock() + self.race.budget_s
        while True:
            reached = self.standing()
            if reached is not None and reached.decided:
                return
            trials = self._next_trials(reached)
            if not trials:
                return
            # What one episode takes is known only from the first on.
            if self._start_s and self._expected_s(trials) > self.left_s:
                return
            if before is not None:
                before(trials)
            yield from self._episode(trials, reached)
            yield Progressed(self.standing())

    @property
    def left_s(self) -> float:
        """What is left of the budget."""
        return max(0.0, self._deadline_s - self.clock())

    def standing(self) -> Standing | None:
        """Where the race stands; None before its first episode."""
        costs = self.costs()
        if not costs.episodes:
            return None
        keys = [c.key for c in self.run.plan.configurations]
        return standing_of(costs, keys, tie=self.race.tie, confidence=self.race.confidence)

    def costs(self) -> Costs:
        """What the episodes so far say."""
        return run_costs(self.results, self._cost(), lambda _result: None)

    def _cost(self) -> SliceCost:
        plan, valid = self.run.plan, [r for r in self.results if r.status is Status.OK]
        domains = counted_domains(plan.procedure.boundary, self.run.environment.domains, valid)
        return energy_cost(domains) if domains or not valid else time_cost

    def _next_trials(self, reached: Standing | None) -> list[Trial]:
        """One trial of each configuration that the next episode should hold."""
        # What failed while it was prepared stands in the first block, whose episode may be still to come.
        done = [r.trial.block for r in self.results if r.slices or r.status in (Status.OK, Status.INVALID)]
        block = max(done) + 1 if done else 0
        racing = {c.key for c in self.run.plan.configurations} if reached is None else set(reached.racing)
        racing |= self._unseen(reached)
        if reached is not None and len(racing) < 2:
            # One start of each process decides nothing yet: the nearest rival is seen once more.
            racing |= _nearest_rival(reached)
        # Where all of a block has failed, they have one more chance.
        return self._missing(block, racing) or self._missing(block + 1, racing)

    def _missing(self, block: int, racing: Collection[str]) -> list[Trial]:
        """The trials of a block that `racing` still lack, in its random order."""
        order = {c.key: place for place, c in enumerate(block_order(self.run.plan, block))}
        missing = Progress(self.run, self.results).missing(block)
        trials = [trial for trial in missing if trial.configuration.key in racing]
        return sorted(trials, key=lambda trial: order[trial.configuration.key])

    def _unseen(self, reached: Standing | None) -> set[str]:
        """Keys of configurations that were never measured: what kept them may have passed."""
        seen = {key for levels in self.costs().episodes for key in levels.log_cost}
        return {c.key for c in self.run.plan.configurations} - seen - set(reached.dropped if reached else ())

    def _episode(self, trials: Sequence[Trial], reached: Standing | None) -> Iterator[Event]:
        anchor = reached.choice if reached is not None else None
        director = _Director(self, trials, reached is None)
        twin = anchor if reached is not None and self._has_twin(reached, trials) else None
        episode = Episode(
            trials, self.run.environment, director.after_round, anchor=anchor, twin=twin, known=self.results
        )
        began_s = self.clock()
        for event in episode.run():
            match event:
                case Ready(result):
                    self._start_s[result.trial.configuration.key] = self.clock() - began_s
                    director.ready.append(result)
                case Ended(result):
                    self.results.append(result)
            began_s = self.clock()
            yield event

    def _has_twin(self, reached: Standing, trials: Sequence[Trial]) -> bool:
        """Whether the leader is measured twice at once: as asked, or where a claim of a few per cent is at stake."""
        if self.race.twin is not None:
            return self.race.twin
        leads = margins(self.costs().episodes, reached.choice).leads
        here = {trial.configuration.key for trial in trials}
        return any(abs(lead) < math.log1p(NEAR) for key, lead in leads.items() if key in here)

    def _expected_s(self, trials: Sequence[Trial]) -> float:
        """Seconds that an episode of these trials takes at least."""
        usual = statistics.fmean(self._start_s.values()) if self._start_s else 5.0
        starts_s = sum(self._start_s.get(t.configuration.key, usual) for t in trials)
        return starts_s + LEAST_SLICES * sum(self.slice_s(t.configuration) for t in trials)

    def slice_s(self, configuration: Configuration) -> float:
        """Seconds from one slice's beginning to the next one's."""
        own = [s for r in self.results if r.trial.configuration == configuration for s in r.slices]
        least_s = self.run.plan.procedure.slice_s
        return PAUSE_S + (statistics.fmean(s.work_s + s.tail_s for s in own) if own else least_s)

    @property
    def start_s(self) -> float:
        """Mean seconds from start to ready."""
        return statistics.fmean(self._start_s.values()) if self._start_s else 5.0


def _nearest_rival(reached: Standing) -> set[str]:
    """The key of the configuration that comes closest to the choice, of those that are left or else were dropped."""
    if reached.runner_up is not None:
        return {reached.runner_up}
    return set(sorted(reached.dropped, key=lambda key: (reached.dropped[key].ratio_low, key))[:1])


class _Director:
    """Decides after each round how an episode goes on."""

    def __init__(self, racing: Racing, trials: Sequence[Trial], is_first: bool) -> None:
        self._racing = racing
        self._is_first = is_first
        self._count = len(trials)
        self.ready: list[Result] = []
        """Results of processes that have joined: they tell which domains are metered."""

    def after_round(self, rounds: Sequence[Round], here: Sequence[str]) -> Next:
        """Whether that were enough rounds, and what may leave already."""
        costs = [self._costs(one) for one in rounds]
        costs = [one for one in costs if one]
        # A choice takes two episodes at least, so the first one leaves time for another.
        late = self._racing.left_s <= (self._racing.race.budget_s / 2 if self._is_first else 0.0)
        if not costs or len(rounds) < LEAST_SLICES:
            return Next(end=len(rounds) >= LEAST_SLICES and (late or len(rounds) >= ROUNDS[1]))
        gone: frozenset[str] = frozenset()
        if self._is_first and self._racing.drops:
            gone = frozenset(far_behind(costs, self._count, confidence=self._racing.race.confidence)) & frozenset(here)
        variance = episode_levels(costs).slice_variance
        sd = variance**0.5 if variance > 0 else FIRST_SD
        slices = [s for one in rounds for _, s in one.slices.values()]
        slice_s = PAUSE_S + statistics.fmean(s.work_s + s.tail_s for s in slices) if slices else 1.0
        enough = len(rounds) >= rounds_for(self._racing.start_s, slice_s, sd)
        return Next(gone, enough or late or len(frozenset(here) - gone) == 0)

    def _costs(self, one: Round) -> dict[str, float]:
        cost = self._cost()
        found = {key: cost(result, part) for key, (result, part) in one.slices.items()}
        return {key: value for key, value in found.items() if value is not None}

    def _cost(self) -> SliceCost:
        run = self._racing.run
        domains = counted_domains(run.plan.procedure.boundary, run.environment.domains, self.ready, "idle")
        return energy_cost(domains) if domains else time_cost

"""A race of pairs: each configuration in two builds, until each pair is told or the budget is spent.

Nothing is dropped for being dearer than another configuration: only its own other build matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from servewatt.harness.race import Racing
from servewatt.harness.schedule import Progress, block_order
from servewatt.records import Configuration, Result, Run, Trial
from servewatt.stats.race import Standing
from servewatt.stats.race.paired import PairStanding, pair_standing


def racing_of(run: Run, done: Sequence[Result]) -> Racing:
    """The race of a run: one of pairs where its configurations are in two builds each."""
    return PairRacing(run, done) if pairs_of(run.plan.configurations) else Racing(run, done)


def pairs_of(configurations: Sequence[Configuration]) -> list[tuple[Configuration, Configuration]]:
    """(base, head) of each configuration that is there in both; the head may be the running environment itself."""
    heads = {replace(c, build=""): c for c in configurations if not c.build.startswith("base-")}
    bases = [c for c in configurations if c.build.startswith("base-")]
    return [(base, heads[replace(base, build="")]) for base in bases if replace(base, build="") in heads]


class PairRacing(Racing):
    """A race that ends once each pair is told."""

    drops = False

    def standing(self) -> PairStanding | None:
        """Where the pairs stand; None before the first episode."""
        pairs = [(base.key, head.key) for base, head in pairs_of(self.run.plan.configurations)]
        return pair_standing(self.costs(), pairs, tie=self.race.tie, confidence=self.race.confidence)

    def _next_trials(self, reached: Standing | None) -> list[Trial]:
        """Both of each pair that is not told yet, and where neither has been given up."""
        done = [r.trial.block for r in self.results if r.trial.block >= 0]
        block = max(done) + 1 if done else 0
        missing = {trial.configuration.key: trial for trial in Progress(self.run, self.results).missing(block)}
        pairs = [(base.key, head.key) for base, head in pairs_of(self.run.plan.configurations)]
        if isinstance(reached, PairStanding):
            pairs = [pair for pair in pairs if pair in reached.open]
        wanted = {key for pair in pairs if all(key in missing for key in pair) for key in pair}
        return [missing[c.key] for c in block_order(self.run.plan, block) if c.key in wanted]

    def _has_twin(self, _reached: Standing, _trials: Sequence[Trial]) -> bool:
        """Never: a build beside itself shows the floor (`--base X --head X`)."""
        return False

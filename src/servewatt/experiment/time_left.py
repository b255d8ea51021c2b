"""How long the rest of a run will take, from preparations and finished trials."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.harness import schedule
from servewatt.harness.schedule import Estimate
from servewatt.records import Configuration, Result, Run

UNKNOWN_S = 10.0
"""Taken for a trial before anything is known."""


class TimeLeft:
    """Knows the pace of each configuration that has been tried."""

    def __init__(self, run: Run, done: Sequence[Result], quantum_s: float) -> None:
        """`quantum_s` is the time between two steps of the coarsest counter."""
        self._run = run
        self._quantum_s = quantum_s
        self._estimates: dict[Configuration, Estimate] = {}
        for result in done:
            self.learn(result)

    def learn(self, result: Result) -> None:
        """Take the pace from a preparation or a finished trial, if it got far enough."""
        if (estimate := schedule.measured(result, self._run.plan)) is not None:
            self._estimates[result.trial.configuration] = estimate

    def seconds(self, done: list[Result]) -> float:
        """Expected time of the trials that are missing beside `done`."""
        progress, procedure = schedule.Progress(self._run, done), self._run.plan.procedure
        missing = [t.configuration for block in range(procedure.blocks) for t in progress.missing(block)]
        known = {c: e.trial_s(procedure, self._quantum_s) for c, e in self._estimates.items()}
        typical_s = sum(known.values()) / len(known) if known else UNKNOWN_S
        return sum(known.get(c, typical_s) for c in missing)

"""Events of the pipeline while it works, and their observers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from servewatt.errors import counted
from servewatt.recommendation.sentence import WIDEST_PROMISE, share
from servewatt.records import Configuration, Result, Status
from servewatt.stats.race.paired import PairStanding

if TYPE_CHECKING:
    from servewatt.experiment.plan_view import PlanView
    from servewatt.stats.race import Standing


class Level(StrEnum):
    """How much a note matters."""

    INFO = "info"
    NOTICE = "notice"
    """Something keeps us waiting, or is not as one would like it."""
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Note:
    """A sentence for the user, and what to do about it if anything."""

    text: str
    level: Level = Level.INFO
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.advice}" if self.advice else self.text


@dataclass(frozen=True)
class StepBegan:
    """Something that may take a while has begun."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class StepEnded:
    """It has ended, by an error unless it `finished`."""

    name: str
    took_s: float
    finished: bool

    def __str__(self) -> str:
        return f"{self.name} ({duration(self.took_s)})"


@dataclass(frozen=True)
class Planned:
    """What will be done is settled, and not begun."""

    view: PlanView

    def __str__(self) -> str:
        view = self.view
        return f"run {view.run}: {len(view.configurations)} x {view.blocks} trials, about {duration(view.takes_s)}"


@dataclass(frozen=True)
class PreparationFailed:
    """A configuration was tried out and cannot be measured."""

    result: Result

    def __str__(self) -> str:
        return f"{self.result.status.value} {self.result.trial.configuration.key}: {self.result.reason}"


@dataclass(frozen=True)
class TrialsBegan:
    """Measuring begins: `done` of `total` trials were measured before."""

    blocks: int
    total: int
    done: int
    left_s: float

    def __str__(self) -> str:
        return f"measuring {self.total - self.done} trials ({left(self.left_s)})"


@dataclass(frozen=True)
class TrialBegan:
    """A trial is about to start; blocks count from 0."""

    block: int
    configuration: Configuration

    def __str__(self) -> str:
        return f"block {self.block + 1}, {self.configuration.key}"


@dataclass(frozen=True)
class TrialEnded:
    """It has ended, and is kept."""

    result: Result
    blocks: int
    total: int
    done: int
    took_s: float
    left_s: float

    def __str__(self) -> str:
        trial, status = self.result.trial, self.result.status
        outcome = "ok" if status is Status.OK else f"{status.value}: {self.result.reason}"
        rest = f"; {left(self.left_s)}" if self.done < self.total else ""
        place = f"trial {self.done}/{self.total}, block {trial.block + 1}/{self.blocks}, {trial.configuration.key}"
        return f"{place}: {outcome} ({duration(self.took_s)}{rest})"


@dataclass(frozen=True)
class TrialsEnded:
    """No more trials are started, as all are done if it `finished`."""

    finished: bool

    def __str__(self) -> str:
        return "measured" if self.finished else "measuring ended early"


@dataclass(frozen=True)
class EpisodeBegan:
    """An episode of a race, from 1: processes of these configurations are about to start."""

    episode: int
    configurations: tuple[Configuration, ...]
    left_s: float
    """Of the budget."""

    def __str__(self) -> str:
        return f"episode {self.episode}: {counted(len(self.configurations), 'configuration')} in turns"


@dataclass(frozen=True)
class SliceEnded:
    """A configuration's turn is over; `round` counts from 1, and is 0 for the turn on joining."""

    episode: int
    round: int
    configuration: Configuration
    left_s: float

    def __str__(self) -> str:
        return f"episode {self.episode}, round {self.round}, {self.configuration.key}"


@dataclass(frozen=True)
class EpisodeEnded:
    """Where a race stands; `standing` is None while nothing has a cost."""

    episode: int
    standing: Standing | None
    took_s: float
    left_s: float

    def __str__(self) -> str:
        head = f"episode {self.episode} ({duration(self.took_s)})"
        if self.standing is None:
            return f"{head}: no configuration has enough valid turns"
        reached = self.standing
        if isinstance(reached, PairStanding):
            return f"{head}: {reached.pairs - len(reached.open)} of {counted(reached.pairs, 'pair')} told"
        could = f"nothing else saves more than {share(reached.promise)}"
        if reached.promise >= WIDEST_PROMISE:
            could = "too early to say what others could save"
        dropped = [key for key, d in reached.dropped.items() if d.episode == self.episode]
        out = f"; out: {', '.join(sorted(dropped))}" if dropped else ""
        return f"{head}: {reached.choice} leads, {could}{out}"


@dataclass(frozen=True)
class AlreadyComplete:
    """Nothing of the run is missing."""

    run_id: str

    def __str__(self) -> str:
        return f"run {self.run_id} is complete"


@dataclass(frozen=True)
class Interrupted:
    """The user stopped it; what is done is kept."""

    run_id: str

    def __str__(self) -> str:
        return f"stopped; what is done is kept, and the same plan goes on with run {self.run_id}"


Event = (
    Note
    | StepBegan
    | StepEnded
    | Planned
    | PreparationFailed
    | TrialsBegan
    | TrialBegan
    | TrialEnded
    | TrialsEnded
    | EpisodeBegan
    | SliceEnded
    | EpisodeEnded
    | AlreadyComplete
    | Interrupted
)


class Observer(Protocol):
    """Is told what the pipeline does, between trials and never inside a measured window."""

    def notice(self, event: Event, /) -> None:
        """Show it, keep it or pass it over; `str(event)` says it in a line."""
        ...


_LOGGED = {
    Level.INFO: logging.INFO,
    Level.NOTICE: logging.WARNING,
    Level.WARNING: logging.WARNING,
    Level.ERROR: logging.ERROR,
}


class Log:
    """Writes every event to Python's log `servewatt`: notes by their level, all else as information."""

    def notice(self, event: Event, /) -> None:
        level = _LOGGED[event.level] if isinstance(event, Note) else logging.INFO
        logging.getLogger("servewatt").log(level, "%s", event)


@contextmanager
def step(observer: Observer, name: str) -> Iterator[None]:
    """Tell that `name` is being done, and that it was and how long it took."""
    begin_s = time.monotonic()
    observer.notice(StepBegan(name))
    finished = False
    try:
        yield
        finished = True
    finally:
        observer.notice(StepEnded(name, time.monotonic() - begin_s, finished))


def duration(seconds: float) -> str:
    """Such as `45 s`, `12 min` or `1.8 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def left(seconds: float) -> str:
    """Such as `about 3 min left`."""
    return f"about {duration(seconds)} left"

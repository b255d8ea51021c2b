"""Results on their way into the store: nothing measured is lost where it cannot take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from servewatt.advice import Action, Advice
from servewatt.errors import ServewattError, StoreError
from servewatt.experiment.events import Level, Note, Observer
from servewatt.records import Result, Run, Slice, Status, Trial
from servewatt.store import Store, rescue
from servewatt.store.finite import non_finite


class Keeper:
    """Keeps each result of a run in the store, or in a rescue file until the store can take it."""

    def __init__(self, observer: Observer, store: Store, run: Run, results: Sequence[Result]) -> None:
        self.results = list(results)
        """All results of the run, as they were stored or measured."""
        self._observer = observer
        self._store = store
        self._run = run
        self._waiting: list[Result] = []
        self._file: Path | None = None
        self._last: StoreError | None = None

    def keep(self, result: Result) -> Result:
        """Keep a result; as it was kept."""
        result = _sound(result)
        self.results.append(result)
        self._waiting.append(result)
        self._store_waiting()
        return result

    def keep_ready(self, result: Result) -> None:
        """Keep what a trial of a duet episode yielded before its first slice, so that a kill does not lose it."""
        self._journal(lambda: self._store.keep_ready(result))

    def keep_slice(self, trial: Trial, place: int, one: Slice) -> None:
        """Keep slice number `place` of a trial."""
        self._journal(lambda: self._store.keep_slice(trial, place, one))

    def _journal(self, write: Callable[[], None]) -> None:
        if self._last is not None:
            return  # the whole trial follows, and is kept beside the store
        try:
            write()
        except StoreError as error:
            self._last = error
            self._rescue(error)

    def problem(self) -> ServewattError | None:
        """Why results are not in the store at the end, and where they are; None if they all are."""
        if self._waiting:
            self._store_waiting()
        if self._last is None:
            return None
        missing = f"results of run {self._run.id} are not in the store: {self._last.message}"
        if self._file is None:
            return StoreError(f"{missing}; they could be kept nowhere else", self._last.hint)
        return StoreError(
            missing,
            Advice(
                f"they are in {self._file}: ",
                Action.REPORT.of(self._file),
                "; measuring the same plan again takes them into a store that can be written",
            ),
        )

    def lose(self, error: StoreError) -> None:
        """The store cannot be read any more: keep everything beside it."""
        self._last = error
        self._rescue(error)

    def _store_waiting(self) -> None:
        try:
            while self._waiting:
                self._store.append(self._waiting[0])
                self._waiting.pop(0)
        except StoreError as error:
            self._last = error
            self._rescue(error)
            return
        self._last = None
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()
            self._file = None
            self._say("the store can be written again; everything measured is in it", Level.INFO)

    def _rescue(self, error: StoreError) -> None:
        before = self._file
        try:
            self._file = rescue.write_rescue(self._store, self._run, self.results, before)
        except StoreError as nowhere:
            self._say(f"{error.message}; {nowhere.message}", Level.ERROR)
            return
        if self._file != before:
            self._say(f"{error.message} ({error.hint})", Level.ERROR)
            self._say(f"measuring goes on; results are kept in {self._file}", Level.ERROR)

    def _say(self, text: str, level: Level) -> None:
        self._observer.notice(Note(text, level))


def take_back(observer: Observer, store: Store, plan_digest: str, fingerprint: str) -> None:
    """Store what earlier starts of the same plan had to keep in rescue files; a file that is stored is removed."""
    for path, run, results in list(rescue.rescued(store, plan_digest, fingerprint)):
        try:
            count = rescue.take_back(store, run, results)
        except ServewattError as error:
            observer.notice(Note(f"{path} stays as it is: {error.message}", Level.NOTICE))
            continue
        with suppress(OSError):
            path.unlink()
        observer.notice(Note(f"took {count} results of run {run.id} from {path} into the store"))


def _sound(result: Result) -> Result:
    """The result, or a failed one in place of numbers that are not finite."""
    if not (place := non_finite(result)):
        return result
    return Result(
        result.trial,
        Status.FAILED,
        f"the trial answered with a number that is not finite: {place}",
        "report it with the meter's and engine's versions",
        result.started_at,
        log=result.log,
    )

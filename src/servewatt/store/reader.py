"""Reading a results store: runs and their results, at any time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from servewatt.errors import InputError, StoreError, nearest
from servewatt.quality import Quality
from servewatt.records import Model, Plan, Result, Run
from servewatt.store import reading
from servewatt.store.complaints import DamagedStoreError
from servewatt.store.files import write_file
from servewatt.store.reading import Damaged, Query

LATEST = "latest"
OTHERS = "`servewatt report --list` names the runs that can be read"

T = TypeVar("T")


def default_path() -> Path:
    """`$XDG_DATA_HOME/servewatt/results.db`, or the same below `~/.local/share`."""
    home = os.environ.get("XDG_DATA_HOME")
    # The XDG specification has relative paths ignored.
    try:
        data = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise StoreError(
            "this user has no home folder for the results store", "set HOME or XDG_DATA_HOME, or give --store"
        ) from error
    return data / "servewatt" / "results.db"


class _Readable(Protocol):
    """What a reader needs of a database."""

    name: str

    def reading(self) -> AbstractContextManager[Query]: ...

    def close(self) -> None: ...


class StoreReader:
    """Runs and results of an existing database. Use as a context manager, or call `close`.

    A SQLite file is read through the standard library; SQLAlchemy, which takes 0.2 s to import, only for others.
    """

    def __init__(self, database: _Readable) -> None:
        self._readable = database
        self._plans: dict[str, Plan] = {}
        self._counts: dict[str, int] = {}
        self.damaged: list[Damaged] = []
        """Rows that could not be read so far."""

    @classmethod
    def open(cls, url_or_path: str | Path | None = None, *, busy_timeout_s: float = 30.0) -> StoreReader:
        """Open a SQLite file or any database that SQLAlchemy can reach; by default `default_path()`.

        Readers wait for nobody. Raises StoreError if there is none, it is newer than this program, damaged, not a
        store, or its driver is missing.
        """
        from servewatt.store.sqlite_file import open_sqlite_file

        place = store_place(url_or_path)
        if isinstance(place, Path) and (file := open_sqlite_file(place, busy_timeout_s=busy_timeout_s)) is not None:
            return StoreReader(file)
        from servewatt.store.database import open_database

        return StoreReader(open_database(place, busy_timeout_s=busy_timeout_s, must_exist=True))

    def find_runs(self, plan_digest: str) -> list[Run]:
        """The readable runs of a plan, newest first."""
        with self._readable.reading() as query:
            condition = "plan_digest = :plan_digest"
            return list(self._intact(reading.select_runs(query, condition, plan_digest=plan_digest)))

    def find_run(self, plan_digest: str, fingerprint: str | None = None) -> Run | None:
        """The newest readable run of a plan, on the machine with `fingerprint` if given."""
        condition = "plan_digest = :plan_digest" + (" AND machine = :machine" if fingerprint is not None else "")
        parameters = {"plan_digest": plan_digest} | ({"machine": fingerprint} if fingerprint is not None else {})
        with self._readable.reading() as query:
            return next(self._intact(reading.select_runs(query, condition, **parameters)), None)

    def runs(self) -> list[Run]:
        """Every readable run, newest first."""
        with self._readable.reading() as query:
            return list(self._intact(reading.select_runs(query)))

    def run(self, name: str = LATEST) -> Run:
        """A run by its id, the beginning of its id, or `latest`: the newest that can be read.

        Raises InputError if there is no such one, StoreError if it cannot be read.
        """
        with self._readable.reading() as query:
            ids = reading.select_run_ids(query)
            candidates = ids if name == LATEST and ids else [_match(name, ids, self._readable.name)]
            for id_ in candidates:
                for found in reading.select_runs(query, "id = :id", id=id_):
                    if isinstance(found, Run):
                        self._plans[found.id] = found.plan
                        return found
                    self._note(found)
        bad = next((d for d in self.damaged if d.run_id == candidates[0]), None)
        if bad is None:
            raise DamagedStoreError(f"run {candidates[0]} cannot be read: {self._readable.name} is damaged", OTHERS)
        raise StoreError(f"{bad.what} cannot be read: {bad.reason}", f"{bad.hint}; {OTHERS}")

    def results(self, run_id: str, with_samples: bool = False, *, skip_damaged: bool = False) -> list[Result]:
        """All results of the run with this id so far, in the order stored; samples only if asked for.

        Trials of a duet episode that has not ended come last, with their slices so far.
        `with_samples` adds the power and utilisation samples. A damaged result raises StoreError, or, with
        `skip_damaged`, is noted in `damaged` and stands there as an invalid trial. Raises InputError if there is no
        such run.
        """
        plan = self._plan(run_id)
        with self._readable.reading() as query:
            found = self._intact(reading.select_results(query, run_id, plan, with_samples=with_samples), skip_damaged)
            results = list(found)
            self._counts[run_id] = len(results)
            return results + list(self._intact(reading.select_open(query, run_id, plan)))

    def briefs(self, run_id: str) -> list[Result]:
        """All results of the run as statistics need them (`Result.brief`, with outputs), in the order stored.

        Damaged ones are noted in `damaged`, and stand there as invalid trials. Raises InputError if there is no such
        run.
        """
        plan = self._plan(run_id)
        with self._readable.reading() as query:
            return [
                *self._intact(reading.select_briefs(query, run_id, plan)),
                *self._intact(reading.select_open(query, run_id, plan)),
            ]

    def qualities(self, model: Model, *, skip_damaged: bool = False) -> list[Quality]:
        """Quality records of this model, newest first. Damaged ones raise StoreError, or, with `skip_damaged`, are
        noted in `damaged` and left out.
        """
        with self._readable.reading() as query:
            return list(self._intact(reading.select_qualities(query, model), skip_damaged))

    def export_run(self, name: str, path: str | os.PathLike[str]) -> None:
        """Write a run with its results, samples and its model's quality to a file that `import_run` reads."""
        run = self.run(name)
        write_file(path, run, self.results(run.id, with_samples=True), self.qualities(run.plan.model))

    def close(self) -> None:
        self._readable.close()

    def _intact(self, found: Iterable[T | Damaged], skip_damaged: bool = True) -> Iterator[T]:
        for each in found:
            if not isinstance(each, Damaged):
                yield each
            elif skip_damaged:
                self._note(each)
            else:
                what = f"a result of run {each.run_id}" if each.run_id else each.what
                raise StoreError(f"{what} is damaged: {each.reason}", each.hint)

    def _note(self, damaged: Damaged) -> None:
        if damaged not in self.damaged:
            self.damaged.append(damaged)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _plan(self, run_id: str) -> Plan:
        """The plan of the run with exactly this id."""
        if run_id not in self._plans and self.run(run_id).id != run_id:
            raise InputError(f"{run_id} is not the whole id of a run", "look the run up first")
        return self._plans[run_id]


def store_place(url_or_path: str | Path | None) -> str | Path:
    """A database URL as it stands, or the absolute path of a file."""
    text = str(url_or_path if url_or_path is not None else default_path())
    if "://" in text:
        return text
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no such user, or the current folder is gone
        raise StoreError(f"cannot tell where {text} is: {error}", "give --store an absolute path") from error


def _match(name: str, ids: Iterable[str], store: str) -> str:
    """The id that `name` stands for; `ids` newest first."""
    ids = list(ids)
    if not ids:
        raise InputError(f"{store} holds no run yet", "start with: servewatt run")
    if name == LATEST:
        return ids[0]
    if name in ids:
        return name
    matches = [id_ for id_ in ids if name and id_.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(f"{len(matches)} runs begin with {name}", f"give more of one: {', '.join(matches[:5])}")
    raise InputError(f"there is no run {name} in {store}", nearest(name, ids))

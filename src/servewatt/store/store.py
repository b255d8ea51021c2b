"""The results store: runs and their results, appended as they come and read at any time."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from servewatt.errors import InputError, StoreError
from servewatt.quality import Quality
from servewatt.records import Result, Run, Slice, Trial
from servewatt.store import reading, sqlite_place
from servewatt.store.claims import Claim, Held, this_process
from servewatt.store.complaints import AlreadyStoredError, LostClaimError, LostStoreError
from servewatt.store.files import read_file, read_qualities
from servewatt.store.finite import non_finite
from servewatt.store.reader import StoreReader, store_place

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from servewatt.store.database import Database


class Store(StoreReader):
    """A store that is also written to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._database = database

    @classmethod
    def open(cls, url_or_path: str | Path | None = None, *, busy_timeout_s: float = 30.0) -> Store:
        """Open a SQLite file or any database that SQLAlchemy can reach; by default `default_path()`.

        A missing SQLite file is made. Writers wait `busy_timeout_s` for each other; readers wait for nobody. Raises
        StoreError if the database is newer than this program, locked, damaged, not a store, or its driver is missing.
        """
        from servewatt.store.database import open_database

        return cls(open_database(store_place(url_or_path), busy_timeout_s=busy_timeout_s, must_exist=False))

    @property
    def name(self) -> str:
        """The store's path or URL, without its password."""
        return self._database.name

    @property
    def path(self) -> Path | None:
        """Its file; None for a store that is not a file."""
        return self._database.place.path if self._database.place is not None else None

    @property
    def file_name(self) -> str:
        """The stem for names of files derived from it."""
        return sqlite_place.shown(Path(self.path.name))[:100] if self.path is not None else "servewatt"

    def create_run(self, run: Run) -> None:
        """Keep a new run.

        Raises StoreError if its id is taken or the store cannot be written, InputError if a number is not finite.
        """
        from servewatt.store import rows

        if place := non_finite(run):
            raise InputError(f"a run cannot be kept: its {place} is not a finite number", "give a finite number")
        with self._database.writing() as connection:
            rows.insert_run(connection, run)
        self._plans[run.id] = run.plan
        self._counts[run.id] = 0

    def extend_run(self, run: Run) -> None:
        """Keep the plan of a run that is known already, with more blocks or a model that has moved.

        Raises StoreError if the plan is another one, by its digest.
        """
        from servewatt.store import rows

        if self.run(run.id).plan.digest != run.plan.digest:
            raise StoreError(f"run {run.id} has another plan", "start a run of its own")
        with self._database.writing() as connection:
            rows.update_plan(connection, run.id, run.plan)
        self._plans[run.id] = run.plan

    def append(self, result: Result) -> None:
        """Keep a result; once this returns it outlasts a kill of the process and a loss of power.

        Raises StoreError if it cannot be written or is there already; nothing that was stored before is lost.
        Raises LostStoreError if the store is not the one that it was, as it lacks results of the run that it had.
        Raises InputError if its run was not created, or one of its numbers is not finite.
        """
        from servewatt.store import rows

        self._check_finite(result)
        run_id = result.trial.run_id
        plan = self._plan(run_id)
        with self._database.writing() as connection:
            count = self._check_complete(connection, run_id)
            rows.insert_result(connection, result, plan)
        self._counts[run_id] = count + 1

    def _check_complete(self, connection: Connection, run_id: str) -> int:
        """How many results of a run are there. Raises LostStoreError if these are fewer than there were."""
        from servewatt.store import rows

        known = self._counts.get(run_id, 0)
        count = rows.count_results(connection, run_id)
        if count is None or count < known:
            missing = "no longer holds" if count is None else f"holds {count} of {known} results of"
            raise LostStoreError(
                f"{self._database.name} {missing} run {run_id}: it was deleted, moved or replaced meanwhile",
                "put it back, or go on with another --store",
            )
        return count

    def _check_finite(self, result: Result | Slice) -> None:
        if place := non_finite(result):
            raise InputError(f"a result cannot be kept: its {place} is not a finite number", "measure it again")

    def keep_ready(self, result: Result) -> None:
        """Keep the result of a trial of a duet episode before its first slice; `append` takes its place at the end.

        Raises as `append` does.
        """
        from servewatt.store import rows

        self._check_finite(result)
        plan = self._plan(result.trial.run_id)
        with self._database.writing() as connection:
            self._check_complete(connection, result.trial.run_id)
            rows.insert_ready(connection, result, plan)

    def keep_slice(self, trial: Trial, place: int, one: Slice) -> None:
        """Keep slice number `place` (from 0) of a trial, until `append` gets the whole. Raises as `append` does."""
        from servewatt.store import rows

        self._check_finite(one)
        with self._database.writing() as connection:
            self._check_complete(connection, trial.run_id)
            rows.insert_slice(connection, trial, place, one)

    def close_journal(self, run_id: str) -> list[Result]:
        """Make results of the trials that a killed process left unfinished, and return them."""
        plan = self._plan(run_id)
        with self._readable.reading() as query:
            left = list(self._intact(reading.select_open(query, run_id, plan)))
        for result in left:
            self.append(result)
        return left

    def claim(self, subject: str, lease_s: float) -> Claim | Held:
        """Claim `subject` for this process; whoever holds it, if somebody does.

        A claim lapses at once when its process is dead, as far as this process can tell; otherwise `lease_s` after it
        was last renewed. Raises StoreError if the store cannot be written.
        """
        from servewatt.store import rows

        own = this_process()
        claim = Claim(subject, secrets.token_hex(16), own, "", time.time() + lease_s)
        for _ in range(5):
            with suppress(AlreadyStoredError), self._database.writing() as connection:
                # Two processes may see no claim at once: the slower one checks again.
                holder = rows.take_claim(connection, claim, own, time.time())
                return claim if holder is None else Held(holder)
        raise StoreError(f"{self._database.name}: {subject} cannot be claimed", "start the same command again")

    def renew(self, claim: Claim, lease_s: float, run_id: str = "") -> Claim:
        """The claim for `lease_s` from now. Raises LostClaimError if it has lapsed and is another's."""
        from servewatt.store import rows

        renewed = replace(claim, run_id=run_id or claim.run_id, expires_at=time.time() + lease_s)
        with self._database.writing() as connection:
            if not rows.renew_claim(connection, renewed):
                raise LostClaimError(
                    f"another servewatt has taken over run {renewed.run_id}, as this one stood still for too long",
                    "start the same command again: it goes on with what is missing",
                )
        return renewed

    def release(self, claim: Claim) -> None:
        """Give a claim back."""
        from servewatt.store import rows

        with self._database.writing() as connection:
            rows.drop_claim(connection, claim)

    def add_quality(self, quality: Quality) -> None:
        """Keep a quality record; an equal one is kept once.

        Raises StoreError if it cannot be written.
        """
        from servewatt.store import rows

        with self._database.writing() as connection:
            rows.insert_quality(connection, quality)

    def import_run(self, path: str | os.PathLike[str]) -> Run:
        """Take a run from a file into the store, whole or not at all. Raises StoreError if it is there already."""
        from servewatt.store import rows

        run, results = read_file(path)
        qualities = read_qualities(path)
        with self._database.writing() as connection:
            rows.insert_run(connection, run)
            for result in results:
                rows.insert_result(connection, result, run.plan)
            for quality in qualities:
                rows.insert_quality(connection, quality)
        return run

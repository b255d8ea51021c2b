"""Rows to records, in plain SQL that every database understands.

Reading goes through the database's own driver where it can (`sqlite_file`), because importing SQLAlchemy takes longer
than reading a run.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from servewatt.errors import InputError, StoreError
from servewatt.quality import Quality
from servewatt.records import Environment, Model, Plan, PowerSample, Result, Run, UtilisationSample
from servewatt.store.versions import check_quality_version, check_record_version, fill
from servewatt.wire import load

T = TypeVar("T")

RUN_COLUMNS = "id, created_at, plan, environment, servewatt_version, record_version"
NEWEST_FIRST = "ORDER BY created_at DESC, number DESC"


class Query(Protocol):
    """Runs one SELECT with named parameters (`:name`) inside a transaction and returns its rows."""

    def __call__(self, sql: str, /, **parameters: Any) -> Iterable[Sequence[Any]]: ...


@dataclass(frozen=True)
class Samples:
    """A trial's samples, kept apart from its result because only plots over time need them."""

    power: tuple[PowerSample, ...]
    utilisation: tuple[UtilisationSample, ...]


def select_runs(query: Query, condition: str = "", **parameters: Any) -> list[Run]:
    """Runs that meet an SQL condition on the table `runs`, newest first."""
    where = f"WHERE {condition}" if condition else ""
    rows = query(f"SELECT {RUN_COLUMNS} FROM runs {where} {NEWEST_FIRST}", **parameters)
    return [_run(*row) for row in rows]


def select_run_ids(query: Query) -> list[str]:
    """Ids of all runs, newest first."""
    return [row[0] for row in query(f"SELECT id FROM runs {NEWEST_FIRST}")]


def select_results(query: Query, run_id: str, plan: Plan, *, with_samples: bool) -> list[Result]:
    """All results of the run of `plan` in the order in which they were stored."""
    rows = query("SELECT number, result FROM trials WHERE run_id = :run_id ORDER BY number", run_id=run_id)
    found = {number: fill(_unpack(Result, content, run_id), plan) for number, content in rows}
    if with_samples:
        rows = query(
            "SELECT samples.trial, samples.content FROM samples JOIN trials ON trials.number = samples.trial "
            "WHERE trials.run_id = :run_id",
            run_id=run_id,
        )
        for number, content in rows:
            samples = _unpack(Samples, content, run_id)
            found[number] = replace(found[number], power=samples.power, utilisation=samples.utilisation)
    return list(found.values())


def select_qualities(query: Query, model: Model) -> list[Quality]:
    """What is known of the quality of a model's configurations, newest first."""
    rows = query(
        "SELECT quality_version, content FROM qualities"
        f" WHERE revision = :revision AND weights = :weights {NEWEST_FIRST}",
        revision=model.revision,
        weights=model.weights.value,
    )
    return [_quality(version, content, model) for version, content in rows]


def _quality(version: int, content: str, model: Model) -> Quality:
    check_quality_version(version, "the store")
    try:
        return load(Quality, content)
    except InputError as error:
        raise _damaged(f"the quality of {model.name}", error) from error


def _run(id_: str, created_at: str, plan: str, environment: str, servewatt_version: str, record_version: int) -> Run:
    check_record_version(record_version, f"run {id_}")
    try:
        return Run(id_, created_at, load(Plan, plan), load(Environment, environment), servewatt_version, record_version)
    except InputError as error:
        raise _damaged(f"run {id_}", error) from error


def _unpack(kind: type[T], content: bytes, run_id: str) -> T:
    try:
        return load(kind, zlib.decompress(content))
    except (zlib.error, InputError) as error:
        raise _damaged(f"a result of run {run_id}", error) from error


def _damaged(what: str, error: Exception) -> StoreError:
    return StoreError(f"{what} is damaged in the store: {error}", "restore the store from a copy, or run again")

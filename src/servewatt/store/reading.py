"""Rows to records, in plain SQL that every database understands.

Reading goes through the database's own driver where it can (`sqlite_file`), because importing SQLAlchemy takes longer
than reading a run. Rows that cannot be read are reported and left out; they hide no others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from servewatt.errors import InputError, StoreError
from servewatt.quality import Quality
from servewatt.records import (
    Environment,
    Model,
    Plan,
    PowerSample,
    Result,
    Run,
    Slice,
    Status,
    Trial,
    UtilisationSample,
)
from servewatt.records.slices import finished
from servewatt.store.complaints import DamagedStoreError
from servewatt.store.versions import BRIEF_VERSION, check_quality_version, check_record_version, fill
from servewatt.wire import load

T = TypeVar("T")

RUN_COLUMNS = "id, created_at, plan, environment, servewatt_version, record_version"
TRIAL_COLUMNS = "trials.number, block, position, attempt, configuration, reason, result"
NEWEST_FIRST = "ORDER BY created_at DESC, number DESC"
READY = -1
"""Position in the journal of a trial's result before its first slice."""
HINT = "restore the store from a copy, or run again"


class Query(Protocol):
    """Runs one SELECT with named parameters (`:name`) inside a transaction and returns its rows."""

    def __call__(self, sql: str, /, **parameters: Any) -> Iterable[Sequence[Any]]: ...


@dataclass(frozen=True)
class Damaged:
    """Something in the store that cannot be read."""

    what: str
    """Such as `run 20260102-030405-ab12`."""
    reason: str
    hint: str
    run_id: str
    is_run: bool = False
    """Whether it is a whole run; the next two are then known from its columns."""
    created_at: str = ""
    model: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.what} cannot be read and is left out: {self.reason}"


@dataclass(frozen=True)
class Samples:
    """A trial's samples, kept apart from its result because only plots over time need them."""

    power: tuple[PowerSample, ...]
    utilisation: tuple[UtilisationSample, ...]


def select_runs(query: Query, condition: str = "", **parameters: Any) -> Iterator[Run | Damaged]:
    """Runs that meet an SQL condition on the table `runs`, newest first; in place of one that is damaged, why."""
    where = f"WHERE {condition}" if condition else ""
    sql = f"SELECT {RUN_COLUMNS}, model FROM runs {where} {NEWEST_FIRST}"
    try:
        rows = list(query(sql, **parameters))
    except DamagedStoreError:
        rows = _one_by_one(query, f"SELECT {RUN_COLUMNS}, model FROM runs", "runs.number", where, parameters)
        rows.sort(key=lambda row: str(row[1]), reverse=True)
    for *columns, model in rows:
        try:
            yield _run(*columns)
        except StoreError as error:
            id_, created_at = str(columns[0]), str(columns[1])
            yield Damaged(f"run {id_}", error.message, error.hint, id_, True, created_at, str(model))


def select_run_ids(query: Query) -> list[str]:
    """Ids of all runs, newest first."""
    try:
        return [str(row[0]) for row in query(f"SELECT id FROM runs {NEWEST_FIRST}")]
    except DamagedStoreError:
        rows = _one_by_one(query, "SELECT id, created_at FROM runs", "runs.number", "", {})
        return [str(id_) for id_, _ in sorted(rows, key=lambda row: str(row[1]), reverse=True)]


def select_results(
    query: Query, run_id: str, plan: Plan, *, with_samples: bool, number: int | None = None
) -> Iterator[Result | Damaged]:
    """All results of the run of `plan` in the order in which they were stored; in place of a damaged one, why.

    With `number`, only the trial of that number.
    """
    sql = f"SELECT {TRIAL_COLUMNS} FROM trials"
    if with_samples:
        sql = f"SELECT {TRIAL_COLUMNS}, samples.content FROM trials LEFT JOIN samples ON samples.trial = trials.number"
    where = "WHERE run_id = :run_id"
    parameters: dict[str, Any] = {"run_id": run_id}
    if number is not None:
        where, parameters = f"{where} AND trials.number = :one", {**parameters, "one": number}
    try:
        rows = list(query(f"{sql} {where} ORDER BY trials.number", **parameters))
    except DamagedStoreError:
        rows = _one_by_one(query, sql, "trials.number", where, parameters)
    for _, block, position, attempt, key, _, content, *samples in rows:
        name = f"trial {key} of block {block} (attempt {attempt}) of run {run_id}"
        try:
            result = _result(content, run_id, plan)
        except StoreError as error:
            yield Damaged(name, error.message, error.hint, run_id)
            if (stand_in := _stand_in(run_id, plan, str(key), (block, position, attempt), error.message)) is not None:
                yield stand_in
            continue
        if samples and samples[0] is not None:
            try:
                found = _unpack(Samples, samples[0])
                result = replace(result, power=found.power, utilisation=found.utilisation)
            except StoreError as error:
                yield Damaged(f"samples of {name}", error.message, error.hint, run_id)
        yield result


def select_briefs(query: Query, run_id: str, plan: Plan) -> Iterator[Result | Damaged]:
    """All results of the run as `Result.brief`, with outputs: what statistics need, in a small part of the time.

    Trials stored without a brief are read whole. Equal outputs are one object.
    """
    try:
        rows = query(
            "SELECT trials.number, output_digest, content FROM trials"
            " LEFT JOIN briefs ON briefs.trial = trials.number AND briefs.version = :version"
            " WHERE run_id = :run_id ORDER BY trials.number",
            run_id=run_id,
            version=BRIEF_VERSION,
        )
    except DamagedStoreError:
        yield from select_results(query, run_id, plan, with_samples=False)
        return
    outputs: dict[str, tuple[tuple[int, ...], ...]] = {"": ()}
    for number, digest, content in rows:
        brief = None
        if content is not None and digest in outputs:
            with suppress(StoreError):
                brief = _load(Result, content)
        if brief is not None and brief.trial.run_id == run_id:
            # What `fill` does, in the same step.
            work = brief.trial.workload if brief.trial.workload.prompts else plan.workload
            yield replace(brief, outputs=outputs[digest], trial=replace(brief.trial, workload=work))
            continue
        for whole in select_results(query, run_id, plan, with_samples=False, number=number):
            if isinstance(whole, Result) and whole.output_digest == digest:
                outputs[digest] = whole.outputs
            yield whole


def select_open(query: Query, run_id: str, plan: Plan) -> Iterator[Result | Damaged]:
    """The trials of an episode that has not ended, with their slices so far: it runs, or was killed.

    A slice that is damaged is told and left out; a trial whose beginning is damaged stands there as an invalid one.
    """
    try:
        rows = list(
            query(
                "SELECT block, configuration, attempt, place, content FROM journal WHERE run_id = :run_id"
                " ORDER BY block, configuration, attempt, place",
                run_id=run_id,
            )
        )
    except DamagedStoreError as error:
        yield Damaged(f"unfinished trials of run {run_id}", error.message, error.hint, run_id)
        return
    trials: dict[tuple[Any, ...], list[tuple[int, Any]]] = {}
    for *trial, place, content in rows:
        trials.setdefault(tuple(trial), []).append((place, content))
    for (block, key, attempt), parts in trials.items():
        name = f"the unfinished trial {key} of block {block} (attempt {attempt}) of run {run_id}"
        try:
            if parts[0][0] != READY:
                raise _damaged("its beginning is missing")
            ready = _of_run(_unpack(Result, parts[0][1]), run_id, plan)
        except StoreError as error:
            yield Damaged(name, error.message, error.hint, run_id)
            if (stand_in := _stand_in(run_id, plan, str(key), (block, 0, attempt), error.message)) is not None:
                yield stand_in
            continue
        slices = []
        for place, content in parts[1:]:
            try:
                slices.append(_unpack(Slice, content))
            except StoreError as error:
                yield Damaged(f"slice {place} of {name}", error.message, error.hint, run_id)
        yield finished(ready, slices)


def select_qualities(query: Query, model: Model) -> Iterator[Quality | Damaged]:
    """Quality records of a model's configurations, newest first; in place of a damaged one, the reason."""
    rows = query(
        "SELECT quality_version, content FROM qualities"
        f" WHERE revision = :revision AND weights = :weights {NEWEST_FIRST}",
        revision=model.revision,
        weights=model.weights.value,
    )
    for version, content in rows:
        try:
            check_quality_version(version, "the store")
            yield _load(Quality, content)
        except StoreError as error:
            yield Damaged(f"quality of {model.name}", error.message, error.hint, "")


def _one_by_one(query: Query, sql: str, number: str, where: str, parameters: Mapping[str, Any]) -> list[Sequence[Any]]:
    """The rows of a table with damaged pages that can be read, by number.

    Raises DamagedStoreError if not even their numbers can be read.
    """
    table = number.partition(".")[0]
    try:
        # An index holds the numbers too, so these may be read where the rows are not.
        numbers = [row[0] for row in query(f"SELECT {number} FROM {table} {where} ORDER BY {number}", **parameters)]
    except DamagedStoreError:
        ((most,),) = query(f"SELECT MAX({number}) FROM {table}")
        numbers = list(range(1, (most or 0) + 1))
    found: list[Sequence[Any]] = []
    condition = f"{where} AND {number} = :number" if where else f"WHERE {number} = :number"
    for one in numbers:
        try:
            found += query(f"{sql} {condition}", number=one, **parameters)
        except DamagedStoreError:
            continue
    if numbers and not found:
        raise DamagedStoreError(f"the store is damaged: none of its {table} can be read", HINT)
    return found


def _run(id_: Any, created_at: Any, plan: Any, environment: Any, servewatt_version: Any, record_version: Any) -> Run:
    check_record_version(record_version, "it")
    if not all(isinstance(text, str) for text in (id_, created_at, servewatt_version)):
        raise _damaged("a column is not text")
    return Run(id_, created_at, _load(Plan, plan), _load(Environment, environment), servewatt_version, record_version)


def _result(content: Any, run_id: str, plan: Plan) -> Result:
    return _of_run(_unpack(Result, content), run_id, plan)


def _of_run(stored: Result, run_id: str, plan: Plan) -> Result:
    result = fill(stored, plan)
    if result.trial.run_id != run_id:
        raise _damaged("it is the record of another trial")
    return result


def _stand_in(run_id: str, plan: Plan, key: str, place: tuple[Any, Any, Any], reason: str) -> Result | None:
    """A result in place of a damaged one, so that its trial is counted and measured again: invalid, and why."""
    configuration = next((c for c in plan.configurations if c.key == key), None)
    if configuration is None or not all(isinstance(number, int) for number in place):
        return None
    trial = Trial(run_id, *place, plan.model, plan.workload, configuration, plan.procedure)
    return Result(trial, Status.INVALID, f"what was stored cannot be read: {reason}", HINT)


def _unpack(kind: type[T], content: Any) -> T:
    try:
        return _load(kind, zlib.decompress(content))
    except (zlib.error, TypeError) as error:
        raise _damaged(str(error)) from error


def _load(kind: type[T], content: Any) -> T:
    if not isinstance(content, str | bytes):
        raise _damaged(f"a column holds {'nothing' if content is None else type(content).__name__}")
    try:
        return load(kind, content)
    except InputError as error:
        raise _damaged(error.message) from error


def _damaged(reason: str) -> StoreError:
    return StoreError(f"it is damaged in the store: {reason}", HINT)

"""Records to rows and back."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TypeVar

import sqlalchemy as sa

from servewatt.errors import InputError, StoreError
from servewatt.records import Environment, Plan, PowerSample, Result, Run, UtilisationSample
from servewatt.store import tables
from servewatt.store.versions import check_record_version, fill, slim
from servewatt.wire import dump, load

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """A trial's samples, kept apart from its result because only plots over time need them."""

    power: tuple[PowerSample, ...]
    utilisation: tuple[UtilisationSample, ...]


def insert_run(connection: sa.Connection, run: Run) -> None:
    """Keep a run."""
    connection.execute(
        tables.runs.insert().values(
            id=run.id,
            created_at=run.created_at,
            plan_digest=run.plan.digest,
            machine=run.environment.fingerprint,
            model=run.plan.model.name,
            servewatt_version=run.servewatt_version,
            record_version=run.record_version,
            plan=dump(run.plan),
            environment=dump(run.environment),
        )
    )


def update_plan(connection: sa.Connection, run_id: str, plan: Plan) -> None:
    """Put another plan in the place of a run's own."""
    connection.execute(tables.runs.update().where(tables.runs.c.id == run_id).values(plan=dump(plan)))


def select_runs(connection: sa.Connection, condition: sa.ColumnElement[bool] | None = None) -> list[Run]:
    """Runs, newest first."""
    query = tables.runs.select().order_by(tables.runs.c.created_at.desc(), tables.runs.c.number.desc())
    found = []
    for row in connection.execute(query if condition is None else query.where(condition)):
        check_record_version(row.record_version, f"run {row.id}")
        try:
            plan, environment = load(Plan, row.plan), load(Environment, row.environment)
        except InputError as error:
            raise _damaged(f"run {row.id}", error) from error
        found.append(Run(row.id, row.created_at, plan, environment, row.servewatt_version, row.record_version))
    return found


def select_run_ids(connection: sa.Connection) -> list[str]:
    """Ids of all runs, newest first."""
    order = (tables.runs.c.created_at.desc(), tables.runs.c.number.desc())
    return list(connection.execute(sa.select(tables.runs.c.id).order_by(*order)).scalars())


def insert_result(connection: sa.Connection, result: Result, plan: Plan) -> None:
    """Keep a result of the run of `plan`: as a whole, and in columns that are handy in SQL."""
    trial, configuration = result.trial, result.trial.configuration
    inserted = connection.execute(
        tables.trials.insert().values(
            run_id=trial.run_id,
            block=trial.block,
            position=trial.position,
            attempt=trial.attempt,
            configuration=configuration.key,
            engine=configuration.engine,
            provider=configuration.provider.value,
            precision=configuration.precision.value,
            batch=configuration.batch,
            status=result.status.value,
            reason=result.reason,
            started_at=result.started_at,
            peak_rss_bytes=result.peak_rss_bytes,
            peak_gpu_bytes=result.peak_gpu_bytes,
            output_digest=result.output_digest,
            result=_pack(dump(replace(slim(result, plan), power=(), utilisation=()))),
        )
    )
    key = inserted.inserted_primary_key
    assert key is not None
    number: int = key[0]
    _insert_sections(connection, result, number)
    if result.power or result.utilisation:
        content = _pack(dump(Samples(result.power, result.utilisation)))
        connection.execute(tables.samples.insert().values(trial=number, content=content))


def _insert_sections(connection: sa.Connection, result: Result, number: int) -> None:
    sections = [
        {
            "trial": number,
            "name": section.name,
            "duration_s": section.duration_s,
            "passes": section.passes,
            "tokens_in": section.tokens_in,
            "tokens_out": section.tokens_out,
            "own_cpu_s": section.own_cpu_s,
        }
        for section in result.sections
    ]
    energies = [
        {
            "trial": number,
            "section": section.name,
            "domain": energy.domain,
            "component": energy.component.value,
            "energy_j": energy.energy_j,
            "error_j": energy.error_j,
            "grade": energy.grade.value,
            "counted": energy.counted,
        }
        for section in result.sections
        for energy in section.energy
    ]
    if sections:
        connection.execute(tables.sections.insert(), sections)
    if energies:
        connection.execute(tables.energies.insert(), energies)


def select_results(connection: sa.Connection, run_id: str, plan: Plan, *, with_samples: bool) -> list[Result]:
    """All results of the run of `plan` in the order in which they were stored."""
    query = (
        sa.select(tables.trials.c.number, tables.trials.c.result)
        .where(tables.trials.c.run_id == run_id)
        .order_by(tables.trials.c.number)
    )
    found = {row.number: fill(_unpack(Result, row.result, run_id), plan) for row in connection.execute(query)}
    if with_samples:
        _add_samples(connection, run_id, found)
    return list(found.values())


def _add_samples(connection: sa.Connection, run_id: str, found: dict[int, Result]) -> None:
    query = (
        sa.select(tables.samples.c.trial, tables.samples.c.content)
        .join(tables.trials, tables.trials.c.number == tables.samples.c.trial)
        .where(tables.trials.c.run_id == run_id)
    )
    for row in connection.execute(query):
        samples = _unpack(Samples, row.content, run_id)
        found[row.trial] = replace(found[row.trial], power=samples.power, utilisation=samples.utilisation)


def _pack(text: str) -> bytes:
    return zlib.compress(text.encode())


def _unpack(kind: type[T], content: bytes, run_id: str) -> T:
    try:
        return load(kind, zlib.decompress(content))
    except (zlib.error, InputError) as error:
        raise _damaged(f"a result of run {run_id}", error) from error


def _damaged(what: str, error: Exception) -> StoreError:
    return StoreError(f"{what} is damaged in the store: {error}", "restore the store from a copy, or run again")

"""Writes records as rows; `reading` reads them."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace

import sqlalchemy as sa

from servewatt.quality import Assessment, Quality
from servewatt.records import Interval, Plan, Result, Run, Slice, Trial
from servewatt.store import tables
from servewatt.store.claims import Claim, Claimant, lives
from servewatt.store.reading import READY, Samples
from servewatt.store.versions import BRIEF_VERSION, slim
from servewatt.wire import dump


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
    """Replace a run's plan."""
    connection.execute(tables.runs.update().where(tables.runs.c.id == run_id).values(plan=dump(plan)))


def insert_result(connection: sa.Connection, result: Result, plan: Plan) -> None:
    """Keep a result of the run of `plan`, as a whole and in columns for SQL."""
    trial, configuration = result.trial, result.trial.configuration
    connection.execute(tables.journal.delete().where(_in_journal(trial)))
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
    brief = dump(slim(result.brief, plan))
    connection.execute(tables.briefs.insert().values(trial=number, version=BRIEF_VERSION, content=brief))
    if result.power or result.utilisation:
        content = _pack(dump(Samples(result.power, result.utilisation)))
        connection.execute(tables.samples.insert().values(trial=number, content=content))


def insert_ready(connection: sa.Connection, result: Result, plan: Plan) -> None:
    """Keep the result of a trial of a duet episode before its first slice."""
    _insert_journal(connection, result.trial, READY, dump(slim(result, plan)))


def insert_slice(connection: sa.Connection, trial: Trial, place: int, one: Slice) -> None:
    """Keep slice number `place` of a trial, from 0."""
    _insert_journal(connection, trial, place, dump(one))


def _insert_journal(connection: sa.Connection, trial: Trial, place: int, content: str) -> None:
    connection.execute(
        tables.journal.insert().values(
            run_id=trial.run_id,
            block=trial.block,
            configuration=trial.configuration.key,
            attempt=trial.attempt,
            place=place,
            content=_pack(content),
        )
    )


def _in_journal(trial: Trial) -> sa.ColumnElement[bool]:
    columns = tables.journal.c
    return sa.and_(
        columns.run_id == trial.run_id,
        columns.block == trial.block,
        columns.configuration == trial.configuration.key,
        columns.attempt == trial.attempt,
    )


def count_results(connection: sa.Connection, run_id: str) -> int | None:
    """How many results of a run are there; None if the run itself is not."""
    if connection.execute(sa.select(tables.runs.c.number).where(tables.runs.c.id == run_id)).first() is None:
        return None
    counted = sa.select(sa.func.count()).select_from(tables.trials).where(tables.trials.c.run_id == run_id)
    return int(connection.execute(counted).scalar_one())


def take_claim(connection: sa.Connection, claim: Claim, own: Claimant, now_s: float) -> Claim | None:
    """Claim a subject; the conflicting claim, or None on success."""
    found = connection.execute(sa.select(tables.claims).where(tables.claims.c.subject == claim.subject)).first()
    if found is None:
        connection.execute(tables.claims.insert().values(_claim_columns(claim)))
        return None
    columns = found._mapping
    claimant = Claimant(columns["host"], columns["boot"], columns["namespace"], columns["pid"], columns["started"])
    holder = Claim(columns["subject"], columns["token"], claimant, columns["run_id"], columns["expires_at"])
    if holder.token != claim.token and lives(holder, now_s, own):
        return holder
    return None if _replace_claim(connection, claim, holder.token) else holder


def renew_claim(connection: sa.Connection, claim: Claim) -> bool:
    """Renew a claim; False if another has replaced it."""
    if _replace_claim(connection, claim, claim.token):
        return True
    return connection.execute(sa.select(tables.claims).where(tables.claims.c.subject == claim.subject)).first() is None


def drop_claim(connection: sa.Connection, claim: Claim) -> None:
    """Give a claim back; nothing happens if it has lapsed and is another's."""
    connection.execute(
        tables.claims.delete().where(tables.claims.c.subject == claim.subject, tables.claims.c.token == claim.token)
    )


def _replace_claim(connection: sa.Connection, claim: Claim, token: str) -> bool:
    changed = connection.execute(
        tables.claims.update()
        .where(tables.claims.c.subject == claim.subject, tables.claims.c.token == token)
        .values(_claim_columns(claim))
    )
    return changed.rowcount == 1


def _claim_columns(claim: Claim) -> dict[str, object]:
    columns = {name: value for name, value in vars(claim).items() if name != "claimant"}
    return {**columns, **vars(claim.claimant)}


def insert_quality(connection: sa.Connection, quality: Quality) -> None:
    """Keep a quality record; a record that is there already is left as it is."""
    content = dump(quality)
    digest = hashlib.sha256(content.encode()).hexdigest()
    same = sa.select(tables.qualities.c.number).where(tables.qualities.c.digest == digest)
    if connection.execute(same).first() is not None:
        return
    inserted = connection.execute(
        tables.qualities.insert().values(
            digest=digest,
            created_at=quality.created_at,
            model=quality.model.name,
            revision=quality.model.revision,
            weights=quality.model.weights.value,
            reference=quality.reference.key,
            servewatt_version=quality.servewatt_version,
            quality_version=quality.quality_version,
            content=content,
        )
    )
    key = inserted.inserted_primary_key
    assert key is not None
    if quality.assessments:
        columns = [_assessment_columns(assessment, key[0]) for assessment in quality.assessments]
        connection.execute(tables.assessments.insert(), columns)


def _assessment_columns(assessment: Assessment, number: int) -> dict[str, object]:
    configuration = assessment.configuration
    same, scored = assessment.agreement, assessment.perplexity
    ratio: Interval | None = scored.ratio if scored is not None else None
    return {
        "quality": number,
        "configuration": configuration.key,
        "engine": configuration.engine,
        "provider": configuration.provider.value,
        "precision": configuration.precision.value,
        "batch": configuration.batch,
        "status": assessment.status.value,
        "reason": assessment.reason,
        "equal_share": same.equal_share if same is not None else None,
        "leading_share": same.leading_share if same is not None else None,
        "perplexity": scored.perplexity if scored is not None else None,
        "perplexity_ratio": ratio.estimate if ratio is not None else None,
        "perplexity_ratio_low": ratio.low if ratio is not None else None,
        "perplexity_ratio_high": ratio.high if ratio is not None else None,
        "bits_per_byte": scored.bits_per_byte if scored is not None else None,
        "pass_rate": assessment.pass_rate.estimate if assessment.pass_rate is not None else None,
    }


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


def _pack(text: str) -> bytes:
    return zlib.compress(text.encode())

"""A results file: observations of many runs with what they ran on, in one compact Parquet file.

One row an observation; the runs' plans, environments and proofs are in the file's own metadata, so that a file says by
itself what was measured where. Prompts are in it by digest only.
"""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from servewatt import wire
from servewatt.errors import InputError, ServewattError, StoreError, UnavailableError
from servewatt.file_kinds import RESULTS_KEY, recognise
from servewatt.input_files import is_there, read_bytes, shown
from servewatt.records import Environment, Facts, Model, Procedure, Result, Run, Status
from servewatt.study.data.observations import Observation, observe
from servewatt.whole_files import replacing

FORMAT_VERSION = 2
"""2: `inter_token_mean_s` took the place of `inter_token_s`, a median, which is left when version 1 is read."""

_MOST_BYTES = 2**30


@dataclass(frozen=True)
class WorkloadNote:
    """A workload without its prompts."""

    name: str
    digest: str
    prompts: int
    new_tokens: int
    stop: str


@dataclass(frozen=True)
class ConfigurationFacts:
    """What really ran, as the loaded engine showed it."""

    configuration: str
    facts: Facts


@dataclass(frozen=True)
class RunNote:
    """A run without its trials."""

    id: str
    campaign: str
    created_at: str
    servewatt_version: str
    model: Model
    workload: WorkloadNote
    procedure: Procedure
    environment: Environment
    facts: tuple[ConfigurationFacts, ...]


@dataclass(frozen=True)
class Header:
    """What the file's metadata hold."""

    format_version: int
    runs: tuple[RunNote, ...]


@dataclass(frozen=True)
class Results:
    """The content of one or more results files."""

    observations: tuple[Observation, ...]
    runs: tuple[RunNote, ...]

    @property
    def environments(self) -> dict[str, Environment]:
        """Fingerprint -> the first environment that has it."""
        found: dict[str, Environment] = {}
        for run in self.runs:
            found.setdefault(run.environment.fingerprint, run.environment)
        return found


def gather(runs: Iterable[tuple[Run, Sequence[Result]]], campaign: str) -> Results:
    """Results of runs as they lie in a store; a run without any trial is left out."""
    observations: list[Observation] = []
    notes = []
    for run, results in runs:
        if not results:
            continue
        observations += observe(run, results, campaign)
        notes.append(_note(run, results, campaign))
    return Results(tuple(observations), tuple(notes))


def merge(parts: Iterable[Results]) -> Results:
    """Several results as one; what is in two of them is taken once, from the later."""
    observations: dict[tuple[str, str, int, int], Observation] = {}
    notes: dict[str, RunNote] = {}
    for part in parts:
        observations |= {(o.run, o.configuration, o.block, o.attempt): o for o in part.observations}
        notes |= {note.id: note for note in part.runs}
    return Results(tuple(observations.values()), tuple(notes.values()))


def write(path: str | os.PathLike[str], results: Results) -> None:
    """Write a results file, whole or not at all. Raises StoreError if it cannot be written."""
    arrow, parquet = _pyarrow()
    columns = {name: [_plain(getattr(o, name)) for o in results.observations] for name in _TYPES}
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in _TYPES.items()])
    header = wire.dump(Header(FORMAT_VERSION, results.runs))
    path = Path(path)
    try:
        table = arrow.table(columns, schema=schema.with_metadata({RESULTS_KEY: header.encode()}))
    except (arrow.ArrowException, OverflowError, UnicodeError) as error:
        raise StoreError(
            f"cannot write {shown(path)}: a run holds what no column takes: {error}",
            "leave that run out; it is damaged",
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            parquet.write_table(table, file, compression="zstd", store_schema=True)
    except OSError as error:
        hint = "choose another place, or free some space"
        raise StoreError(f"cannot write {path}: {error.strerror or error}", hint) from error


def read(path: str | os.PathLike[str]) -> Results:
    """The content of a results file.

    Raises InputError if it is missing, damaged or something else, StoreError if it is of a newer version,
    UnavailableError without pyarrow.
    """
    arrow, parquet = _pyarrow()
    path = Path(path)
    if not (is_there(path) and path.is_file()):
        raise InputError(f"there is no results file {shown(path)}", "`servewatt study collect --out FILE` writes one")
    content = read_bytes(path, "`servewatt study collect --out FILE` writes one", most_bytes=_MOST_BYTES)
    try:
        table = parquet.read_table(arrow.BufferReader(content))
        # Columns that later versions add are left; those that an earlier one lacks take their defaults.
        rows: list[dict[str, Any]] = table.select([n for n in table.column_names if n in _TYPES]).to_pylist()
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if (other := recognise(path)) is not None:
            raise InputError(f"{shown(path)} is {other[0]}, not a study's results file", other[1]) from error
        hint = "copy or collect it again"
        if path.suffix.lower() in (".csv", ".tsv", ".txt"):
            hint = f"`servewatt study analyse --csv {path} --value COLUMN --group COLUMN` reads observations in CSV"
        raise InputError(f"{shown(path)} is no Parquet file: {str(error).strip()[:200]}", hint) from error
    header = _header(table.schema.metadata or {}, path)
    try:
        return Results(tuple(map(_observation, rows)), header.runs)
    except InputError as error:
        raise InputError(f"{shown(path)} is damaged: {error.message}", "copy or collect it again") from error


def _header(metadata: Mapping[bytes, bytes], path: Path) -> Header:
    """What the metadata of the file hold, once it is sure that this is a results file of a version we read."""
    if RESULTS_KEY not in metadata:
        raise InputError(
            f"{shown(path)} is no results file of the study", "`servewatt study collect --out FILE` writes one"
        )
    try:
        header = wire.load(Header, metadata[RESULTS_KEY])
    except ServewattError as error:
        raise InputError(f"{shown(path)} is damaged: {error.message}", "copy or collect it again") from error
    if header.format_version > FORMAT_VERSION:
        raise StoreError(
            f"{shown(path)} is of version {header.format_version}; this servewatt reads up to version {FORMAT_VERSION}",
            "upgrade it: pip install --upgrade servewatt",
        )
    return header


def _observation(row: dict[str, Any]) -> Observation:
    """A row as it is written; a number that is not finite says as little as none."""
    finite = {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in row.items()}
    return wire.build(Observation, finite)


def read_all(paths: Sequence[str | os.PathLike[str]]) -> Results:
    """Several results files as one."""
    return merge(read(path) for path in paths)


def _note(run: Run, results: Sequence[Result], campaign: str) -> RunNote:
    plan = run.plan
    work = plan.workload
    last = {r.trial.configuration.key: r.facts for r in results if r.facts is not None and r.status is Status.OK}
    return RunNote(
        id=run.id,
        campaign=campaign,
        created_at=run.created_at,
        servewatt_version=run.servewatt_version,
        model=plan.model.without_place,
        workload=WorkloadNote(work.name, work.digest, len(work.prompts), work.new_tokens, work.stop.value),
        procedure=plan.procedure,
        environment=run.environment,
        facts=tuple(ConfigurationFacts(key, facts) for key, facts in last.items()),
    )


def _column_types() -> dict[str, str]:
    """Name -> Arrow type of each field of Observation."""
    arrow = {str: "string", int: "int64", float: "float64"}
    types: dict[str, str] = {}
    for name, hint in typing.get_type_hints(Observation).items():
        kind = next(k for k in (*typing.get_args(hint), hint) if k is not type(None))
        types[name] = arrow[str if issubclass(kind, StrEnum) else kind]
    return types


_TYPES = _column_types()


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, StrEnum) else value


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UnavailableError("results files need pyarrow", "pip install 'servewatt[study]'") from error
    return pyarrow, parquet

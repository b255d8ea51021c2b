"""One run with its results as a single file, to keep in a repository or send to a colleague.

Lines of JSON, compressed by gzip unless the name ends in `.jsonl`: a header, the run, then one result a line.
docs/reference/files.md describes it.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from servewatt.errors import InputError, ServewattError, StoreError
from servewatt.file_kinds import RUN_FORMAT, recognise
from servewatt.input_files import read_bytes, unpack
from servewatt.quality import Quality
from servewatt.records import RECORD_VERSION, Result, Run
from servewatt.store.versions import check_quality_version, check_record_version, fill, slim
from servewatt.version import __version__
from servewatt.whole_files import write_whole
from servewatt.wire import dump, load

FORMAT_VERSION = 1
_MOST_BYTES = 4 * 2**30
"""Of a run file, once unpacked."""


@dataclass(frozen=True)
class Header:
    """The first line of a run file."""

    format: str
    format_version: int
    record_version: int
    servewatt_version: str
    results: int
    """Number of result lines that follow the run's; fewer means the file was cut short."""
    quality: tuple[Quality, ...] = ()
    """Quality records of the run's model, newest first. Here, so that older programs read the file."""


def write_file(
    path: str | os.PathLike[str], run: Run, results: Sequence[Result], qualities: Sequence[Quality] = ()
) -> None:
    """Write a run, its results and its model's quality to `path`, whole or not at all. An existing file is replaced.

    The model's folder is left out.
    Raises StoreError if it cannot be written, InputError if a result belongs to another run, or quality to another
    model.
    """
    target = Path(path)
    stranger = next((r for r in results if r.trial.run_id != run.id), None)
    if stranger is not None:
        raise InputError(f"a result of run {stranger.trial.run_id} cannot be kept with run {run.id}")
    if not all(quality.is_of(run.plan.model) for quality in qualities):
        raise InputError(f"another model's quality cannot be kept with run {run.id}")
    told = tuple(replace(quality, model=quality.model.without_place) for quality in qualities)
    header = Header(RUN_FORMAT, FORMAT_VERSION, RECORD_VERSION, __version__, len(results), told)
    lines = [
        dump(header),
        dump(replace(run, plan=replace(run.plan, model=run.plan.model.without_place))),
        *(dump(_without_place(slim(result, run.plan))) for result in results),
    ]
    content = ("\n".join(lines) + "\n").encode()
    if target.suffix != ".jsonl":
        # No time stamp: the same run gives the same bytes.
        content = gzip.compress(content, mtime=0)
    try:
        write_whole(target, content)
    except OSError as error:
        raise StoreError(
            f"cannot write {target}: {error.strerror or error}", "give a folder that exists and has space, or free some"
        ) from error


def _without_place(result: Result) -> Result:
    return replace(result, trial=replace(result.trial, model=result.trial.model.without_place))


def read_file(path: str | os.PathLike[str]) -> tuple[Run, tuple[Result, ...]]:
    """The run and results that `write_file` wrote, by this version of servewatt or an older one.

    Raises InputError if the file is missing, cut short or something else, StoreError if it is of a newer version.
    """
    source = Path(path)
    lines = _content(source).splitlines()
    header = _header(lines[0] if lines else b"", source)
    if len(lines) != header.results + 2:
        raise InputError(
            f"{source} is cut short: {max(0, len(lines) - 2)} of {header.results} results are there",
            "copy or export it again",
        )
    try:
        run = load(Run, lines[1])
        results = tuple(fill(load(Result, line), run.plan) for line in lines[2:])
    except ServewattError as error:
        raise InputError(f"{source} is damaged: {error.message}", "copy or export it again") from error
    return run, results


def read_qualities(path: str | os.PathLike[str]) -> tuple[Quality, ...]:
    """Quality records in a run file, newest first; raises what `read_file` raises of its header."""
    source = Path(path)
    return _header(_content(source).partition(b"\n")[0], source).quality


def _content(source: Path) -> bytes:
    content = read_bytes(source, "give the path of a run file", most_bytes=_MOST_BYTES)
    return unpack(content, source, most_bytes=_MOST_BYTES)


def _header(line: bytes, source: Path) -> Header:
    """The file's header, once it is sure that this is a run file of a version we read."""
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        first = None
    if not isinstance(first, dict) or first.get("format") != RUN_FORMAT:
        if (other := recognise(source)) is not None:
            raise InputError(f"{source} is {other[0]}, not a run's export", other[1])
        raise InputError(f"{source} is not a servewatt run file", "`servewatt report RUN --export FILE` writes one")
    version = first.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            f"{source} is a run file of version {version}; this servewatt reads up to version {FORMAT_VERSION}",
            "upgrade it: pip install --upgrade servewatt",
        )
    header = load(Header, line)
    check_record_version(header.record_version, str(source))
    for quality in header.quality:
        check_quality_version(quality.quality_version, str(source))
    return header

"""Keeps results in a file beside a store that cannot be written, and imports them once it can."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from servewatt.errors import ServewattError, StoreError
from servewatt.records import Result, Run
from servewatt.store.files import read_file, write_file
from servewatt.store.store import Store


def write_rescue(store: Store, run: Run, results: Sequence[Result], last: Path | None = None) -> Path:
    """Write a run file beside the store, in the current folder, or in the folder for temporary files.

    `last` is the file of the results before; it is replaced, or removed once another holds all of them. Raises
    StoreError if none of these places can be written.
    """
    reasons = []
    for folder in ([last.parent] if last is not None else []) + list(_folders(store)):
        path = folder / f"{store.file_name}.rescue-{run.id}.json.gz"
        try:
            write_file(path, run, results)
        except StoreError as error:
            reasons.append(error.message)
            continue
        if last is not None and last != path:
            with suppress(OSError):
                last.unlink()
        return path
    raise StoreError(f"results cannot be kept anywhere: {'; '.join(dict.fromkeys(reasons))}", "free some space")


def rescued(store: Store, plan_digest: str, fingerprint: str) -> Iterator[tuple[Path, Run, tuple[Result, ...]]]:
    """Rescue files of this plan on this machine that lie where `write_rescue` puts them, with what they hold."""
    for folder in dict.fromkeys(_folders(store)):
        with suppress(OSError):
            for path in sorted(folder.glob("*.rescue-*.json.gz")):
                if not path.name.startswith(f"{store.file_name}.rescue-") or path.stat().st_uid != os.geteuid():
                    continue
                with suppress(ServewattError):
                    run, results = read_file(path)
                    if run.plan.digest == plan_digest and run.environment.fingerprint == fingerprint:
                        yield path, run, results


def take_back(store: Store, run: Run, results: Sequence[Result]) -> int:
    """Store the results of a rescue file that the store lacks; their number. Raises StoreError."""
    known = {r.id for r in store.find_runs(run.plan.digest)}
    if run.id not in known:
        store.create_run(run)
    there = {_place(r) for r in store.results(run.id, skip_damaged=True)}
    missing = [r for r in results if _place(r) not in there]
    for result in missing:
        store.append(result)
    return len(missing)


def _place(result: Result) -> tuple[int, str, int]:
    return result.trial.block, result.trial.configuration.key, result.trial.attempt


def _folders(store: Store) -> Iterator[Path]:
    if store.path is not None:
        yield store.path.parent
    with suppress(OSError):  # the current folder may be gone
        yield Path.cwd()
    with suppress(OSError):
        yield Path(tempfile.gettempdir())

"""Single files of the hub, pinned to a commit: the table of a data set, a tokenizer alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servewatt.errors import InputError, UnavailableError, nearest
from servewatt.models import hub
from servewatt.models.catalogue import BUNDLED, find, known_names
from servewatt.models.folder import TOKENIZER_FILES
from servewatt.models.hub import Snapshot
from servewatt.models.hub_access import UnreachableError, endpoint
from servewatt.models.local import local_folder
from servewatt.models.tokenizer import BUNDLED_FOLDER, tokenizer_files

_PARQUET = ".parquet"


@dataclass(frozen=True)
class _Wanted:
    """Which files of a repository."""

    kind: str
    """`model` or `dataset`."""
    title: str
    names: Callable[[str], bool]
    found: Callable[[Path], tuple[Path, ...]]
    """The files in a snapshot's folder; empty if it lacks one."""


def _tables(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.rglob(f"*{_PARQUET}")))


_TABLE = _Wanted("dataset", "Parquet file", lambda name: name.endswith(_PARQUET), _tables)
_TOKENIZER = _Wanted("model", "tokenizer.json", TOKENIZER_FILES.__contains__, tokenizer_files)


def fetch_table(dataset_id: str, revision: str) -> tuple[Path, str]:
    """The one Parquet file of a data set, and the commit it is from.

    Raises UnavailableError if the hub cannot be reached and its cache does not have the file, InputError or
    RefusedError if the hub does not give it.
    """
    snapshot = _fetch(dataset_id, revision, _TABLE)
    tables = _tables(snapshot.folder)
    if len(tables) != 1:
        raise InputError(f"{dataset_id} has {len(tables)} Parquet files, not one", "choose another --revision")
    return tables[0], snapshot.commit


def find_tokenizer(name: str) -> Snapshot:
    """The folder of a tokenizer: `bundled`, a folder, a name of the catalogue, or a hub id of any architecture.

    Its commit is empty where it is not from the hub. Raises as `fetch_table`, and InputError for a name that is none
    of these.
    """
    entry = find(name)
    if name == BUNDLED:
        return Snapshot(BUNDLED_FOLDER, "")
    folder = None if entry else local_folder(name)
    if folder is not None:
        return Snapshot(folder, "")
    if entry is None and not ("/" in name and hub.is_hub_id(name)):
        raise InputError(
            f"no tokenizer {name!r}",
            f"give a folder, a hub id (owner/name) or a name of the catalogue ({nearest(name, known_names())})",
        )
    return _fetch(entry.hub_id if entry else name, (entry and entry.revision) or "main", _TOKENIZER)


def _fetch(repository: str, revision: str, wanted: _Wanted) -> Snapshot:
    """The snapshot with the wanted files; for a commit, what the cache has will do."""
    folder = hub.cached_folder(repository, revision, wanted.kind)
    kept = Snapshot(folder, folder.name) if folder is not None and wanted.found(folder) else None
    if kept is not None and hub.is_commit(revision):
        return kept
    try:
        with hub.explained(repository, revision, wanted.kind):
            return _download(repository, revision, wanted)
    except UnreachableError as error:
        if kept is not None:
            return kept
        raise UnavailableError(
            f"cannot reach {endpoint()}, and {repository} is not in its cache {hub.hub_cache()}: {error}",
            error.hint or "connect once to download it, or give local files",
        ) from error


def _download(repository: str, revision: str, wanted: _Wanted) -> Snapshot:
    api = hub.connect()
    info = api.repo_info(repository, revision=revision, repo_type=wanted.kind)
    names = [sibling.rfilename for sibling in info.siblings or [] if wanted.names(sibling.rfilename)]
    commit = str(info.sha)
    cache = str(hub.hub_cache())
    for name in names:
        api.hf_hub_download(repository, name, repo_type=wanted.kind, revision=commit, cache_dir=cache)
    folder = hub.cached_folder(repository, commit, wanted.kind)
    if folder is None or not wanted.found(folder):
        raise InputError(f"{repository} has no {wanted.title}", f"its files are listed at {endpoint()}")
    hub.remember(repository, revision, commit, wanted.kind)
    return Snapshot(folder, commit)

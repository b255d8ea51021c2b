"""The path of a SQLite store: which files are accepted there, and how they are opened."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from servewatt.errors import StoreError
from servewatt.store.complaints import MissingStoreError, explain


@dataclass(frozen=True)
class Place:
    """A SQLite file that is there, and how to open it."""

    path: Path
    name: str
    """The path as text that any terminal can show."""
    uri: str
    writable: bool
    """Whether results can be stored in it."""
    copy: tempfile.TemporaryDirectory[str] | None = None
    """Holds a copy that is opened in place of a file that cannot be."""


def shown(path: Path) -> str:
    """A path as text; bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def uri(path: Path, query: str) -> str:
    """SQLite's own URI for a path, whatever bytes are in it."""
    return f"file:{quote(os.fsencode(path.absolute()))}?{query}"


def size_bytes(path: Path) -> int | None:
    """The size of a regular file; None if there is none. StoreError for anything else."""
    name = shown(path)
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"cannot open {name}: {reason}", "give another --store") from error
    if stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{name} is a folder", "give the path of a file, such as results.db")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{name} is a device, pipe or socket", "give the path of a file, such as results.db")
    return found.st_size


def prepare(path: Path, *, must_exist: bool) -> Place:
    """Ensure a file at `path`: an empty one, with its folder, if there was none and none need exist.

    SQLite is then asked for a file that is there, so that one deleted later is missed and not made anew.
    """
    name = shown(path)
    size = size_bytes(path)
    if must_exist and not size:
        what = "there is no results store at" if size is None else "there is no results store yet in the empty file"
        raise MissingStoreError(f"{what} {name}", "`servewatt run` makes one")
    if size is None:
        _make(path)
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return Place(path, name, uri(path, "mode=rw"), writable=True)
    return _read_only(path, name)


def copied(place: Place) -> Place:
    """A copy, to be upgraded, of a file that can only be read; its temporary folder lasts as long as the place."""
    folder = _temporary()
    target = Path(folder.name) / "results.db"
    try:
        with (
            closing(sqlite3.connect(place.uri, uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
    except sqlite3.Error as error:
        folder.cleanup()
        raise explain(error, place.name) from error
    return Place(place.path, place.name, uri(target, "mode=rw"), writable=False, copy=folder)


def _make(path: Path) -> None:
    name, folder = shown(path), shown(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}", "choose another --store") from error
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"the folder {folder} cannot be written", "choose another --store")
    try:
        path.touch()
    except OSError as error:
        raise StoreError(f"cannot make {name}: {error.strerror}", "choose another --store") from error


def _read_only(path: Path, name: str) -> Place:
    """A file that cannot be written, or whose folder cannot.

    Write-ahead mode wants files beside the store even to read. Where they cannot be made, a store without a log is
    read as one that nobody is writing, and one with a log (left by a process that was killed) from a copy.
    """
    plain = Place(path, name, uri(path, "mode=ro"), writable=False)
    if _readable(plain.uri):
        return plain
    log = path.with_name(path.name + "-wal")
    if not (size_bytes(log) if os.access(path.parent, os.X_OK) else None):
        return Place(path, name, uri(path, "mode=ro&immutable=1"), writable=False)
    folder = _temporary()
    target = Path(folder.name) / "results.db"
    try:
        target.write_bytes(path.read_bytes())
        target.with_name("results.db-wal").write_bytes(log.read_bytes())
    except OSError as error:
        folder.cleanup()
        raise StoreError(f"cannot copy {name} to read it: {error.strerror}", "make its folder writable") from error
    return Place(path, name, uri(target, "mode=rw"), writable=False, copy=folder)


def _readable(place: str) -> bool:
    try:
        with closing(sqlite3.connect(place, uri=True)) as connection:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
    except sqlite3.Error:
        return False
    return True


def _temporary() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="servewatt-store-")
    except OSError as error:
        raise StoreError(
            f"a read-only store is read from a copy, and there is no place for one: {error.strerror}",
            "set TMPDIR to a folder with space, or make the store's folder writable",
        ) from error

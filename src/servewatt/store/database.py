"""A database to keep results in: opening it, transactions, and its errors in words.

SQLite runs in write-ahead mode, so reports read while a run writes, and with full synchronisation, so a stored
result outlasts the process and the power supply.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from servewatt.errors import StoreError
from servewatt.store import migrations
from servewatt.store.complaints import MissingStoreError, explain
from servewatt.store.reading import Query


class Database:
    """A database at the newest schema."""

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    @contextmanager
    def reading(self) -> Iterator[Query]:
        """A transaction that sees one state of the database and waits for no writer."""
        with translated(self.name), self._engine.connect() as connection:

            def query(sql: str, /, **parameters: Any) -> Iterable[Sequence[Any]]:
                return connection.execute(sa.text(sql), parameters).all()

            yield query

    def stored_version(self) -> int | None:
        """The schema version; None if the database is new."""
        with translated(self.name), self._engine.connect() as connection:
            return migrations.stored_version(connection, self.name)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is stored whole at its end, or not at all."""
        with translated(self.name), self._engine.connect() as connection:
            # SQLite could not wait for another writer once it has begun as a reader.
            writer = connection.execution_options(servewatt_begin="IMMEDIATE")
            with writer.begin():
                yield writer

    def close(self) -> None:
        self._engine.dispose()


def open_database(place: str | Path, *, busy_timeout_s: float, must_exist: bool) -> Database:
    """Open a SQLite file or the database at a URL, making it or bringing it to the newest schema where needed.

    Raises StoreError with what is wrong and the next thing to do.
    """
    try:
        parsed = URL.create("sqlite", database=str(place)) if isinstance(place, Path) else make_url(place)
    except (ArgumentError, ValueError) as error:
        raise StoreError(
            f"{place} is not a database URL", "give a path, or a URL such as sqlite:///results.db"
        ) from error
    name = parsed.render_as_string(hide_password=True)
    path = _sqlite_path(parsed)
    writable = True
    if path is not None:
        name = str(path)
        writable = _prepare_file(path, must_exist=must_exist)
        if not writable:
            parsed = _read_only(parsed, path)
    database = Database(_engine(parsed, name, busy_timeout_s), name)
    try:
        _bring_up_to_date(database, sqlite=path is not None, writable=writable, busy_timeout_s=busy_timeout_s)
    except BaseException:
        database.close()
        raise
    return database


def _sqlite_path(url: URL) -> Path | None:
    """The file of a plain SQLite URL; None for other databases, SQLite in memory, and SQLite's own file: URIs."""
    database = url.database or ""
    plain = url.get_backend_name() == "sqlite" and database not in ("", ":memory:") and not database.startswith("file:")
    return Path(database) if plain else None


def _prepare_file(path: Path, *, must_exist: bool) -> bool:
    """Make the folder of a new file; whether the file can be written."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder", "give the path of a file, such as results.db")
    if path.exists():
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if must_exist:
        raise MissingStoreError(f"there is no results store at {path}", "`servewatt run` makes one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path.parent}: {error.strerror}", "choose another --store") from error
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"the folder {path.parent} cannot be written", "choose another --store")
    return True


def _read_only(url: URL, path: Path) -> URL:
    """A URL that opens the file for reading alone."""
    query = "mode=ro"
    wal = path.with_name(path.name + "-wal")
    if not os.access(path.parent, os.W_OK) and not wal.exists():
        # Write-ahead mode wants a second file beside the first even to read, unless nobody can be writing.
        query += "&immutable=1"
    return url.set(database=f"file:{quote(str(path.absolute()))}?{query}", query={"uri": "true"})


def _engine(url: URL, name: str, busy_timeout_s: float) -> sa.Engine:
    sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = sa.create_engine(url, connect_args={"timeout": busy_timeout_s} if sqlite else {})
    except NoSuchModuleError as error:
        raise StoreError(
            f"no database driver is known for {url.drivername}",
            "use a path, sqlite:///results.db, or a URL such as postgresql+psycopg://user@host/database",
        ) from error
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{name} needs the Python package {error.name}", f"install it: pip install {error.name}"
        ) from error
    except (ArgumentError, TypeError) as error:
        raise StoreError(f"{name} is not a usable database URL: {error}", "give a path or a complete URL") from error
    if sqlite:
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin_sqlite`
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    kind = connection.get_execution_options().get("servewatt_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {kind}")


def _bring_up_to_date(database: Database, *, sqlite: bool, writable: bool, busy_timeout_s: float) -> None:
    version = database.stored_version()
    if version == migrations.SCHEMA_VERSION:
        return
    if not writable:
        raise StoreError(f"{database.name} needs an upgrade and is read-only", "make it writable, or copy it")
    if sqlite and version is None:
        _write_ahead(database, busy_timeout_s)
    with database.writing() as connection:
        # Looked at again inside: another process may have been faster.
        migrations.upgrade(connection, database.name)


def _write_ahead(database: Database, busy_timeout_s: float) -> None:
    """Put a new SQLite file into write-ahead mode; the file remembers it.

    SQLite does not wait here by itself when two processes make the same file at once.
    """
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            with translated(database.name):
                raw = database._engine.raw_connection()
                try:
                    raw.cursor().execute("PRAGMA journal_mode = WAL")
                finally:
                    raw.close()
            return
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the database's errors into StoreErrors that a user can act on."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _explain(error, name) from error


def _explain(error: Exception, name: str) -> StoreError:
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, IntegrityError):
        text = " ".join(str(original).split())
        return StoreError(f"{name} already holds this: {text}", "a run or trial is stored once; nothing was changed")
    return explain(original, name)

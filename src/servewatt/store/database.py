"""A database to keep results in: opening it, transactions, and its errors in words.

SQLite runs in write-ahead mode, so reports read while a run writes, and with full synchronisation, so a stored result
outlasts the process and the power supply. A SQLite file is opened anew for every transaction: nothing of it is held
between two trials, so that another file put in its place is detected and never overwritten.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from servewatt.errors import StoreError
from servewatt.store import migrations, sqlite_place
from servewatt.store.complaints import AlreadyStoredError, LostStoreError, MissingStoreError, explain
from servewatt.store.reading import Query
from servewatt.store.sqlite_place import Place


class Database:
    """A database at the newest schema."""

    def __init__(self, engine: sa.Engine, name: str, place: Place | None = None) -> None:
        self._engine = engine
        self.name = name
        self.place = place
        """Where it lies, for a SQLite file."""

    @contextmanager
    def reading(self) -> Iterator[Query]:
        """A transaction that sees one state of the database and waits for no writer."""
        with translated(self.name), self._engine.connect() as connection:

            def query(sql: str, /, **parameters: Any) -> Iterable[Sequence[Any]]:
                with translated(self.name):
                    return connection.execute(sa.text(sql), parameters).all()

            yield query

    def stored_version(self) -> int | None:
        """The schema version; None if the database is new."""
        with translated(self.name), self._engine.connect() as connection:
            return migrations.stored_version(connection, self.name)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is stored whole at its end, or not at all."""
        if self.place is not None and not self.place.writable:
            raise StoreError(f"{self.name} is read-only", "make it writable, or choose another --store")
        if self.place is not None and not sqlite_place.size_bytes(self.place.path):
            raise LostStoreError(
                f"{self.name} is gone: it or its folder was deleted, moved or emptied meanwhile",
                "put it back, or go on with another --store",
            )
        with self.changing() as connection:
            yield connection

    @contextmanager
    def changing(self) -> Iterator[sa.Connection]:
        """The same, also for a copy of a file that cannot be written."""
        with translated(self.name), self._engine.connect() as connection:
            # SQLite could not wait for another writer once it has begun as a reader.
            writer = connection.execution_options(servewatt_begin="IMMEDIATE")
            with writer.begin():
                yield writer

    def close(self) -> None:
        self._engine.dispose()
        if self.place is not None and self.place.copy is not None:
            self.place.copy.cleanup()


def open_database(place: str | Path, *, busy_timeout_s: float, must_exist: bool) -> Database:
    """Open a SQLite file or the database at a URL, making it or bringing it to the newest schema where needed.

    StoreError names the problem and the next step.
    """
    if isinstance(place, Path):
        return _open_file(place, busy_timeout_s, must_exist=must_exist)
    try:
        url = make_url(place)
        path = _sqlite_path(url)
    except (ArgumentError, ValueError, UnicodeError) as error:
        raise StoreError(
            f"{sqlite_place.shown(Path(place))} is not a database URL",
            "give a path, or a URL such as sqlite:///results.db",
        ) from error
    if path is not None and not url.query:
        return _open_file(path, busy_timeout_s, must_exist=must_exist)
    database = Database(_engine(url, busy_timeout_s), url.render_as_string(hide_password=True))
    return _up_to_date(database, busy_timeout_s)


def _open_file(path: Path, busy_timeout_s: float, *, must_exist: bool) -> Database:
    place = sqlite_place.prepare(path, must_exist=must_exist)
    try:
        database = _file(place, busy_timeout_s)
        version = database.stored_version()
        if version is None and must_exist:
            raise MissingStoreError(f"{place.name} is no results store of servewatt", "`servewatt run` makes one")
        if version != migrations.SCHEMA_VERSION and not place.writable and place.copy is None:
            place = sqlite_place.copied(place)
            database = _file(place, busy_timeout_s)
        return _up_to_date(database, busy_timeout_s)
    except BaseException:
        if place.copy is not None:
            place.copy.cleanup()
        raise


def _file(place: Place, busy_timeout_s: float) -> Database:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(place.uri, uri=True, timeout=busy_timeout_s, check_same_thread=False)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return Database(engine, place.name, place)


def _sqlite_path(url: URL) -> Path | None:
    """The file of a plain SQLite URL; None for other databases, SQLite in memory, and SQLite's own file: URIs."""
    database = url.database or ""
    plain = url.drivername in ("sqlite", "sqlite+pysqlite") and database not in ("", ":memory:")
    return Path(database).absolute() if plain and not database.startswith("file:") else None


def _engine(url: URL, busy_timeout_s: float) -> sa.Engine:
    sqlite = url.get_backend_name() == "sqlite"
    name = url.render_as_string(hide_password=True)
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
    except (ArgumentError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{name} is not a usable database URL: {reason}", "give a path or a complete URL") from error
    if sqlite:
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin_sqlite`
    connection.text_factory = _text
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _text(content: bytes) -> str:
    """Text as stored; damaged bytes invalidate their own row, not the whole query."""
    return content.decode(errors="replace")


def _begin_sqlite(connection: sa.Connection) -> None:
    kind = connection.get_execution_options().get("servewatt_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {kind}")


def _up_to_date(database: Database, busy_timeout_s: float) -> Database:
    """The database at the newest schema; closed if it cannot be brought there."""
    try:
        version = database.stored_version()
        if version != migrations.SCHEMA_VERSION:
            if version is None and database.place is not None:
                _write_ahead(database, busy_timeout_s)
            with database.changing() as connection:
                # Looked at again inside: another process may have been faster.
                migrations.upgrade(connection, database.name)
    except BaseException:
        database.close()
        raise
    return database


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
        return AlreadyStoredError(
            f"{name} already holds this: {text}", "a run or trial is stored once; nothing was changed"
        )
    return explain(original, name)

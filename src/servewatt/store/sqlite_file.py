"""The short way to read a store: a SQLite file of the newest schema, through the standard library."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from servewatt.store import sqlite_place
from servewatt.store.complaints import explain
from servewatt.store.reading import Query
from servewatt.store.versions import SCHEMA_VERSION


class SqliteFile:
    """A file that is only read; the same `reading` as that of `database.Database`."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.name = sqlite_place.shown(path)
        self._uri = sqlite_place.uri(path, "mode=ro")
        self._busy_timeout_s = busy_timeout_s

    @contextmanager
    def reading(self) -> Iterator[Query]:
        """A transaction that sees one state of the database and waits for no writer."""
        with self._translated(), closing(self._connect()) as connection:
            # Damaged bytes invalidate their own row, not the whole query.
            connection.text_factory = lambda content: content.decode(errors="replace")
            connection.execute("BEGIN")

            def query(sql: str, /, **parameters: Any) -> Iterable[Sequence[Any]]:
                with self._translated():
                    return connection.execute(sql, parameters).fetchall()

            yield query

    def close(self) -> None:
        """Nothing to do: a connection lasts as long as its transaction."""

    def holds_newest_schema(self) -> bool:
        """Whether this is a store that needs no upgrade; False also where it cannot be read at all."""
        try:
            with closing(self._connect()) as connection:
                versions = connection.execute("SELECT version FROM servewatt_schema").fetchall()
        except sqlite3.Error:
            return False
        return versions == [(SCHEMA_VERSION,)]

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._uri, uri=True, timeout=self._busy_timeout_s, isolation_level=None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.name) from error


def open_sqlite_file(path: Path, *, busy_timeout_s: float) -> SqliteFile | None:
    """The file at `path`, or None if `database.open_database` must handle it: if it is missing, older or newer than
    this program, damaged, no store, or cannot be written to (a reader in write-ahead mode may have to make a second
    file beside it).
    """
    if not sqlite_place.size_bytes(path) or not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return None
    found = SqliteFile(path, busy_timeout_s)
    return found if found.holds_newest_schema() else None

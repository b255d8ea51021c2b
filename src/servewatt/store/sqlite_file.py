"""The short way to read a store: a SQLite file of the newest schema, through the standard library."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from servewatt.store.complaints import explain
from servewatt.store.reading import Query
from servewatt.store.versions import SCHEMA_VERSION


class SqliteFile:
    """A file that is only read; the same `reading` as that of `database.Database`."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.name = str(path)
        self._uri = f"file:{quote(str(path))}?mode=ro"
        self._busy_timeout_s = busy_timeout_s

    @contextmanager
    def reading(self) -> Iterator[Query]:
        """A transaction that sees one state of the database and waits for no writer."""
        try:
            with closing(
                sqlite3.connect(self._uri, uri=True, timeout=self._busy_timeout_s, isolation_level=None)
            ) as connection:
                connection.execute("BEGIN")

                def query(sql: str, /, **parameters: Any) -> Iterable[Sequence[Any]]:
                    return connection.execute(sql, parameters).fetchall()

                yield query
        except sqlite3.Error as error:
            raise explain(error, self.name) from error

    def close(self) -> None:
        """Nothing to do: a connection lasts as long as its transaction."""


def open_sqlite_file(path: Path, *, busy_timeout_s: float) -> SqliteFile | None:
    """The file at `path`, or None where only `database.open_database` can say what to do with it.

    That is so where it is missing, older or newer than this program, damaged, no store, or cannot be written to (a
    reader in write-ahead mode may have to make a second file beside it).
    """
    if not path.is_file() or not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return None
    found = SqliteFile(path, busy_timeout_s)
    try:
        with closing(sqlite3.connect(found._uri, uri=True, timeout=busy_timeout_s)) as connection:
            versions = connection.execute("SELECT version FROM servewatt_schema").fetchall()
    except sqlite3.Error:
        return None
    return found if versions == [(SCHEMA_VERSION,)] else None

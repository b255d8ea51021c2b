"""Bring a database to the newest schema, one numbered step after another.

A new database gets the newest tables at once. An old one goes through the steps between its version and the newest,
all in one transaction. docs/decisions/0001-store-migrations.md says why this is not Alembic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
    select,
    update,
)

from servewatt.errors import StoreError
from servewatt.store.tables import metadata, schema
from servewatt.store.versions import SCHEMA_VERSION

__all__ = ["SCHEMA_VERSION", "STEPS", "stored_version", "upgrade"]


def _add_quality(connection: Connection) -> None:
    """Version 2: results of `servewatt quality`."""
    metadata = MetaData()
    Table(
        "qualities",
        metadata,
        Column("number", Integer, primary_key=True),
        Column("digest", String(64), nullable=False, unique=True),
        Column("created_at", String(40), nullable=False),
        Column("model", String(200), nullable=False),
        Column("revision", String(100), nullable=False, index=True),
        Column("weights", String(20), nullable=False),
        Column("reference", String(300), nullable=False),
        Column("servewatt_version", String(40), nullable=False),
        Column("quality_version", Integer, nullable=False),
        Column("content", Text(2**24), nullable=False),
    )

    Table(
        "assessments",
        metadata,
        Column("quality", Integer, ForeignKey("qualities.number"), primary_key=True, autoincrement=False),
        Column("configuration", String(300), primary_key=True),
        Column("engine", String(60), nullable=False),
        Column("provider", String(20), nullable=False),
        Column("precision", String(20), nullable=False),
        Column("batch", Integer, nullable=False),
        Column("status", String(20), nullable=False),
        Column("reason", Text(2**24), nullable=False),
        Column("equal_share", Double),
        Column("leading_share", Double),
        Column("perplexity", Double),
        Column("perplexity_ratio", Double),
        Column("perplexity_ratio_low", Double),
        Column("perplexity_ratio_high", Double),
        Column("bits_per_byte", Double),
        Column("pass_rate", Double),
    )
    metadata.create_all(connection)


def _add_briefs_and_claims(connection: Connection) -> None:
    """Version 3: short forms of trials for statistics, and claims."""
    metadata = MetaData()
    Table("trials", metadata, Column("number", Integer, primary_key=True))
    briefs = Table(
        "briefs",
        metadata,
        Column("trial", Integer, ForeignKey("trials.number"), primary_key=True, autoincrement=False),
        Column("version", Integer, nullable=False),
        Column("content", Text(2**24), nullable=False),
    )
    claims = Table(
        "claims",
        metadata,
        Column("subject", String(100), primary_key=True),
        Column("token", String(40), nullable=False),
        Column("host", String(200), nullable=False),
        Column("boot", String(40), nullable=False),
        Column("namespace", String(60), nullable=False),
        Column("pid", BigInteger, nullable=False),
        Column("started", BigInteger, nullable=False),
        Column("run_id", String(100), nullable=False),
        Column("expires_at", Double, nullable=False),
    )
    metadata.create_all(connection, tables=[briefs, claims])


def _add_journal(connection: Connection) -> None:
    """Version 4: slices of trials of a running duet episode."""
    metadata = MetaData()
    Table("runs", metadata, Column("id", String(100), primary_key=True))
    journal = Table(
        "journal",
        metadata,
        Column("number", Integer, primary_key=True),
        Column("run_id", String(100), ForeignKey("runs.id"), nullable=False),
        Column("block", Integer, nullable=False),
        Column("configuration", String(300), nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("place", Integer, nullable=False),
        Column("content", LargeBinary(2**24), nullable=False),
        UniqueConstraint("run_id", "block", "configuration", "attempt", "place"),
    )
    metadata.create_all(connection, tables=[journal])


STEPS: Mapping[int, Callable[[Connection], None]] = {2: _add_quality, 3: _add_briefs_and_claims, 4: _add_journal}
"""Version n -> the step from n - 1 to n, with tables of its own that later changes of `tables` do not touch."""


def stored_version(connection: Connection, name: str) -> int | None:
    """The schema version of the database called `name`; None if it is new.

    Raises StoreError if it is newer than this program, or belongs to another one.
    """
    present = set(inspect(connection).get_table_names())
    if schema.name not in present:
        taken = sorted(present & set(metadata.tables))
        if taken:
            raise StoreError(
                f"{name} has a table {taken[0]} that is not servewatt's", "give servewatt a database of its own"
            )
        if present and connection.dialect.name == "sqlite":
            # A file is one program's; other databases may be shared by name.
            raise StoreError(
                f"{name} is another program's database: it has a table {min(present)}",
                "give servewatt a file of its own",
            )
        return None
    version = connection.execute(select(schema.c.version)).scalar()
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"{name} does not tell its schema version", "restore it from a copy, or start a new store")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{name} was written by a newer servewatt (schema {version}; this one knows {SCHEMA_VERSION})",
            "upgrade it: pip install --upgrade servewatt",
        )
    return version


def upgrade(connection: Connection, name: str) -> None:
    """Create the tables, or run the steps that the database lacks, inside the caller's transaction."""
    version = stored_version(connection, name)
    if version is None:
        metadata.create_all(connection)
        connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        return
    for step in range(version + 1, SCHEMA_VERSION + 1):
        STEPS[step](connection)
    if version < SCHEMA_VERSION:
        connection.execute(update(schema).values(version=SCHEMA_VERSION))

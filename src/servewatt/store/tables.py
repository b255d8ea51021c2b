"""The tables of the newest schema. A change needs a step in `migrations` and a word in docs/reference/store.md."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

LONG = 2**24
"""Length that makes databases with sized types pick one that holds a large document."""

schema = Table(
    "servewatt_schema",
    metadata,
    Column("version", Integer, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(100), nullable=False, unique=True),
    Column("created_at", String(40), nullable=False),
    Column("plan_digest", String(64), nullable=False, index=True),
    Column("machine", String(64), nullable=False),
    Column("model", String(200), nullable=False),
    Column("servewatt_version", String(40), nullable=False),
    Column("record_version", Integer, nullable=False),
    Column("plan", Text(LONG), nullable=False),
    Column("environment", Text(LONG), nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("run_id", String(100), ForeignKey("runs.id"), nullable=False),
    Column("block", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("configuration", String(300), nullable=False),
    Column("engine", String(60), nullable=False),
    Column("provider", String(20), nullable=False),
    Column("precision", String(20), nullable=False),
    Column("batch", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("reason", Text(LONG), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("peak_rss_bytes", BigInteger),
    Column("peak_gpu_bytes", BigInteger),
    Column("output_digest", String(64), nullable=False),
    Column("result", LargeBinary(LONG), nullable=False),
    UniqueConstraint("run_id", "block", "configuration", "attempt"),
)

sections = Table(
    "sections",
    metadata,
    Column("trial", Integer, ForeignKey("trials.number"), primary_key=True, autoincrement=False),
    Column("name", String(20), primary_key=True),
    Column("duration_s", Double, nullable=False),
    Column("passes", Integer, nullable=False),
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("own_cpu_s", Double, nullable=False),
)

energies = Table(
    "energies",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("trial", Integer, ForeignKey("trials.number"), nullable=False),
    Column("section", String(20), nullable=False),
    Column("domain", String(100), nullable=False),
    Column("component", String(20), nullable=False),
    Column("energy_j", Double, nullable=False),
    Column("error_j", Double, nullable=False),
    Column("grade", String(20), nullable=False),
    Column("counted", Boolean, nullable=False),
    Index("ix_energies_trial", "trial"),
)

samples = Table(
    "samples",
    metadata,
    Column("trial", Integer, ForeignKey("trials.number"), primary_key=True, autoincrement=False),
    Column("content", LargeBinary(LONG), nullable=False),
)

briefs = Table(
    "briefs",
    metadata,
    Column("trial", Integer, ForeignKey("trials.number"), primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("content", Text(LONG), nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("run_id", String(100), ForeignKey("runs.id"), nullable=False),
    Column("block", Integer, nullable=False),
    Column("configuration", String(300), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("place", Integer, nullable=False),
    Column("content", LargeBinary(LONG), nullable=False),
    UniqueConstraint("run_id", "block", "configuration", "attempt", "place"),
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

qualities = Table(
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
    Column("content", Text(LONG), nullable=False),
)

assessments = Table(
    "assessments",
    metadata,
    Column("quality", Integer, ForeignKey("qualities.number"), primary_key=True, autoincrement=False),
    Column("configuration", String(300), primary_key=True),
    Column("engine", String(60), nullable=False),
    Column("provider", String(20), nullable=False),
    Column("precision", String(20), nullable=False),
    Column("batch", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("reason", Text(LONG), nullable=False),
    Column("equal_share", Double),
    Column("leading_share", Double),
    Column("perplexity", Double),
    Column("perplexity_ratio", Double),
    Column("perplexity_ratio_low", Double),
    Column("perplexity_ratio_high", Double),
    Column("bits_per_byte", Double),
    Column("pass_rate", Double),
)

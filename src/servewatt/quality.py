"""The records that tell what the outputs of a model's configurations are worth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from servewatt.records import Configuration, Facts, Interval, Model, Status, Via

QUALITY_VERSION = 1
"""Version of the `Quality` record as stored; docs/reference/records.md describes it."""

RANDOM = "weights: random"
"""Why a model with random weights has no perplexity."""


@dataclass(frozen=True)
class Agreement:
    """Greedy outputs beside those of the reference."""

    prompts: int
    equal_share: float
    """Share of prompts whose whole output is the same."""
    leading_share: float
    """Mean over prompts of the share of the output that comes before the first difference."""
    first_difference: float | None
    """Median number of equal tokens before the first difference, over prompts that have one; None if none has."""


@dataclass(frozen=True)
class Perplexity:
    """How well held-out text is predicted."""

    perplexity: float
    """e to the mean negative log probability of a token."""
    bits_per_byte: float | None
    """None where the tokenizer does not tell which bytes were scored."""
    ratio: Interval | None
    """To the reference's perplexity, with its interval over documents; None where the reference has none."""


@dataclass(frozen=True)
class Assessment:
    """One configuration's quality, or why it is not known."""

    configuration: Configuration
    status: Status
    reason: str = ""
    hint: str = ""
    facts: Facts | None = None
    agreement: Agreement | None = None
    perplexity: Perplexity | None = None
    no_perplexity: str = ""
    """Why there is none; empty where there is one."""
    pass_rate: Interval | None = None
    """Share of problems whose tests the answer passes (Wilson's interval); None where no tests were run."""


@dataclass(frozen=True)
class Document:
    """A stretch of one held-out file."""

    path: str
    """Relative to the source's folder."""
    sha256: str
    """Of the stretch that was scored, as UTF-8."""
    scored_bytes: int | None
    """Bytes of the scored tokens; None where the tokenizer does not tell."""


@dataclass(frozen=True)
class HeldOut:
    """The text that perplexity was measured on."""

    source: str
    """Such as `standard library of Python 3.11.7`."""
    seed: int
    tokens: int
    """Tokens of each document; the first is given, the others are scored."""
    documents: tuple[Document, ...]
    digest: str
    """SHA-256 over paths and texts."""


@dataclass(frozen=True)
class Quality:
    """Quality of a model's configurations against one reference."""

    model: Model
    reference: Configuration
    workload: str
    workload_digest: str
    new_tokens: int
    assessments: tuple[Assessment, ...]
    """The reference's first."""
    held_out: HeldOut | None
    servewatt_version: str
    created_at: str = ""
    """UTC, ISO 8601; empty in files of versions that did not record it."""
    sandbox: str = ""
    """What held the answers while their tests ran: `bubblewrap`, `namespaces` or `none`; empty where no tests ran, and
    in files of versions that did not record it."""
    quality_version: int = field(default=QUALITY_VERSION)

    def is_of(self, model: Model) -> bool:
        """Whether it tells of just these weights."""
        return (self.model.revision, self.model.weights) == (model.revision, model.weights)

    def of(self, configuration: Configuration) -> Assessment | None:
        """The assessment that holds for `configuration`: of the same engine, provider, precision and options.

        Batch, threads and the way in change speed, not (but for rounding) what is said; the exact one goes first.
        """
        alike = [a for a in self.assessments if says_alike(a.configuration, configuration)]
        return next((a for a in alike if a.configuration == configuration), alike[0] if alike else None)


def says_alike(first: Configuration, second: Configuration) -> bool:
    """Whether the two differ in nothing but batch, threads and the way in."""
    return _kind(first) == _kind(second)


def _kind(configuration: Configuration) -> Configuration:
    return replace(configuration, batch=1, threads=None, via=Via.PROCESS)

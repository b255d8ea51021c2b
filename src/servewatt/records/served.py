"""Messages of a process with a loaded engine, to its parent and its clients; both sides read these records."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.errors import ServewattError, brief


@dataclass(frozen=True)
class Failure:
    """Why there is no answer: what was raised in the other process."""

    type: str
    """Name of the exception's class."""
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What `error` says."""
        message, hint = (error.message, error.hint) if isinstance(error, ServewattError) else (str(error), "")
        return cls(type(error).__name__, brief(message), brief(hint))


@dataclass(frozen=True)
class Announcement:
    """A server's first words: its port, or why it cannot serve."""

    port: int | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Answer:
    """What one generation produced."""

    tokens: tuple[tuple[int | None, ...], ...]
    """New token ids, one tuple a step with one entry a prompt; None for prompts that have ended."""
    times_s: tuple[float, ...]
    """Monotonic time at which each step's ids were known to the server."""
    engine_s: float
    """Seconds from when the engine's thread took the request up until the device had finished it."""


@dataclass(frozen=True)
class Memory:
    """A server's device memory."""

    peak_device_bytes: int | None

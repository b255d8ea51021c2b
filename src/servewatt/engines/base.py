"""The engine protocol: load a model in a configuration, generate, report facts, close."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from servewatt.records import Configuration, Facts, Model


@dataclass(frozen=True)
class Step:
    """One decoding step of a batch."""

    tokens: tuple[int | None, ...]
    """The new token id of each row, in the order of the prompts; None for rows that have ended."""
    time_s: float
    """Monotonic time at which the ids were known to the host."""


class Artefacts(Protocol):
    """Where engines keep what they derive from a model, such as an exported graph."""

    def get_or_build(self, kind: str, key: Sequence[str], build: Callable[[Path], None]) -> Path:
        """The folder of the artefact that `kind` and `key` name; `build(folder)` fills it the first time.

        `key` must hold everything the content depends on: model revision, library versions, options. A build
        that fails or is killed leaves nothing behind.
        """
        ...


class Session(Protocol):
    """A loaded model, ready to generate."""

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Generate greedily for a batch of prompts (token ids), one Step a token.

        The first Step follows prefill. Ends after `max_new_tokens` steps, or once every row has produced one of
        `stop_ids` (the stopping token itself is yielded). Rows may differ in length.
        """
        ...

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural logarithm of the probability of each token of each row after its first, given those before it.

        Through the weights, the arithmetic and the KV cache that generation uses, as if it had been made to say the
        rows, which may differ in length; a row of n tokens yields n - 1 numbers.
        """
        ...

    def synchronize(self) -> None:
        """Return once the device has finished everything asked of it."""
        ...

    def facts(self) -> Facts:
        """The facts of the loaded engine, read from its objects. Complete after the first generation."""
        ...

    def peak_device_bytes(self) -> int | None:
        """Most device memory held so far; None for a session on the CPU or where it cannot be read."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Engine(Protocol):
    """A way to run models. Constructing one and `check` import nothing heavy; `prepare` and `load` do."""

    def check(self, model: Model, configuration: Configuration) -> None:
        """Raise what `load` would raise of what can be known without a device, the engine's library or the weights.

        InputError for an option that the engine does not have, RefusedError for what it does not run of `model` or
        `configuration`. A plan leaves out what is refused here. The model's folder holds config.json.
        """
        ...

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        """Derive what `load` will need of `artefacts`, such as an exported graph; needs no device.

        Raises RefusedError as `load` does. Engines that derive nothing return at once.
        """
        ...

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        """Load `model` as `configuration` asks.

        Raises UnavailableError if the provider or a package is missing here, RefusedError if this engine cannot
        run the architecture, precision or option.
        """
        ...

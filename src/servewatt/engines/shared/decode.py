"""The one greedy decode loop that all graph engines share, so that only the engines differ."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from servewatt.engines.base import Step
from servewatt.engines.shared.rows import Rows
from servewatt.records import Facts

State = TypeVar("State")
Ids = TypeVar("Ids")
"""Token ids as the engine holds them: a tensor on its device, int64, shape (batch, length)."""
Logits = TypeVar("Logits")
"""Logits of the last position as the engine holds them, shape (batch, vocabulary)."""


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Prompts as one (ids, mask) pair of int64 arrays, shape (batch, longest prompt), padded on the left.

    The mask is 1 where a token is real.
    """
    longest = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return ids, mask


def chosen_log_probabilities(logits: npt.NDArray[np.floating[Any]], tokens: Sequence[int]) -> list[float]:
    """log softmax(logits)[row, tokens[row]] of each row, computed in float64; logits of shape (rows, vocabulary)."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    chosen = wide[np.arange(len(tokens)), np.asarray(tokens)]
    result: list[float] = (chosen - np.log(np.exp(wide).sum(axis=1))).tolist()
    return result


class GraphSession(ABC, Generic[Ids, Logits, State]):
    """A loaded graph that maps (ids, state) to (logits, state); the loop around it is shared."""

    @abstractmethod
    def start(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int) -> tuple[Ids, State]:
        """Bring a padded batch to the device and make an empty state (KV cache, mask, positions) for it."""

    @abstractmethod
    def step(self, ids: Ids, state: State) -> tuple[Logits, State]:
        """Run the graph on `ids` (the prompts, then one token a row) and return the last position's logits."""

    @abstractmethod
    def argmax(self, logits: Logits) -> Ids:
        """The most likely id of each row (the lowest on a tie), shape (batch, 1), left on the device."""

    @abstractmethod
    def to_host(self, ids: Ids) -> list[int]:
        """Ids of shape (batch, 1) as Python ints; waits for the device."""

    @abstractmethod
    def from_host(self, ids: npt.NDArray[np.int64]) -> Ids:
        """Ids of shape (batch, 1) brought to the device."""

    @abstractmethod
    def logits_to_host(self, logits: Logits) -> npt.NDArray[np.floating[Any]]:
        """Logits as an array of at least 32-bit floats, shape (batch, vocabulary); waits for the device."""

    @abstractmethod
    def synchronize(self) -> None: ...

    @abstractmethod
    def facts(self) -> Facts: ...

    @abstractmethod
    def peak_device_bytes(self) -> int | None: ...

    @abstractmethod
    def close(self) -> None: ...

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Greedy decoding, one Step a token; see `servewatt.engines.base.Session.generate`."""
        padded, mask = left_pad(prompts)
        ids, state = self.start(padded, mask, max_new_tokens)
        rows = Rows(len(prompts), stop_ids)
        for _ in range(max_new_tokens):
            logits, state = self.step(ids, state)
            ids = self.argmax(logits)
            yield rows.step(self.to_host(ids), time.monotonic())
            if rows.over:
                return

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """All rows as one batch, forced token by token; see `servewatt.engines.base.Session.log_probabilities`.

        Each row's first token is the whole prompt, so nothing is padded and every number comes from a step of one
        token. Rows that have ended are fed token 0 until the longest has.
        """
        found: list[list[float]] = [[] for _ in rows]
        longest = max(map(len, rows), default=0)
        if longest < 2:
            return found
        fed = np.zeros((len(rows), longest), dtype=np.int64)
        for index, row in enumerate(rows):
            fed[index, : len(row)] = row
        ids, state = self.start(fed[:, :1], np.ones((len(rows), 1), dtype=np.int64), longest - 1)
        for place in range(1, longest):
            logits, state = self.step(ids, state)
            values = chosen_log_probabilities(self.logits_to_host(logits), fed[:, place].tolist())
            for index, row in enumerate(rows):
                if place < len(row):
                    found[index].append(values[index])
            if place < longest - 1:
                ids = self.from_host(fed[:, place : place + 1])
        return found

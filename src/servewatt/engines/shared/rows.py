"""Which rows of a batch have ended, for engines that get a token for every row at every step."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.engines.base import Step


class Rows:
    """Makes Steps in which rows that have produced a stop id say nothing more."""

    def __init__(self, count: int, stop_ids: frozenset[int]) -> None:
        self._stop_ids = stop_ids
        self._ended = [False] * count
        self.over = False
        """Whether all rows have produced a stop id."""

    def step(self, tokens: Sequence[int], time_s: float) -> Step:
        """The Step of the next token of each row, known to the host at monotonic `time_s`."""
        if not self._stop_ids:
            return Step(tuple(tokens), time_s)
        given = tuple(None if e else t for t, e in zip(tokens, self._ended, strict=True))
        self._ended = [e or t in self._stop_ids for t, e in zip(tokens, self._ended, strict=True)]
        self.over = all(self._ended)
        return Step(given, time_s)

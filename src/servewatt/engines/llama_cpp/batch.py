"""A batch of tokens as llama.cpp's C functions take it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.llama_cpp.library import library


class Batch:
    """Tokens for llama.cpp in arrays that are filled anew for every call."""

    def __init__(self, capacity: int) -> None:
        llama = library()
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.wants_logits = np.zeros(capacity, np.int8)
        self._sequences = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)
        addresses = self._sequences.ctypes.data + 4 * np.arange(capacity, dtype=np.uintp)
        self._sequence_of = addresses

        def pointer(array: npt.NDArray[Any], kind: Any) -> Any:
            return array.ctypes.data_as(ctypes.POINTER(kind))

        self.struct = llama.llama_batch(
            n_tokens=0,
            token=pointer(self.tokens, ctypes.c_int32),
            pos=pointer(self.positions, ctypes.c_int32),
            n_seq_id=pointer(self._counts, ctypes.c_int32),
            seq_id=pointer(self._sequence_of, ctypes.POINTER(ctypes.c_int32)),
            logits=pointer(self.wants_logits, ctypes.c_int8),
        )

    def fill(self, rows: Sequence[Sequence[int]]) -> None:
        """Whole rows from position 0, one sequence each; logits of each row's last token."""
        at = 0
        for row, tokens in enumerate(rows):
            part = slice(at, at + len(tokens))
            self.tokens[part] = tokens
            self.positions[part] = np.arange(len(tokens))
            self._sequences[part] = row
            self.wants_logits[part] = 0
            at = part.stop
            self.wants_logits[at - 1] = 1
        self.struct.n_tokens = at

    def start_decoding(self, lengths: Sequence[int]) -> None:
        """From now on one token a row, at the position after those it has."""
        count = len(lengths)
        self.positions[:count] = lengths
        self._sequences[:count] = np.arange(count)
        self.wants_logits[:count] = 1
        self.struct.n_tokens = count

    def fill_part(self, tokens: Sequence[int], first: int) -> None:
        """Part of one row from position `first` on; logits of every token."""
        count = len(tokens)
        self.tokens[:count] = tokens
        self.positions[:count] = np.arange(first, first + count)
        self._sequences[:count] = 0
        self.wants_logits[:count] = 1
        self.struct.n_tokens = count

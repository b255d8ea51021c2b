from __future__ import annotations

import numpy as np

from servewatt.engines.llama_cpp.gguf_layout import plus_one, rotate_pairs, split_heads


def test_rotary_rows_become_neighbours() -> None:
    """Two heads of four rows: halves (0 1)(2 3) become pairs (0 2)(1 3)."""
    rows = np.arange(8, dtype=np.float32)
    assert rotate_pairs(2)(rows).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    matrix = np.stack([rows, rows + 10], axis=1)
    assert rotate_pairs(2)(matrix)[:, 1].tolist() == [10, 12, 11, 13, 14, 16, 15, 17]


def test_fused_rows_are_sorted_by_part() -> None:
    """Two heads, each with a query, a key and a value of two rows."""
    rows = np.array([1, 2, 11, 12, 21, 22, 3, 4, 13, 14, 23, 24], dtype=np.float32)
    assert split_heads(2)(rows).tolist() == [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]


def test_gemma_norms_are_stored_less_one() -> None:
    assert plus_one(np.array([0, -0.5], dtype=np.float32)).tolist() == [1, 0.5]

from __future__ import annotations

import numpy as np
import pytest

from servewatt.engines.gguf_layout import layout_of, plus_one, rotate_pairs, split_heads
from servewatt.errors import RefusedError


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


NEOX = {
    "architectures": ["GPTNeoXForCausalLM"],
    "hidden_size": 80,
    "num_attention_heads": 1,
    "num_hidden_layers": 1,
    "intermediate_size": 320,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-5,
}


@pytest.mark.parametrize(
    "spelling",
    [
        {"rotary_pct": 0.5, "rotary_emb_base": 500},
        {"partial_rotary_factor": 0.5, "rope_theta": 500},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500, "partial_rotary_factor": 0.5}},
    ],
)
def test_rotary_settings_of_every_age(spelling: dict[str, object]) -> None:
    metadata = dict(layout_of(NEOX | spelling, "model").metadata)
    assert (metadata["rope.dimension_count"], metadata["rope.freq_base"]) == (40, 500)


@pytest.mark.parametrize(
    "scaling", [{"rope_scaling": {"type": "linear", "factor": 2}}, {"rope_parameters": {"rope_type": "llama3"}}]
)
def test_scaled_rotary_positions_are_refused(scaling: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="rotary scaling"):
        layout_of(NEOX | scaling, "model")


def test_an_architecture_it_lacks_is_refused() -> None:
    with pytest.raises(RefusedError, match="MambaForCausalLM") as refused:
        layout_of({"architectures": ["MambaForCausalLM"]}, "model")
    assert "LlamaForCausalLM" in refused.value.hint

from __future__ import annotations

import pytest

from servewatt.engines.llama_cpp.gguf_architectures import layout_of
from servewatt.errors import RefusedError

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

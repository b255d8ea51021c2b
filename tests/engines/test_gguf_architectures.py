from __future__ import annotations

import pytest

from servewatt.checkpoints.config import Config
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

GEMMA = {
    "architectures": ["GemmaForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "intermediate_size": 128,
}
LLAMA = GEMMA | {"architectures": ["LlamaForCausalLM"]}
PHI = GEMMA | {"architectures": ["PhiForCausalLM"]}


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
    with pytest.raises(RefusedError, match="rotary embeddings of type"):
        layout_of(NEOX | scaling, "model")


def test_an_architecture_it_lacks_is_refused() -> None:
    with pytest.raises(RefusedError, match="MambaForCausalLM") as refused:
        layout_of({"architectures": ["MambaForCausalLM"]}, "model")
    assert "LlamaForCausalLM" in refused.value.hint


def test_gemma_computes_what_hidden_act_names() -> None:
    """transformers reads hidden_act, of which "gelu" means the approximation, and passes over hidden_activation."""
    for able in ({}, {"hidden_act": "gelu"}, {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "relu"}):
        assert layout_of(GEMMA | able, "model").architecture == "gemma"
    for other in ({"hidden_act": "silu"}, {"hidden_act": "relu", "hidden_activation": "gelu_pytorch_tanh"}):
        with pytest.raises(RefusedError, match=f"activation '{other['hidden_act']}'"):
            layout_of(GEMMA | other, "model")


@pytest.mark.engine
@pytest.mark.parametrize("config", [LLAMA, GEMMA, PHI, NEOX], ids=lambda config: config["architectures"][0])
def test_what_a_config_leaves_out_is_what_transformers_takes(config: Config) -> None:
    transformers = pytest.importorskip("transformers")
    given = {key: value for key, value in config.items() if key not in {"max_position_embeddings", "layer_norm_eps"}}
    name = given["architectures"][0].removesuffix("ForCausalLM")
    theirs = getattr(transformers, f"{name}Config")(**{k: v for k, v in given.items() if k != "architectures"})
    ours = dict(layout_of(given, "model").metadata)
    assert ours["context_length"] == theirs.max_position_embeddings
    if name in {"Llama", "Gemma"}:
        assert ours["attention.layer_norm_rms_epsilon"] == theirs.rms_norm_eps
        assert ours["attention.key_length"] == theirs.head_dim
    else:
        assert ours["attention.layer_norm_epsilon"] == theirs.layer_norm_eps


def test_a_key_without_which_nothing_can_be_told_is_named() -> None:
    for missing in ("hidden_size", "num_hidden_layers", "intermediate_size"):
        with pytest.raises(RefusedError, match=f"model: config.json lacks '{missing}'"):
            layout_of({key: value for key, value in LLAMA.items() if key != missing}, "model")

"""The models known by name: the twelve of the published study, today's, and the one that comes with servewatt.

Each entry holds the whole configuration, so that the exact shape can be built with random weights and no network.
Configurations are facts of the models' own pages, written with the keys their authors use, which other tools read
too. Parameter counts are those of the shapes, every stored tensor once.

The study names no revisions. A pinned commit is the one that independent public projects name for the model's main
branch and ran; where none was found, the main branch is resolved at download. Either way every run records its commit.
"""

from __future__ import annotations

from typing import Any

from servewatt.models.catalogue_entry import CatalogueEntry
from servewatt.models.catalogue_recent import PRESENT

BUNDLED = "bundled"
"""Name of the model that comes with servewatt."""


def _gpt2(*, vocabulary: int, context: int, hidden: int, layers: int, heads: int, **more: object) -> dict[str, Any]:
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 0,
        "embd_pdrop": 0.1,
        "eos_token_id": 0,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": context,
        "n_embd": hidden,
        "n_head": heads,
        "n_inner": None,
        "n_layer": layers,
        "n_positions": context,
        "resid_pdrop": 0.1,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": vocabulary,
        **more,
    }


def _gpt_bigcode(*, hidden: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "activation_function": "gelu_pytorch_tanh",
        "architectures": ["GPTBigCodeForCausalLM"],
        "attention_softmax_in_fp32": True,
        "attn_pdrop": 0.1,
        "bos_token_id": 0,
        "embd_pdrop": 0.1,
        "eos_token_id": 0,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt_bigcode",
        "multi_query": True,
        "n_embd": hidden,
        "n_head": heads,
        "n_inner": inner,
        "n_layer": layers,
        "n_positions": 8192,
        "resid_pdrop": 0.1,
        "scale_attention_softmax_in_fp32": True,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 49152,
    }


def _gpt_neox(*, vocabulary: int, context: int, hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "hidden_act": "gelu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": 4 * hidden,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": context,
        "model_type": "gpt_neox",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "use_cache": True,
        "use_parallel_residual": True,
        "vocab_size": vocabulary,
    }


def _bloom(*, hidden: int) -> dict[str, Any]:
    return {
        "apply_residual_connection_post_layernorm": False,
        "architectures": ["BloomForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_dropout": 0.0,
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "bloom",
        "n_head": 16,
        "n_layer": 24,
        "pad_token_id": 3,
        "pretraining_tp": 1,
        "seq_length": 2048,
        "slow_but_exact": False,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 250880,
    }


_TINYLLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 5632,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 22,
    "num_key_value_heads": 4,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 32000,
}

_CODEGEMMA: dict[str, Any] = {
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 16384,
    "max_position_embeddings": 8192,
    "model_type": "gemma",
    "num_attention_heads": 8,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": 256000,
}

_PHI2: dict[str, Any] = {
    "architectures": ["PhiForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 50256,
    "embd_pdrop": 0.0,
    "eos_token_id": 50256,
    "hidden_act": "gelu_new",
    "hidden_size": 2560,
    "initializer_range": 0.02,
    "intermediate_size": 10240,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "phi",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "partial_rotary_factor": 0.4,
    "qk_layernorm": False,
    "resid_pdrop": 0.1,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 51200,
}

_STABLECODE = _gpt_neox(vocabulary=49152, context=4096, hidden=2560, layers=32, heads=32)
_STABLECODE_MASKS = 32 * 4096 * 4096

CATALOGUE: dict[str, CatalogueEntry] = {
    e.name: e
    for e in (
        CatalogueEntry(
            "codeparrot-small",
            "codeparrot/codeparrot-small",
            "GPT2LMHeadModel",
            111_008_256,
            110e6,
            "apache-2.0",
            False,
            _gpt2(
                vocabulary=32768,
                context=1024,
                hidden=768,
                layers=12,
                heads=12,
                reorder_and_upcast_attn=True,
                scale_attn_by_inverse_layer_idx=True,
            ),
        ),
        CatalogueEntry(
            "tiny-starcoder",
            "bigcode/tiny_starcoder_py",
            "GPTBigCodeForCausalLM",
            164_144_128,
            164e6,
            "bigcode-openrail-m",
            False,
            _gpt_bigcode(hidden=768, inner=3072, layers=20, heads=12),
            revision="8547527bef0bc927268c1653cce6948c5c242dd1",
        ),
        CatalogueEntry(
            "pythia-410m",
            "EleutherAI/pythia-410m",
            "GPTNeoXForCausalLM",
            405_334_016,
            405e6,
            "apache-2.0",
            False,
            _gpt_neox(vocabulary=50304, context=2048, hidden=1024, layers=24, heads=16),
            revision="9879c9b5f8bea9051dcb0e68dff21493d67e9d4f",
        ),
        CatalogueEntry(
            "bloomz-560m",
            "bigscience/bloomz-560m",
            "BloomForCausalLM",
            559_214_592,
            559e6,
            "bigscience-bloom-rail-1.0",
            False,
            _bloom(hidden=1024),
            revision="a2845d7e13dd12efae154a9f1c63fcc2e0cc4b05",
        ),
        CatalogueEntry(
            "starcoderbase-1b",
            "bigcode/starcoderbase-1b",
            "GPTBigCodeForCausalLM",
            1_137_207_296,
            1.14e9,
            "bigcode-openrail-m",
            True,
            _gpt_bigcode(hidden=2048, inner=8192, layers=24, heads=16),
            revision="182f0165fdf8da9c9935901eec65c94337f01c11",
        ),
        CatalogueEntry(
            "bloomz-1b1",
            "bigscience/bloomz-1b1",
            "BloomForCausalLM",
            1_065_314_304,
            1.07e9,
            "bigscience-bloom-rail-1.0",
            False,
            _bloom(hidden=1536),
        ),
        CatalogueEntry(
            "tinyllama",
            "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
            "LlamaForCausalLM",
            1_100_048_384,
            1.10e9,
            "apache-2.0",
            False,
            _TINYLLAMA,
            revision="59f6f375b26bde864a6ca194a9a3044570490064",
        ),
        CatalogueEntry(
            "pythia1-4b",
            "EleutherAI/pythia-1.4b",
            "GPTNeoXForCausalLM",
            1_414_647_808,
            1.41e9,
            "apache-2.0",
            False,
            _gpt_neox(vocabulary=50304, context=2048, hidden=2048, layers=24, heads=16),
            revision="fedc38a16eea3bd36a96b906d78d11d2ce18ed79",
        ),
        CatalogueEntry(
            "codegemma-2b",
            "google/codegemma-2b",
            "GemmaForCausalLM",
            2_506_172_416,
            2.51e9,
            "gemma",
            True,
            _CODEGEMMA,
        ),
        CatalogueEntry(
            "phi2",
            "microsoft/phi-2",
            "PhiForCausalLM",
            2_779_683_840,
            2.78e9,
            "mit",
            False,
            _PHI2,
            revision="ef382358ec9e382308935a992d908de099b64c23",
        ),
        CatalogueEntry(
            "stablecode-3b",
            "stabilityai/stablecode-instruct-alpha-3b",
            "GPTNeoXForCausalLM",
            2_769_310_720,
            3.31e9,
            "stablecode-research",
            True,
            _STABLECODE,
            _STABLECODE_MASKS,
        ),
        CatalogueEntry(
            "stablecode-3b-completion",
            "stabilityai/stablecode-completion-alpha-3b-4k",
            "GPTNeoXForCausalLM",
            2_769_310_720,
            3.31e9,
            "apache-2.0",
            False,
            _STABLECODE,
            _STABLECODE_MASKS,
        ),
    )
}


def find(name: str) -> CatalogueEntry | None:
    """The entry whose name or hub id is `name`, whatever the case; None if the catalogue has none."""
    wanted = name.lower()
    return next(
        (e for e in (*CATALOGUE.values(), *PRESENT.values()) if wanted in (e.name.lower(), e.hub_id.lower())), None
    )


def known_names() -> list[str]:
    """Every name that needs no hub id."""
    return [BUNDLED, *CATALOGUE, *PRESENT]

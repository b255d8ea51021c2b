"""Small configurations of present-day architectures, each with what sets it apart."""

from __future__ import annotations

from typing import Any

WINDOW = 12
"""Tokens of a sliding window; prompts have up to 29."""
ORIGINAL = 48
"""Longrope's original context: generations of 64 tokens go beyond."""
_GATED = {"num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 256}
_LONG = {"short_factor": [1.0 + 0.1 * i for i in range(4)], "long_factor": [2.0 + 0.5 * i for i in range(4)]}

RECENT: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", _GATED),
    "qwen2-window": (
        "qwen2",
        {**_GATED, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen2-tied": ("qwen2", {**_GATED, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {**_GATED, "head_dim": 32}),
    "llama-linear": ("llama", {**_GATED, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5}}),
    "llama-llama3": (
        "llama",
        {
            **_GATED,
            "rope_parameters": {
                **{"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0},
                **{"high_freq_factor": 4.0, "original_max_position_embeddings": 64},
            },
        },
    ),
    "llama-yarn": (
        "llama",
        {
            **_GATED,
            "rope_parameters": {
                **{"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0},
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "llama-dynamic": (
        "llama",
        {**_GATED, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    ),
    "llama-head-size": ("llama", {**_GATED, "head_dim": 40}),
    "mistral": ("mistral", {**_GATED, "sliding_window": None}),
    "mistral-window": ("mistral", {**_GATED, "sliding_window": WINDOW}),
    "phi3": ("phi3", {**_GATED, "partial_rotary_factor": 0.5}),
    "phi3-longrope": (
        "phi3",
        {
            **_GATED,
            "partial_rotary_factor": 0.5,
            "original_max_position_embeddings": ORIGINAL,
            "rope_parameters": {
                **{"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
                **_LONG,
            },
        },
    ),
    "starcoder2": ("starcoder2", _GATED),
    "starcoder2-window": ("starcoder2", {**_GATED, "sliding_window": WINDOW}),
    "gemma2": (
        "gemma2",
        {**_GATED, "initializer_range": 0.05, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW},
    ),
    "gemma3": (
        "gemma3_text",
        {**_GATED, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW, "initializer_range": 0.05}
        | {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "gemma3-six": (
        "gemma3_text",
        {**_GATED, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW, "initializer_range": 0.05}
        | {"num_hidden_layers": 6},
    ),
    "granite": (
        "granite",
        {**_GATED, "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22}
        | {"attention_multiplier": 0.1},
    ),
    "granite-hybrid": (
        "granitemoehybrid",
        {**_GATED, "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22}
        | {"attention_multiplier": 0.1, "num_local_experts": 0, "shared_intermediate_size": 128}
        | {"layer_types": ["attention"] * 2, "position_embedding_type": "rope"},
    ),
    "smollm3": ("smollm3", {**_GATED, "num_hidden_layers": 4, "initializer_range": 0.2}),
    "stablelm": ("stablelm", {**_GATED, "use_qkv_bias": True}),
    "stablelm-parallel": ("stablelm", {**_GATED, "use_parallel_residual": True, "qk_layernorm": True}),
    "olmo2": ("olmo2", _GATED),
}
"""Name of the case -> (model type of transformers, its settings beside those that all small models share)."""

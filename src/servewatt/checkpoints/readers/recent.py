"""Readers of the architectures of present-day code models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from servewatt.checkpoints.config import Config
from servewatt.checkpoints.decoder import DecoderShape, Norm, NormPlacement, QueryKeyNorm
from servewatt.checkpoints.readers.fields import activation, rotary_for, sizes, windows_by_type
from servewatt.checkpoints.readers.published import bidirectional, llama
from servewatt.checkpoints.rotary import LONGROPE, rotary_settings
from servewatt.errors import RefusedError

_QWEN_WINDOW = 4096
_QWEN_FULL_LAYERS = 28
_PHI3_CONTEXT = 4096


def _like_llama(architecture: str, config: Config, *, context: int, **more: Any) -> DecoderShape:
    """Llama but for `more`; what the file leaves out is as the architecture has it."""
    shape = llama({"max_position_embeddings": context, **config})
    return replace(shape, architecture=architecture, **more)


def mistral(config: Config) -> DecoderShape:
    """Mistral: Llama with a sliding window."""
    window = config.get("sliding_window", 4096)
    known = {name: value for name, value in config.items() if name not in {"attention_bias", "mlp_bias"}}
    shape = _like_llama("MistralForCausalLM", {"num_key_value_heads": 8, **known}, context=131072)
    return replace(shape, windows=(window,) * shape.layers if window else ())


def _qwen(architecture: str, config: Config, **more: Any) -> DecoderShape:
    shape = _like_llama(architecture, config, context=32768, **more)
    window = config.get("sliding_window", _QWEN_WINDOW) if config.get("use_sliding_window") else None
    first = config.get("max_window_layers", _QWEN_FULL_LAYERS)
    types = ["sliding_attention" if i >= first else "full_attention" for i in range(shape.layers)]
    return replace(shape, windows=windows_by_type(config, shape.layers, types, window))


def qwen2(config: Config) -> DecoderShape:
    """Qwen2 (Qwen2.5-Coder): Llama with biases of queries, keys and values."""
    return _qwen("Qwen2ForCausalLM", config, qkv_bias=True, out_bias=False, mlp_bias=False)


def qwen3(config: Config) -> DecoderShape:
    """Qwen3: Llama with norms of queries and keys."""
    return _qwen("Qwen3ForCausalLM", {"head_dim": 128, **config}, query_key_norm=QueryKeyNorm.HEAD, mlp_bias=False)


def phi3(config: Config) -> DecoderShape:
    """Phi 3 and 4: Llama with a part of each head rotating, often longrope."""
    known = {"original_max_position_embeddings": _PHI3_CONTEXT, "rms_norm_eps": 1e-5, **config}
    shape = _like_llama("Phi3ForCausalLM", known, context=_PHI3_CONTEXT, qkv_bias=False, out_bias=False, mlp_bias=False)
    if shape.rotary is not None and shape.rotary.kind == "yarn":  # transformers reads an older file's word so
        given = {**rotary_settings(known).given, "rope_type": LONGROPE}
        rotary = rotary_settings({**known, "rope_scaling": given}).rotary(shape.head_size, shape.context)
        shape = replace(shape, rotary=rotary)
    window = config.get("sliding_window")
    return replace(shape, recomputes_longer=True, windows=(window,) * shape.layers if window else ())


def starcoder2(config: Config) -> DecoderShape:
    """StarCoder2: LayerNorm, no gate, biases, a sliding window."""
    sized = sizes({"num_key_value_heads": 2, **config}, context=4096)
    biased = config.get("use_bias", True)
    window = config.get("sliding_window")
    return DecoderShape(
        architecture="Starcoder2ForCausalLM",
        **sized,
        norm=Norm.LAYER,
        epsilon=config.get("norm_epsilon", 1e-5),
        **activation(config.get("hidden_act", "gelu_pytorch_tanh")),
        tied=config.get("tie_word_embeddings", True),
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=biased,
        scaling=sized["head_size"] ** -0.5,
        rotary=rotary_for(sized, config),
        windows=(window,) * sized["layers"] if window else (),
    )


def _gemma_2_or_3(architecture: str, config: Config, types: list[str], context: int, **more: Any) -> DecoderShape:
    sized = sizes({"head_dim": 256, "num_key_value_heads": 4, **config}, context=context)
    biased = config.get("attention_bias", False)
    return DecoderShape(
        architecture=architecture,
        **sized,
        norm=Norm.RMS,
        epsilon=config.get("rms_norm_eps", 1e-6),
        **activation(config.get("hidden_activation", "gelu_pytorch_tanh")),
        tied=config.get("tie_word_embeddings", True),
        gated=True,
        qkv_bias=biased,
        out_bias=biased,
        embedding_scale=math.sqrt(sized["hidden"]),
        norm_offset=1.0,
        norm_placement=NormPlacement.AROUND,
        scaling=config.get("query_pre_attn_scalar", 256) ** -0.5,
        windows=windows_by_type(config, sized["layers"], types, config.get("sliding_window", 4096)),
        beyond=bidirectional(config),
        **more,
    )


def gemma2(config: Config) -> DecoderShape:
    """Gemma 2: norms around, soft caps, every other layer with a sliding window."""
    types = ["full_attention" if i % 2 else "sliding_attention" for i in range(config["num_hidden_layers"])]
    shape = _gemma_2_or_3(
        "Gemma2ForCausalLM",
        config,
        types,
        8192,
        attention_soft_cap=config.get("attn_logit_softcapping", 50.0),
        logit_soft_cap=config.get("final_logit_softcapping", 30.0),
    )
    sized = {"head_size": shape.head_size, "context": shape.context}
    return replace(shape, rotary=rotary_for(sized, config))


def gemma3(config: Config) -> DecoderShape:
    """Gemma 3's text model: norms of queries and keys, and another rotary base where the window slides."""
    layers, every = config["num_hidden_layers"], config.get("sliding_window_pattern", 6)
    types = ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(layers)]
    shape = _gemma_2_or_3(
        "Gemma3ForCausalLM",
        config,
        types,
        131072,
        query_key_norm=QueryKeyNorm.HEAD,
        # transformers' Gemma 3 passes over attn_logit_softcapping.
        logit_soft_cap=config.get("final_logit_softcapping"),
    )
    named = config.get("rope_parameters") or {}
    by_type = {kind: table for kind, table in named.items() if isinstance(table, dict)}
    whole = {**by_type.get("full_attention", {}), **(config.get("rope_scaling") or {})}
    local = by_type.get("sliding_attention", {})
    rest = {name: value for name, value in config.items() if not name.startswith("rope_")}
    bases = (config.get("rope_theta", 1_000_000.0), config.get("rope_local_base_freq", 10_000.0))
    full, sliding = (
        rotary_settings({**rest, "rope_parameters": table}).rotary(shape.head_size, shape.context, base=base)
        for table, base in zip((whole, local), bases, strict=True)
    )
    kinds = config.get("layer_types") or types
    by_layer = tuple(sliding if kind == "sliding_attention" else full for kind in kinds)
    return replace(shape, rotary=full, rotary_by_layer=by_layer if full != sliding else ())


def granite(config: Config) -> DecoderShape:
    """Granite: Llama with multipliers."""
    return _like_llama(
        "GraniteForCausalLM",
        config,
        context=2048,
        embedding_scale=float(config.get("embedding_multiplier", 1.0)),
        residual_scale=float(config.get("residual_multiplier", 1.0)),
        logit_scale=1 / config.get("logits_scaling", 1.0),
        scaling=float(config.get("attention_multiplier", 1.0)),
    )


def granite_moe_hybrid(config: Config) -> DecoderShape:
    """Its dense variants: no experts, attention in every layer."""
    if config.get("num_local_experts", 8):
        raise RefusedError("mixtures of experts have no description here", "use engine torch")
    kinds = config.get("layer_types") or config.get("layers_block_type") or ["mamba"]
    if strange := sorted({kind for kind in kinds if kind not in {"attention", "full_attention"}}):
        raise RefusedError(f"layers of type {strange[0]!r} have no description here", "use engine torch")
    shape = granite({**config, "intermediate_size": config.get("shared_intermediate_size", 1024), "mlp_bias": False})
    rotary = shape.rotary if config.get("position_embedding_type") == "rope" else None
    return replace(shape, architecture="GraniteMoeHybridForCausalLM", rotary=rotary)


def smollm3(config: Config) -> DecoderShape:
    """SmolLM3: Llama whose every fourth layer does not rotate."""
    known = {"rope_theta": 2_000_000.0, "num_key_value_heads": 4, **config}
    shape = _like_llama("SmolLM3ForCausalLM", known, context=32768, tied=config.get("tie_word_embeddings", True))
    every = config.get("no_rope_layer_interval", 4)
    # 1 is a layer that rotates.
    rotates = config.get("no_rope_layers") or [int((i + 1) % every != 0) for i in range(shape.layers)]
    by_layer = tuple(shape.rotary if each else None for each in rotates)
    window = config.get("sliding_window") if config.get("use_sliding_window") else None
    types = ["full_attention" if each else "sliding_attention" for each in rotates]
    return replace(
        shape,
        rotary_by_layer=by_layer if None in by_layer else (),
        windows=windows_by_type(config, shape.layers, types, window),
    )


def stablelm(config: Config) -> DecoderShape:
    """StableLM: LayerNorm and a gate, a quarter of each head rotates."""
    sized = sizes({"num_key_value_heads": 32, **config}, context=4096)
    parallel = config.get("use_parallel_residual", False)
    return DecoderShape(
        architecture="StableLmForCausalLM",
        **sized,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_eps", 1e-5),
        **activation(config.get("hidden_act", "silu")),
        tied=config.get("tie_word_embeddings", False),
        gated=True,
        parallel=parallel,
        one_norm=parallel,
        qkv_bias=config.get("use_qkv_bias", False),
        query_key_norm=QueryKeyNorm.EACH_HEAD if config.get("qk_layernorm") else QueryKeyNorm.NONE,
        scaling=sized["head_size"] ** -0.5,
        rotary=rotary_for(sized, config, 0.25),
    )


def olmo2(config: Config) -> DecoderShape:
    """OLMo 2: norms after each half, and of all queries and keys of a token together."""
    return _like_llama(
        "Olmo2ForCausalLM",
        {"rms_norm_eps": 1e-5, **config},
        context=2048,
        mlp_bias=False,
        norm_placement=NormPlacement.AFTER,
        query_key_norm=QueryKeyNorm.WIDTH,
    )

"""Readers of the published study's architectures, and of CodeGen."""

from __future__ import annotations

import math
from typing import Any

from servewatt.checkpoints.config import Config
from servewatt.checkpoints.decoder import DecoderShape, Feature, Norm, QueryKeyNorm
from servewatt.checkpoints.readers.fields import activation, need, rotary_for, sizes


def llama(config: Config) -> DecoderShape:
    """Llama, whatever the scaling of its rotary embeddings."""
    sized = sizes(config, context=2048)
    biased = config.get("attention_bias", False)
    return DecoderShape(
        architecture="LlamaForCausalLM",
        **sized,
        norm=Norm.RMS,
        epsilon=config.get("rms_norm_eps", 1e-6),
        **activation(config.get("hidden_act", "silu")),
        tied=config.get("tie_word_embeddings", False),
        gated=True,
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=config.get("mlp_bias", False),
        scaling=sized["head_size"] ** -0.5,
        rotary=rotary_for(sized, config),
    )


def gemma(config: Config) -> DecoderShape:
    """Gemma: norms of one plus their weight, scaled embeddings."""
    sized = sizes({"head_dim": 256, **config}, context=8192)
    # transformers computes hidden_act and passes over hidden_activation. The official files say "gelu" and mean its
    # approximation; see its modeling_gemma.py and configuration_gemma.py.
    named = config.get("hidden_act") or "gelu"
    biased = config.get("attention_bias", False)
    return DecoderShape(
        architecture="GemmaForCausalLM",
        **sized,
        norm=Norm.RMS,
        epsilon=config.get("rms_norm_eps", 1e-6),
        **activation("gelu_pytorch_tanh" if named == "gelu" else named),
        tied=config.get("tie_word_embeddings", True),
        gated=True,
        qkv_bias=biased,
        out_bias=biased,
        embedding_scale=math.sqrt(sized["hidden"]),
        norm_offset=1.0,
        scaling=sized["head_size"] ** -0.5,
        rotary=rotary_for(sized, config),
        beyond=bidirectional(config),
    )


def bidirectional(config: Config) -> frozenset[Feature]:
    """What a file of the Gemmas asks for that no decoder does."""
    return frozenset({Feature.BIDIRECTIONAL} if config.get("use_bidirectional_attention") else ())


def gpt_neox(config: Config) -> DecoderShape:
    """GPT-NeoX (Pythia): attention and feed-forward layer in parallel, a quarter of each head rotates."""
    sized = sizes({k: v for k, v in config.items() if k not in {"head_dim", "num_key_value_heads"}}, context=2048)
    biased = config.get("attention_bias", True)
    return DecoderShape(
        architecture="GPTNeoXForCausalLM",
        **sized,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_eps", 1e-5),
        **activation(config.get("hidden_act", "gelu")),
        tied=config.get("tie_word_embeddings", False),
        parallel=config.get("use_parallel_residual", True),
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=True,
        scaling=sized["head_size"] ** -0.5,
        rotary=rotary_for(sized, config, 0.25),
    )


def phi(config: Config) -> DecoderShape:
    """Phi 1 and 2: in parallel behind one norm."""
    sized = sizes(config, context=2048)
    return DecoderShape(
        architecture="PhiForCausalLM",
        **sized,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_eps", 1e-5),
        **activation(config.get("hidden_act", "gelu_new")),
        tied=config.get("tie_word_embeddings", False),
        parallel=True,
        one_norm=True,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        head_bias=True,
        query_key_norm=QueryKeyNorm.HEAD if config.get("qk_layernorm") else QueryKeyNorm.NONE,
        scaling=sized["head_size"] ** -0.5,
        rotary=rotary_for(sized, config, 0.5),
    )


def _gpt2_sizes(config: Config, context: int) -> dict[str, Any]:
    """Their files use either name of each size."""
    hidden, heads = need(config, "n_embd", "hidden_size"), need(config, "n_head", "num_attention_heads")
    return {
        "vocabulary": config.get("vocab_size", 50257),
        "context": config.get("n_positions") or config.get("max_position_embeddings", context),
        "hidden": hidden,
        "inner": config.get("n_inner") or 4 * hidden,
        "layers": need(config, "n_layer", "num_hidden_layers"),
        "heads": heads,
        "head_size": hidden // heads,
    }


def _gpt2_family(architecture: str, config: Config, kv_heads: int | None, act: str) -> DecoderShape:
    """GPT-2 and its multi-query descendant."""
    sized = _gpt2_sizes(config, 1024)
    return DecoderShape(
        architecture=architecture,
        **sized,
        kv_heads=kv_heads or sized["heads"],
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        **activation(config.get("activation_function", act)),
        tied=config.get("tie_word_embeddings", True),
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        learned_positions=True,
        scaling=sized["head_size"] ** -0.5 if config.get("scale_attn_weights", True) else 1.0,
        scaling_by_layer=config.get("scale_attn_by_inverse_layer_idx", False),
        beyond=frozenset({Feature.CROSS_ATTENTION} if config.get("add_cross_attention") else ()),
    )


def gpt2(config: Config) -> DecoderShape:
    """GPT-2: learned positions."""
    return _gpt2_family("GPT2LMHeadModel", config, None, "gelu_new")


def gpt_bigcode(config: Config) -> DecoderShape:
    """GPTBigCode (StarCoder): GPT-2 with one head of keys and values."""
    kv_heads = 1 if config.get("multi_query", True) else None
    return _gpt2_family("GPTBigCodeForCausalLM", config, kv_heads, "gelu_pytorch_tanh")


def codegen(config: Config) -> DecoderShape:
    """CodeGen: in parallel behind one norm, neighbours rotate together."""
    sized = _gpt2_sizes(config, 2048)
    size = config.get("rotary_dim", 64)
    return DecoderShape(
        architecture="CodeGenForCausalLM",
        **sized,
        kv_heads=sized["heads"],
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        **activation(config.get("activation_function", "gelu_new")),
        tied=config.get("tie_word_embeddings", False),
        parallel=True,
        one_norm=True,
        mlp_bias=True,
        head_bias=True,
        scaling=sized["head_size"] ** -0.5,
        rotary=rotary_for({**sized, "head_size": size}, config, interleaved=True) if size else None,
    )


def bloom(config: Config) -> DecoderShape:
    """Bloom: ALiBi, and a norm of the embeddings."""
    hidden = config.get("hidden_size") or config["n_embed"]
    heads = need(config, "n_head", "num_attention_heads")
    after = config.get("apply_residual_connection_post_layernorm")
    return DecoderShape(
        architecture="BloomForCausalLM",
        vocabulary=config.get("vocab_size", 250880),
        context=config.get("seq_length") or 2048,
        hidden=hidden,
        inner=4 * hidden,
        layers=need(config, "n_layer", "num_hidden_layers"),
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        **activation("gelu_pytorch_tanh"),
        tied=config.get("tie_word_embeddings", True),
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        alibi=True,
        embedding_norm=True,
        scaling=(hidden // heads) ** -0.5,
        beyond=frozenset({Feature.RESIDUAL_AFTER_NORM} if after else ()),
    )

"""Structure of a decoder-only transformer, read from config.json without any tensor library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from servewatt.checkpoints.rope import DEFAULT, rope_of
from servewatt.engines.shared.weights import read_config
from servewatt.errors import RefusedError
from servewatt.records import Model


class Norm(StrEnum):
    """How activations are normalised: LayerNorm with weight and bias, or root mean square with weight."""

    LAYER = "layer"
    RMS = "rms"


class Activation(StrEnum):
    """The feed-forward layer's non-linear function."""

    GELU = "gelu"
    """With the error function."""
    GELU_TANH = "gelu_tanh"
    SILU = "silu"
    RELU = "relu"


_ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "relu": Activation.RELU,
}
"""Names in config.json, as transformers knows them."""


@dataclass(frozen=True)
class DecoderShape:
    """A decoder-only transformer but for its weights."""

    architecture: str
    vocabulary: int
    context: int
    """Most tokens a row may have."""
    hidden: int
    inner: int
    """Width of the feed-forward layer."""
    layers: int
    heads: int
    kv_heads: int
    """Heads of keys and values; `heads` is a multiple."""
    head_size: int
    norm: Norm
    epsilon: float
    activation: Activation
    tied: bool
    """Whether the output projection is the embedding."""
    gated: bool = False
    """Whether the feed-forward layer multiplies the activation by a second projection."""
    parallel: bool = False
    """Whether attention and feed-forward layer read the same input and are added together."""
    one_norm: bool = False
    """Whether a parallel layer's two halves share their norm."""
    rotary_size: int = 0
    """Components of each head that rotate with the position; 0 without rotary embedding."""
    rotary_base: float = 10000.0
    alibi: bool = False
    learned_positions: bool = False
    embedding_norm: bool = False
    embedding_scale: float = 1.0
    norm_offset: float = 0.0
    """Added to the stored weights of norms."""
    scaling: float = 1.0
    """Factor of attention scores."""
    scaling_by_layer: bool = False
    """Whether layer n, from 0, divides its scores by n + 1 as well."""

    @property
    def groups(self) -> int:
        """Query heads that share keys and values."""
        return self.heads // self.kv_heads

    @property
    def qkv_size(self) -> int:
        """Queries, keys and values of one token."""
        return (self.heads + 2 * self.kv_heads) * self.head_size

    @property
    def up_size(self) -> int:
        """Outputs of the feed-forward layer's first matrix, the gate's before the others."""
        return self.inner * (2 if self.gated else 1)


def decoder_shape(model: Model) -> DecoderShape:
    """The shape that the model's config.json describes; RefusedError for what `torch-graph` does not compute."""
    config = read_config(model)
    if "auto_map" in config:
        raise RefusedError(f"{model.name}: its code is remote code, which is never run", "use a standard architecture")
    if model.architecture not in _READERS:
        known = ", ".join(sorted(_READERS))
        raise RefusedError(f"{model.name}: torch-graph does not know {model.architecture}", f"it knows {known}")
    try:
        return _READERS[model.architecture](config)
    except KeyError as error:
        raise RefusedError(f"{model.name}: config.json lacks {error}", "use engine torch") from error


def _refuse_if(condition: object, what: str) -> None:
    if condition:
        raise RefusedError(f"torch-graph does not compute {what}", "use engine torch")


def _activation(name: str) -> Activation:
    _refuse_if(name not in _ACTIVATIONS, f"activation {name!r}")
    return _ACTIVATIONS[name]


def _rotary(config: Mapping[str, Any], head_size: int, fraction: float) -> dict[str, Any]:
    """Size and base of the rotary embedding, by the keys of transformers 5 or the older ones."""
    rope = rope_of(config, fraction)
    _refuse_if(rope.kind != DEFAULT, f"rotary embedding of type {rope.kind!r}")
    return {"rotary_size": int(head_size * rope.share), "rotary_base": rope.base}


def _llama(config: Mapping[str, Any]) -> DecoderShape:
    hidden, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    head_size = config.get("head_dim") or hidden // heads
    return DecoderShape(
        architecture="LlamaForCausalLM",
        vocabulary=config["vocab_size"],
        context=config.get("max_position_embeddings", 2048),
        hidden=hidden,
        inner=config["intermediate_size"],
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=head_size,
        norm=Norm.RMS,
        epsilon=config.get("rms_norm_eps", 1e-6),
        activation=_activation(config.get("hidden_act", "silu")),
        tied=config.get("tie_word_embeddings", False),
        gated=True,
        scaling=head_size**-0.5,
        **_rotary(config, head_size, 1.0),
    )


def _gemma(config: Mapping[str, Any]) -> DecoderShape:
    _refuse_if(config.get("use_bidirectional_attention"), "bidirectional attention")
    hidden, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    head_size = config.get("head_dim") or 256
    # transformers computes hidden_act and passes over hidden_activation. The official files say "gelu" and mean its
    # approximation; see its modeling_gemma.py and configuration_gemma.py.
    named = config.get("hidden_act") or "gelu"
    return DecoderShape(
        architecture="GemmaForCausalLM",
        vocabulary=config["vocab_size"],
        context=config.get("max_position_embeddings", 8192),
        hidden=hidden,
        inner=config["intermediate_size"],
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=head_size,
        norm=Norm.RMS,
        epsilon=config.get("rms_norm_eps", 1e-6),
        activation=Activation.GELU_TANH if named == "gelu" else _activation(named),
        tied=config.get("tie_word_embeddings", True),
        gated=True,
        embedding_scale=math.sqrt(hidden),
        norm_offset=1.0,
        scaling=head_size**-0.5,
        **_rotary(config, head_size, 1.0),
    )


def _gpt_neox(config: Mapping[str, Any]) -> DecoderShape:
    hidden, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    head_size = hidden // heads
    return DecoderShape(
        architecture="GPTNeoXForCausalLM",
        vocabulary=config["vocab_size"],
        context=config.get("max_position_embeddings", 2048),
        hidden=hidden,
        inner=config["intermediate_size"],
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_size=head_size,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_eps", 1e-5),
        activation=_activation(config.get("hidden_act", "gelu")),
        tied=config.get("tie_word_embeddings", False),
        parallel=config.get("use_parallel_residual", True),
        scaling=head_size**-0.5,
        **_rotary(config, head_size, 0.25),
    )


def _phi(config: Mapping[str, Any]) -> DecoderShape:
    _refuse_if(config.get("qk_layernorm"), "norms of queries and keys")
    hidden, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    head_size = config.get("head_dim") or hidden // heads
    return DecoderShape(
        architecture="PhiForCausalLM",
        vocabulary=config["vocab_size"],
        context=config.get("max_position_embeddings", 2048),
        hidden=hidden,
        inner=config["intermediate_size"],
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=head_size,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_eps", 1e-5),
        activation=_activation(config.get("hidden_act", "gelu_new")),
        tied=config.get("tie_word_embeddings", False),
        parallel=True,
        one_norm=True,
        scaling=head_size**-0.5,
        **_rotary(config, head_size, 0.5),
    )


def _gpt2_family(architecture: str, config: Mapping[str, Any], kv_heads: int | None) -> DecoderShape:
    """GPT-2 and its multi-query descendant; their files use either name of each size."""
    _refuse_if(config.get("add_cross_attention"), "cross-attention")

    def first(*names: str) -> Any:
        return next((config[name] for name in names if config.get(name) is not None), None) or config[names[0]]

    hidden, heads = first("n_embd", "hidden_size"), first("n_head", "num_attention_heads")
    layers = first("n_layer", "num_hidden_layers")
    return DecoderShape(
        architecture=architecture,
        vocabulary=config["vocab_size"],
        context=first("n_positions", "max_position_embeddings"),
        hidden=hidden,
        inner=config.get("n_inner") or 4 * hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads or heads,
        head_size=hidden // heads,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        activation=_activation(config.get("activation_function", "gelu_new")),
        tied=config.get("tie_word_embeddings", True),
        learned_positions=True,
        scaling=(hidden // heads) ** -0.5 if config.get("scale_attn_weights", True) else 1.0,
        scaling_by_layer=config.get("scale_attn_by_inverse_layer_idx", False),
    )


def _gpt2(config: Mapping[str, Any]) -> DecoderShape:
    return _gpt2_family("GPT2LMHeadModel", config, None)


def _gpt_bigcode(config: Mapping[str, Any]) -> DecoderShape:
    return _gpt2_family("GPTBigCodeForCausalLM", config, 1 if config.get("multi_query", True) else None)


def _bloom(config: Mapping[str, Any]) -> DecoderShape:
    _refuse_if(config.get("apply_residual_connection_post_layernorm"), "residuals taken after the norm")
    hidden = config.get("hidden_size") or config["n_embed"]
    heads = config.get("n_head") or config["num_attention_heads"]
    layers = config.get("n_layer") or config["num_hidden_layers"]
    return DecoderShape(
        architecture="BloomForCausalLM",
        vocabulary=config["vocab_size"],
        context=config.get("seq_length") or 2048,
        hidden=hidden,
        inner=4 * hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        norm=Norm.LAYER,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        activation=Activation.GELU_TANH,
        tied=config.get("tie_word_embeddings", True),
        alibi=True,
        embedding_norm=True,
        scaling=(hidden // heads) ** -0.5,
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], DecoderShape]] = {
    "LlamaForCausalLM": _llama,
    "GemmaForCausalLM": _gemma,
    "GPTNeoXForCausalLM": _gpt_neox,
    "PhiForCausalLM": _phi,
    "GPT2LMHeadModel": _gpt2,
    "GPTBigCodeForCausalLM": _gpt_bigcode,
    "BloomForCausalLM": _bloom,
}

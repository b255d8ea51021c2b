"""How each architecture's tensors and hyperparameters are named in a GGUF file, and how the tensors must be rearranged.

The names are llama.cpp's (https://github.com/ggml-org/llama.cpp, src/llama-arch.cpp and src/models), the conventions
those of its own converters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.errors import RefusedError

Config = Mapping[str, Any]
Array = npt.NDArray[np.float32]
Change = Callable[[Array], Array]

_GELU_TANH = frozenset({"gelu_new", "gelu_pytorch_tanh", "gelu_fast"})
"""Names in config.json of the GELU that llama.cpp computes."""


class Role(Enum):
    """What a tensor is, which decides the types it may be stored in."""

    MATRIX = "matrix"
    """Multiplied with activations."""
    EMBEDDING = "embedding"
    """Looked up by token; multiplied, too, where the output projection is tied to it."""
    POSITION = "position"
    """Looked up by position."""
    VECTOR = "vector"
    """A bias or the weight of a norm."""


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of the file and where it comes from."""

    name: str
    source: str
    """Name in the checkpoint; the prefix of the inner model may be missing there."""
    role: Role
    change: Change | None = None
    """Applied to the checkpoint's array in fp32; keeps the shape."""
    transposed: bool = False
    """Whether the checkpoint holds it as (in, out); comes before `change`."""


@dataclass(frozen=True)
class Layout:
    """A model as llama.cpp wants it."""

    architecture: str
    """llama.cpp's name."""
    prefix: str
    """Prefix of the inner model's tensors in a checkpoint, such as `model.`."""
    metadata: tuple[tuple[str, int | float | bool], ...]
    """Hyperparameters; keys without the architecture in front."""
    tensors: tuple[GgufTensor, ...]
    learned_positions: int | None = None
    """Positions that exist, where they are learned; None where any position can be computed."""


def layout_of(config: Config, where: str) -> Layout:
    """The layout for a config.json. RefusedError for an architecture, or a variant of one, that llama.cpp lacks."""
    architectures = config.get("architectures") or [""]
    build = _LAYOUTS.get(architectures[0])
    if build is None:
        raise RefusedError(
            f"{where}: engine llama-cpp has no {architectures[0] or 'unnamed architecture'}",
            f"it runs {', '.join(sorted(_LAYOUTS))}",
        )
    return build(config, where)


def _refuse_unless(possible: bool, where: str, what: str) -> None:
    if not possible:
        raise RefusedError(f"{where}: llama.cpp has no {what} for this architecture", "use another engine")


def _check_activation(config: Config, key: str, default: str, able: frozenset[str], where: str) -> None:
    name = config.get(key) or default
    _refuse_unless(name in able, where, f"activation {name!r}")


def _rope(config: Config, where: str, default_share: float = 1.0) -> tuple[float, float]:
    """(base, share of each head that is rotated)."""
    stated = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or {}
    kind = stated.get("rope_type") or scaling.get("rope_type") or scaling.get("type") or "default"
    _refuse_unless(kind == "default", where, f"export of {kind!r} rotary scaling")

    def first(default: float, *names: str) -> float:
        places = (place[name] for place in (stated, config) for name in names if place.get(name) is not None)
        return float(next(places, default))

    base = first(10000.0, "rope_theta", "rotary_emb_base")
    return base, first(default_share, "partial_rotary_factor", "rotary_pct")


def _tied(config: Config, default: bool) -> bool:
    stated = config.get("tie_word_embeddings")
    return default if stated is None else bool(stated)


def _vectors(name: str, source: str, change: Change | None = None) -> list[GgufTensor]:
    """Weight and bias of a layer norm."""
    return [GgufTensor(f"{name}.{part}", f"{source}.{part}", Role.VECTOR, change) for part in ("weight", "bias")]


def _linear(name: str, source: str, change: Change | None = None, *, transposed: bool = False) -> list[GgufTensor]:
    """Weight and bias of a linear layer; `change` concerns the rows of both."""
    return [
        GgufTensor(f"{name}.weight", f"{source}.weight", Role.MATRIX, change, transposed),
        GgufTensor(f"{name}.bias", f"{source}.bias", Role.VECTOR, change),
    ]


def _matrix(name: str, source: str, change: Change | None = None) -> GgufTensor:
    return GgufTensor(f"{name}.weight", f"{source}.weight", Role.MATRIX, change)


def _bare(name: str, source: str, change: Change | None = None) -> list[GgufTensor]:
    """Weight of a linear layer without bias."""
    return [_matrix(name, source, change)]


def rotate_pairs(heads: int) -> Change:
    """Rows of a query or key projection from halves (as in transformers) to neighbours (llama.cpp's Llama)."""

    def change(array: Array) -> Array:
        halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
        return halves.swapaxes(1, 2).reshape(array.shape)

    return change


def split_heads(heads: int) -> Change:
    """Rows of a fused projection from (head, q k v) order to (q k v, head) order."""

    def change(array: Array) -> Array:
        fused = array.reshape(heads, 3, array.shape[0] // heads // 3, *array.shape[1:])
        return fused.swapaxes(0, 1).reshape(array.shape)

    return change


def plus_one(array: Array) -> Array:
    """Gemma's norms multiply by one plus the stored weight."""
    return array + np.float32(1)


def _scale_queries(hidden: int, factor: float) -> Change:
    """Multiply the query rows of a fused (q k v) projection."""

    def change(array: Array) -> Array:
        scaled = array.copy()
        scaled[:hidden] *= np.float32(factor)
        return scaled

    return change


def _llama(config: Config, where: str) -> Layout:
    _check_activation(config, "hidden_act", "silu", frozenset({"silu"}), where)
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    size = int(config.get("head_dim") or config["hidden_size"] // heads)
    base, _ = _rope(config, where)
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output_norm.weight", "norm.weight", Role.VECTOR),
    ]
    if not _tied(config, False):
        tensors.append(_matrix("output", "lm_head"))
    projection = _linear if config.get("attention_bias") else _bare
    feed_forward = _linear if config.get("mlp_bias") else _bare
    for i in range(int(config["num_hidden_layers"])):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        for part, count in (("q", heads), ("k", kv_heads)):
            tensors += projection(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj", rotate_pairs(count))
        tensors += projection(f"{ours}.attn_v", f"{theirs}.self_attn.v_proj")
        tensors += projection(f"{ours}.attn_output", f"{theirs}.self_attn.o_proj")
        for part in ("gate", "up", "down"):
            tensors += feed_forward(f"{ours}.ffn_{part}", f"{theirs}.mlp.{part}_proj")
        tensors.append(GgufTensor(f"{ours}.attn_norm.weight", f"{theirs}.input_layernorm.weight", Role.VECTOR))
        tensors.append(GgufTensor(f"{ours}.ffn_norm.weight", f"{theirs}.post_attention_layernorm.weight", Role.VECTOR))
    metadata = (
        ("context_length", int(config["max_position_embeddings"])),
        ("embedding_length", int(config["hidden_size"])),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", kv_heads),
        ("attention.key_length", size),
        ("attention.value_length", size),
        ("attention.layer_norm_rms_epsilon", float(config["rms_norm_eps"])),
        ("rope.dimension_count", size),
        ("rope.freq_base", base),
    )
    return Layout("llama", "model.", metadata, tuple(tensors))


def _gemma(config: Config, where: str) -> Layout:
    _check_activation(config, "hidden_activation", "gelu_pytorch_tanh", _GELU_TANH, where)
    _refuse_unless(_tied(config, True), where, "output projection of its own")
    _refuse_unless(not config.get("attention_bias"), where, "bias of the attention")
    heads, size = int(config["num_attention_heads"]), int(config["head_dim"])
    base, _ = _rope(config, where)
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output_norm.weight", "norm.weight", Role.VECTOR, plus_one),
    ]
    for i in range(int(config["num_hidden_layers"])):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        tensors += [_matrix(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj") for part in "qkv"]
        tensors.append(_matrix(f"{ours}.attn_output", f"{theirs}.self_attn.o_proj"))
        tensors += [_matrix(f"{ours}.ffn_{part}", f"{theirs}.mlp.{part}_proj") for part in ("gate", "up", "down")]
        for name, source in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")):
            tensors.append(GgufTensor(f"{ours}.{name}.weight", f"{theirs}.{source}.weight", Role.VECTOR, plus_one))
    metadata = (
        ("context_length", int(config["max_position_embeddings"])),
        ("embedding_length", int(config["hidden_size"])),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", int(config.get("num_key_value_heads") or heads)),
        ("attention.key_length", size),
        ("attention.value_length", size),
        ("attention.layer_norm_rms_epsilon", float(config["rms_norm_eps"])),
        ("rope.dimension_count", size),
        ("rope.freq_base", base),
    )
    return Layout("gemma", "model.", metadata, tuple(tensors))


def _gpt2_like(config: Config, name: str, kv_heads: int, tensors: list[GgufTensor]) -> Layout:
    if not _tied(config, True):
        tensors.append(_matrix("output", "lm_head"))
    tensors += [
        GgufTensor("token_embd.weight", "wte.weight", Role.EMBEDDING),
        GgufTensor("position_embd.weight", "wpe.weight", Role.POSITION),
        *_vectors("output_norm", "ln_f"),
    ]
    hidden, positions = int(config["n_embd"]), int(config["n_positions"])
    metadata = (
        ("context_length", positions),
        ("embedding_length", hidden),
        ("block_count", int(config["n_layer"])),
        ("feed_forward_length", int(config.get("n_inner") or 4 * hidden)),
        ("attention.head_count", int(config["n_head"])),
        ("attention.head_count_kv", kv_heads),
        ("attention.layer_norm_epsilon", float(config.get("layer_norm_epsilon", 1e-5))),
    )
    return Layout(name, "transformer.", metadata, tuple(tensors), positions)


def _gpt2(config: Config, where: str) -> Layout:
    _check_activation(config, "activation_function", "gelu_new", _GELU_TANH, where)
    _refuse_unless(config.get("scale_attn_weights", True), where, "unscaled attention")
    hidden = int(config["n_embd"])
    by_layer = bool(config.get("scale_attn_by_inverse_layer_idx"))
    tensors: list[GgufTensor] = []
    for i in range(int(config["n_layer"])):
        ours, theirs = f"blk.{i}", f"h.{i}"
        # Scores of layer i are divided by i + 1: the same as dividing the queries.
        scale = _scale_queries(hidden, 1 / (i + 1)) if by_layer else None
        tensors += _linear(f"{ours}.attn_qkv", f"{theirs}.attn.c_attn", scale, transposed=True)
        tensors += _linear(f"{ours}.attn_output", f"{theirs}.attn.c_proj", transposed=True)
        tensors += _linear(f"{ours}.ffn_up", f"{theirs}.mlp.c_fc", transposed=True)
        tensors += _linear(f"{ours}.ffn_down", f"{theirs}.mlp.c_proj", transposed=True)
        tensors += _vectors(f"{ours}.attn_norm", f"{theirs}.ln_1") + _vectors(f"{ours}.ffn_norm", f"{theirs}.ln_2")
    return _gpt2_like(config, "gpt2", int(config["n_head"]), tensors)


def _gpt_bigcode(config: Config, where: str) -> Layout:
    _check_activation(config, "activation_function", "gelu_pytorch_tanh", _GELU_TANH, where)
    _refuse_unless(config.get("scale_attn_weights", True), where, "unscaled attention")
    _refuse_unless(config.get("multi_query", True), where, "export of multi-head attention")
    tensors: list[GgufTensor] = []
    for i in range(int(config["n_layer"])):
        ours, theirs = f"blk.{i}", f"h.{i}"
        tensors += _linear(f"{ours}.attn_qkv", f"{theirs}.attn.c_attn")
        tensors += _linear(f"{ours}.attn_output", f"{theirs}.attn.c_proj")
        tensors += _linear(f"{ours}.ffn_up", f"{theirs}.mlp.c_fc")
        tensors += _linear(f"{ours}.ffn_down", f"{theirs}.mlp.c_proj")
        tensors += _vectors(f"{ours}.attn_norm", f"{theirs}.ln_1") + _vectors(f"{ours}.ffn_norm", f"{theirs}.ln_2")
    return _gpt2_like(config, "starcoder", 1, tensors)


def _gpt_neox(config: Config, where: str) -> Layout:
    _check_activation(config, "hidden_act", "gelu", _GELU_TANH | {"gelu"}, where)
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    base, share = _rope(config, where, 0.25)
    split = split_heads(heads)
    tensors = [
        GgufTensor("token_embd.weight", "embed_in.weight", Role.EMBEDDING),
        GgufTensor("output.weight", "embed_in.weight" if _tied(config, False) else "embed_out.weight", Role.MATRIX),
        *_vectors("output_norm", "final_layer_norm"),
    ]
    for i in range(int(config["num_hidden_layers"])):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        tensors += _linear(f"{ours}.attn_qkv", f"{theirs}.attention.query_key_value", split)
        tensors += _linear(f"{ours}.attn_output", f"{theirs}.attention.dense")
        tensors += _linear(f"{ours}.ffn_up", f"{theirs}.mlp.dense_h_to_4h")
        tensors += _linear(f"{ours}.ffn_down", f"{theirs}.mlp.dense_4h_to_h")
        tensors += _vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
        tensors += _vectors(f"{ours}.ffn_norm", f"{theirs}.post_attention_layernorm")
    metadata = (
        ("context_length", int(config["max_position_embeddings"])),
        ("embedding_length", hidden),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", heads),
        ("attention.layer_norm_epsilon", float(config["layer_norm_eps"])),
        ("rope.dimension_count", int(share * (hidden // heads))),
        ("rope.freq_base", base),
        ("use_parallel_residual", bool(config.get("use_parallel_residual", True))),
    )
    return Layout("gptneox", "gpt_neox.", metadata, tuple(tensors))


def _bloom(config: Config, where: str) -> Layout:
    _refuse_unless(not config.get("apply_residual_connection_post_layernorm"), where, "residuals after the norm")
    hidden = int(config.get("hidden_size") or config["n_embed"])
    heads = int(config.get("n_head") or config["num_attention_heads"])
    layers = int(config.get("n_layer") or config["num_hidden_layers"])
    split = split_heads(heads)
    tensors = [
        GgufTensor("token_embd.weight", "word_embeddings.weight", Role.EMBEDDING),
        *_vectors("token_embd_norm", "word_embeddings_layernorm"),
        *_vectors("output_norm", "ln_f"),
    ]
    if not _tied(config, True):
        tensors.append(_matrix("output", "lm_head"))
    for i in range(layers):
        ours, theirs = f"blk.{i}", f"h.{i}"
        tensors += _linear(f"{ours}.attn_qkv", f"{theirs}.self_attention.query_key_value", split)
        tensors += _linear(f"{ours}.attn_output", f"{theirs}.self_attention.dense")
        tensors += _linear(f"{ours}.ffn_up", f"{theirs}.mlp.dense_h_to_4h")
        tensors += _linear(f"{ours}.ffn_down", f"{theirs}.mlp.dense_4h_to_h")
        tensors += _vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
        tensors += _vectors(f"{ours}.ffn_norm", f"{theirs}.post_attention_layernorm")
    metadata = (
        ("context_length", int(config.get("seq_length") or 2048)),
        ("embedding_length", hidden),
        ("block_count", layers),
        ("feed_forward_length", 4 * hidden),
        ("attention.head_count", heads),
        ("attention.head_count_kv", heads),
        ("attention.layer_norm_epsilon", float(config.get("layer_norm_epsilon", 1e-5))),
    )
    return Layout("bloom", "transformer.", metadata, tuple(tensors))


def _phi(config: Config, where: str) -> Layout:
    _check_activation(config, "hidden_act", "gelu_new", _GELU_TANH, where)
    _refuse_unless(not config.get("qk_layernorm"), where, "norm of queries and keys")
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    base, share = _rope(config, where, 0.5)
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output.weight", "embed_tokens.weight" if _tied(config, False) else "lm_head.weight", Role.MATRIX),
        GgufTensor("output.bias", "lm_head.bias", Role.VECTOR),
        *_vectors("output_norm", "final_layernorm"),
    ]
    for i in range(int(config["num_hidden_layers"])):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        for part in "qkv":
            tensors += _linear(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj")
        tensors += _linear(f"{ours}.attn_output", f"{theirs}.self_attn.dense")
        tensors += _linear(f"{ours}.ffn_up", f"{theirs}.mlp.fc1") + _linear(f"{ours}.ffn_down", f"{theirs}.mlp.fc2")
        tensors += _vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
    metadata = (
        ("context_length", int(config["max_position_embeddings"])),
        ("embedding_length", hidden),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", int(config.get("num_key_value_heads") or heads)),
        ("attention.layer_norm_epsilon", float(config["layer_norm_eps"])),
        ("rope.dimension_count", int(share * (hidden // heads))),
        ("rope.freq_base", base),
    )
    return Layout("phi2", "model.", metadata, tuple(tensors))


_LAYOUTS: dict[str, Callable[[Config, str], Layout]] = {
    "BloomForCausalLM": _bloom,
    "GPT2LMHeadModel": _gpt2,
    "GPTBigCodeForCausalLM": _gpt_bigcode,
    "GPTNeoXForCausalLM": _gpt_neox,
    "GemmaForCausalLM": _gemma,
    "LlamaForCausalLM": _llama,
    "PhiForCausalLM": _phi,
}

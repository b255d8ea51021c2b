"""Layouts of present-day architectures, all made of Llama's parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from servewatt.checkpoints.decoder import Activation, DecoderShape, Feature, NormPlacement, QueryKeyNorm
from servewatt.checkpoints.rotary import LONGROPE, Rotary
from servewatt.engines.llama_cpp.gguf_layout import (
    GgufTensor,
    Layout,
    Role,
    check_layout,
    head_sizes,
    linear,
    matrix,
    norm,
    refuse_unless,
    rotate_pairs,
    rotation,
    rows_of,
    sizes,
)

_SCALED = frozenset({Feature.ROTARY_LINEAR, Feature.ROTARY_LLAMA3, Feature.ROTARY_YARN, Feature.ROTARY_LONGROPE})
_SILU = frozenset({Activation.SILU})
_GELU_TANH = frozenset({Activation.GELU_TANH})


@dataclass(frozen=True)
class Kin:
    """How a relative of Llama is called and stored; the defaults are Llama's."""

    name: str
    """llama.cpp's name."""
    able: frozenset[Feature] = _SCALED
    """Features that llama.cpp computes for it."""
    activations: frozenset[Activation] = _SILU
    pairs: bool = False
    """Whether llama.cpp rotates neighbours, so that rows of queries and keys are put in another order."""
    fused_qkv: str = ""
    """Name of the matrix of queries, keys and values in a checkpoint that holds them as one; ours is one too."""
    fused_up: str = ""
    """Name of the gate and up projection in a checkpoint that holds them as one."""
    keeps_up_fused: bool = False
    """Whether the file holds these as one too."""
    up: tuple[str, ...] = ("gate_proj", "up_proj")
    down: str = "mlp.down_proj"
    query_norm: str = "q_norm"
    key_norm: str = "k_norm"


KIN: dict[str, Kin] = {
    "Gemma2ForCausalLM": Kin(
        "gemma2",
        frozenset({Feature.NORM_AROUND, Feature.ATTENTION_SOFT_CAP, Feature.LOGIT_SOFT_CAP, Feature.WINDOW}),
        _GELU_TANH,
    ),
    "Gemma3ForCausalLM": Kin(
        "gemma3",
        frozenset({Feature.NORM_AROUND, Feature.QUERY_KEY_NORM_HEAD, Feature.WINDOW, Feature.ROTARY_BY_LAYER}),
        _GELU_TANH,
    ),
    "GraniteForCausalLM": Kin("granite", _SCALED | {Feature.MULTIPLIERS}, pairs=True),
    "GraniteMoeHybridForCausalLM": Kin(
        "granite",
        frozenset({Feature.MULTIPLIERS}),
        pairs=True,
        fused_up="shared_mlp.input_linear",
        down="shared_mlp.output_linear",
    ),
    "LlamaForCausalLM": Kin("llama", pairs=True),
    "MistralForCausalLM": Kin("llama", _SCALED | {Feature.WINDOW}, pairs=True),
    "Olmo2ForCausalLM": Kin("olmo2", _SCALED | {Feature.NORM_AFTER, Feature.QUERY_KEY_NORM_WIDTH}),
    "Phi3ForCausalLM": Kin(
        "phi3",
        _SCALED | {Feature.ROTARY_PARTIAL, Feature.WINDOW},
        fused_qkv="self_attn.qkv_proj",
        fused_up="mlp.gate_up_proj",
        keeps_up_fused=True,
    ),
    "Qwen2ForCausalLM": Kin("qwen2", _SCALED | {Feature.WINDOW}),
    "Qwen3ForCausalLM": Kin("qwen3", _SCALED | {Feature.WINDOW, Feature.QUERY_KEY_NORM_HEAD}),
    "SmolLM3ForCausalLM": Kin("smollm3", _SCALED | {Feature.WINDOW, Feature.UNROTATED_LAYERS}, pairs=True),
    "StableLmForCausalLM": Kin(
        "stablelm",
        frozenset({Feature.ROTARY_PARTIAL, Feature.GATED_LAYER_NORM, Feature.QUERY_KEY_NORM_EACH}),
        query_norm="q_layernorm",
        key_norm="k_layernorm",
    ),
    "Starcoder2ForCausalLM": Kin(
        "starcoder2", frozenset({Feature.WINDOW}), _GELU_TANH, up=("c_fc",), down="mlp.c_proj"
    ),
}
"""Architecture -> how llama.cpp has it."""
_WINDOWED = frozenset({"gemma2", "gemma3"})
"""Architectures of llama.cpp that slide; rows of the others with a window are kept within it."""
_SMOLLM3_STEP = 4
_GEMMA3_STEP = 6
_GEMMA2_STEP = 2
_GEMMA3_LOCAL_BASE = 10000.0


def gated_layout(shape: DecoderShape, where: str) -> Layout:
    """The layout of a relative of Llama. RefusedError for what llama.cpp does not compute of it."""
    kin = KIN[shape.architecture]
    check_layout(shape, where, kin.activations, kin.able)
    _check_particulars(shape, kin, where)
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        *norm(shape, "output_norm", "norm"),
    ]
    if not shape.tied:
        tensors.append(matrix("output", "lm_head"))
    tensors += _frequency_factors(shape)
    for i in range(shape.layers):
        tensors += _attention(shape, kin, i) + _feed_forward(shape, kin, i) + _norms(shape, i)
    metadata = (*sizes(shape), *head_sizes(shape), *_rotation(shape), *_particulars(shape, kin))
    return Layout(kin.name, "model.", metadata, tuple(tensors), most_tokens=_most_tokens(shape, kin))


def _check_particulars(shape: DecoderShape, kin: Kin, where: str) -> None:
    """RefusedError for settings that llama.cpp's code of the architecture has fixed."""
    if kin.name in {"gemma2", "gemma3"}:
        refuse_unless(shape.tied, where, "output projection of its own")
        refuse_unless(
            abs(shape.scaling * shape.head_size**0.5 - 1) < 1e-6, where, "scaling of attention by another size"
        )
        step = _GEMMA2_STEP if kin.name == "gemma2" else _GEMMA3_STEP
        slides = [shape.window_of(i) is not None for i in range(shape.layers)]
        every = [(i + 1) % step != 0 for i in range(shape.layers)]
        refuse_unless(not any(slides) or slides == every, where, f"window but in every {step}th layer")
        local = [shape.rotary_of(i) for i in range(shape.layers) if shape.window_of(i) is not None]
        if shape.rotary_by_layer:
            bases = {rotary.base for rotary in local if rotary is not None}
            refuse_unless(bases == {_GEMMA3_LOCAL_BASE}, where, "local rotary base but 10000")
            refuse_unless(any(slides), where, "rotary embeddings of several kinds without windows")
        if shape.rotary is not None:
            refuse_unless(shape.rotary.kind == "default", where, f"rotary embeddings of type {shape.rotary.kind!r}")
    if kin.name == "smollm3":
        rotates = [shape.rotary_of(i) is not None for i in range(shape.layers)]
        every = [(i + 1) % _SMOLLM3_STEP != 0 for i in range(shape.layers)]
        refuse_unless(rotates == every, where, "rotation but in all layers except every fourth")
    for rotary in shape.rotaries:
        if rotary.kind == "yarn":
            usual = (rotary.beta_fast, rotary.beta_slow, rotary.truncate) == (32.0, 1.0, True)
            plain = abs(rotary.attention_factor - (0.1 * np.log(rotary.factor) + 1)) < 1e-6
            refuse_unless(usual and bool(plain), where, "yarn with settings of its own")
        if rotary.kind == LONGROPE:
            refuse_unless(kin.name == "phi3", where, "rotary embeddings of type 'longrope'")


def _attention(shape: DecoderShape, kin: Kin, i: int) -> list[GgufTensor]:
    ours, theirs = f"blk.{i}", f"layers.{i}"
    tensors: list[GgufTensor] = []
    if kin.fused_qkv:
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.{kin.fused_qkv}", biased=shape.qkv_bias)
    else:
        rotates = kin.pairs and shape.rotary_of(i) is not None
        for part, count in (("q", shape.heads), ("k", shape.kv_heads), ("v", 0)):
            change = rotate_pairs(count) if rotates and count else None
            tensors += linear(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj", change, biased=shape.qkv_bias)
    tensors += linear(f"{ours}.attn_output", f"{theirs}.self_attn.o_proj", biased=shape.out_bias)
    if shape.query_key_norm is QueryKeyNorm.NONE:
        return tensors
    for part, source, heads in (("q", kin.query_norm, shape.heads), ("k", kin.key_norm, shape.kv_heads)):
        at = f"{theirs}.self_attn.{source}"
        if shape.query_key_norm is QueryKeyNorm.EACH_HEAD:
            sources = tuple(f"{at}.norms.{head}.weight" for head in range(heads))
            tensors.append(GgufTensor(f"{ours}.attn_{part}_norm.weight", sources[0], Role.VECTOR, stacked=sources))
        else:
            tensors += norm(shape, f"{ours}.attn_{part}_norm", at)
    return tensors


def _feed_forward(shape: DecoderShape, kin: Kin, i: int) -> list[GgufTensor]:
    ours, theirs = f"blk.{i}", f"layers.{i}"
    biased = shape.mlp_bias
    if kin.keeps_up_fused:
        tensors = linear(f"{ours}.ffn_up", f"{theirs}.{kin.fused_up}", biased=biased)
    elif kin.fused_up:
        halves = ((0, "ffn_gate"), (shape.inner, "ffn_up"))
        tensors = [
            replace(matrix(f"{ours}.{name}", f"{theirs}.{kin.fused_up}"), rows=rows_of(first, shape.inner))
            for first, name in halves
        ]
    else:
        names = ("ffn_gate", "ffn_up") if shape.gated else ("ffn_up",)
        tensors = [
            tensor
            for name, source in zip(names, kin.up, strict=True)
            for tensor in linear(f"{ours}.{name}", f"{theirs}.mlp.{source}", biased=biased)
        ]
    return tensors + linear(f"{ours}.ffn_down", f"{theirs}.{kin.down}", biased=biased)


def _norms(shape: DecoderShape, i: int) -> list[GgufTensor]:
    after = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
    if shape.norm_placement is NormPlacement.AFTER:
        names = after
    elif shape.norm_placement is NormPlacement.AROUND:
        names = {"attn_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm", **after}
    elif shape.one_norm:
        names = {"attn_norm": "input_layernorm"}
    else:
        names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    return [t for name, source in names.items() for t in norm(shape, f"blk.{i}.{name}", f"layers.{i}.{source}")]


def _rotation(shape: DecoderShape) -> tuple[tuple[str, int | float | str], ...]:
    """Hyperparameters of rotary embeddings."""
    rotary = shape.rotary
    if rotary is None:
        return (("rope.dimension_count", shape.head_size), ("rope.scaling.finetuned", False))
    found: tuple[tuple[str, int | float | str], ...] = rotation(shape)
    if rotary.kind == "linear":
        found += (("rope.scaling.type", "linear"), ("rope.scaling.factor", rotary.factor))
    elif rotary.kind == "yarn":
        found += (("rope.scaling.type", "yarn"), ("rope.scaling.factor", rotary.factor))
        found += (("rope.scaling.original_context_length", rotary.original_context),)
    elif rotary.kind == LONGROPE:
        found += (("rope.scaling.original_context_length", rotary.original_context),)
        found += (("rope.scaling.attn_factor", rotary.attention_factor),)
    return found


def _frequency_factors(shape: DecoderShape) -> list[GgufTensor]:
    """By what llama.cpp divides each frequency, where the file has to tell it."""
    rotary = shape.rotary
    if rotary is not None and rotary.kind == "llama3":
        return [GgufTensor("rope_freqs.weight", "", Role.VECTOR, values=_llama3_factors(rotary))]
    if rotary is not None and rotary.kind == LONGROPE:
        # llama.cpp chooses by the room of its cache, transformers by the row. Rows stay within the original context.
        values = np.array(rotary.short_factors, np.float32)
        return [GgufTensor(f"rope_factors_{kind}.weight", "", Role.VECTOR, values=values) for kind in ("long", "short")]
    return []


def _llama3_factors(rotary: Rotary) -> npt.NDArray[np.float32]:
    plain = rotary.base ** -(np.arange(0, rotary.size, 2) / rotary.size)
    waves = 2 * np.pi / plain
    longest = rotary.original_context / rotary.low_freq_factor
    shortest = rotary.original_context / rotary.high_freq_factor
    share = rotary.original_context / waves - rotary.low_freq_factor
    share /= rotary.high_freq_factor - rotary.low_freq_factor
    mixed = 1 / ((1 - share) / rotary.factor + share)
    found = np.where(waves > longest, rotary.factor, np.where(waves < shortest, 1.0, mixed))
    return found.astype(np.float32)


def _particulars(shape: DecoderShape, kin: Kin) -> tuple[tuple[str, int | float | bool], ...]:
    """Hyperparameters that one architecture alone has."""
    if kin.name == "granite":
        return (
            ("embedding_scale", shape.embedding_scale),
            ("residual_scale", shape.residual_scale),
            ("attention.scale", shape.scaling),
            ("logit_scale", 1 / shape.logit_scale),
        )
    if kin.name == "stablelm":
        return (("use_parallel_residual", shape.parallel),)
    found: tuple[tuple[str, int | float | bool], ...] = ()
    if kin.name in _WINDOWED and any(shape.windows):
        found += (("attention.sliding_window", next(window for window in shape.windows if window)),)
    elif kin.name in _WINDOWED:
        found += (("attention.sliding_window", shape.context),)
    if shape.attention_soft_cap is not None:
        found += (("attn_logit_softcapping", shape.attention_soft_cap),)
    if shape.logit_soft_cap is not None:
        found += (("final_logit_softcapping", shape.logit_soft_cap),)
    return found


def _most_tokens(shape: DecoderShape, kin: Kin) -> int | None:
    """Tokens up to which a row is computed as transformers computes it; None where that is the context."""
    windows = [] if kin.name in _WINDOWED else [window for window in shape.windows if window]
    originals = [rotary.original_context for rotary in shape.rotaries if rotary.kind == LONGROPE]
    return min((*windows, *originals), default=None)

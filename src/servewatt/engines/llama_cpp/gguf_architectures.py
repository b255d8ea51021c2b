"""How each architecture's tensors and hyperparameters are named in a GGUF file, and how the tensors must be rearranged.

The names are llama.cpp's (https://github.com/ggml-org/llama.cpp, src/llama-arch.cpp and src/models), the conventions
those of its own converters.
"""

from __future__ import annotations

from collections.abc import Callable

from servewatt.checkpoints.config import Config
from servewatt.checkpoints.decoder import Activation, DecoderShape, Feature
from servewatt.checkpoints.readers import decoder_shape
from servewatt.engines.llama_cpp.gguf_layout import (
    GELUS,
    GgufTensor,
    Layout,
    Role,
    check_layout,
    head_sizes,
    linear,
    matrix,
    plus_one,
    refuse_unless,
    rotation,
    scale_queries,
    sizes,
    split_heads,
    vectors,
)
from servewatt.engines.llama_cpp.gguf_recent import KIN, gated_layout
from servewatt.errors import RefusedError

_PARTIAL = frozenset({Feature.ROTARY_PARTIAL})
_GELU_TANH = frozenset({Activation.GELU_TANH})


def layout_of(config: Config, where: str) -> Layout:
    """The layout for a config.json. RefusedError for an architecture, or a variant of one, that llama.cpp lacks."""
    architectures = config.get("architectures") or [""]
    build = _LAYOUTS.get(architectures[0])
    if build is None:
        raise RefusedError(
            f"{where}: engine llama-cpp has no {architectures[0] or 'unnamed architecture'}",
            f"it runs {', '.join(sorted(_LAYOUTS))}",
        )
    return build(decoder_shape(config, architectures[0], where), where)


def _gemma(shape: DecoderShape, where: str) -> Layout:
    check_layout(shape, where, _GELU_TANH)
    refuse_unless(shape.tied, where, "output projection of its own")
    refuse_unless(not shape.qkv_bias, where, "bias of the attention")
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output_norm.weight", "norm.weight", Role.VECTOR, plus_one),
    ]
    for i in range(shape.layers):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        tensors += [matrix(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj") for part in "qkv"]
        tensors.append(matrix(f"{ours}.attn_output", f"{theirs}.self_attn.o_proj"))
        tensors += [matrix(f"{ours}.ffn_{part}", f"{theirs}.mlp.{part}_proj") for part in ("gate", "up", "down")]
        for name, source in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")):
            tensors.append(GgufTensor(f"{ours}.{name}.weight", f"{theirs}.{source}.weight", Role.VECTOR, plus_one))
    metadata = (*sizes(shape), *head_sizes(shape), *rotation(shape))
    return Layout("gemma", "model.", metadata, tuple(tensors))


def _gpt2_like(shape: DecoderShape, where: str, name: str, *, transposed: bool) -> Layout:
    check_layout(shape, where, _GELU_TANH)
    refuse_unless(shape.scaling != 1, where, "unscaled attention")
    tensors: list[GgufTensor] = []
    for i in range(shape.layers):
        ours, theirs = f"blk.{i}", f"h.{i}"
        # Scores of layer i are divided by i + 1: the same as dividing the queries.
        scale = scale_queries(shape.hidden, 1 / (i + 1)) if shape.scaling_by_layer else None
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.attn.c_attn", scale, transposed=transposed)
        tensors += linear(f"{ours}.attn_output", f"{theirs}.attn.c_proj", transposed=transposed)
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.c_fc", transposed=transposed)
        tensors += linear(f"{ours}.ffn_down", f"{theirs}.mlp.c_proj", transposed=transposed)
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.ln_1") + vectors(f"{ours}.ffn_norm", f"{theirs}.ln_2")
    if not shape.tied:
        tensors.append(matrix("output", "lm_head"))
    tensors += [
        GgufTensor("token_embd.weight", "wte.weight", Role.EMBEDDING),
        GgufTensor("position_embd.weight", "wpe.weight", Role.POSITION),
        *vectors("output_norm", "ln_f"),
    ]
    return Layout(name, "transformer.", sizes(shape), tuple(tensors), shape.context)


def _gpt2(shape: DecoderShape, where: str) -> Layout:
    return _gpt2_like(shape, where, "gpt2", transposed=True)


def _gpt_bigcode(shape: DecoderShape, where: str) -> Layout:
    refuse_unless(shape.kv_heads == 1, where, "export of multi-head attention")
    refuse_unless(not shape.scaling_by_layer, where, "scaling of attention by layer")
    return _gpt2_like(shape, where, "starcoder", transposed=False)


def _gpt_neox(shape: DecoderShape, where: str) -> Layout:
    check_layout(shape, where, GELUS, _PARTIAL)
    split = split_heads(shape.heads)
    tensors = [
        GgufTensor("token_embd.weight", "embed_in.weight", Role.EMBEDDING),
        GgufTensor("output.weight", "embed_in.weight" if shape.tied else "embed_out.weight", Role.MATRIX),
        *vectors("output_norm", "final_layer_norm"),
    ]
    for i in range(shape.layers):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.attention.query_key_value", split)
        tensors += linear(f"{ours}.attn_output", f"{theirs}.attention.dense")
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.dense_h_to_4h")
        tensors += linear(f"{ours}.ffn_down", f"{theirs}.mlp.dense_4h_to_h")
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
        tensors += vectors(f"{ours}.ffn_norm", f"{theirs}.post_attention_layernorm")
    metadata = (*sizes(shape), *rotation(shape), ("use_parallel_residual", shape.parallel))
    return Layout("gptneox", "gpt_neox.", metadata, tuple(tensors))


def _bloom(shape: DecoderShape, where: str) -> Layout:
    check_layout(shape, where, _GELU_TANH)
    split = split_heads(shape.heads)
    tensors = [
        GgufTensor("token_embd.weight", "word_embeddings.weight", Role.EMBEDDING),
        *vectors("token_embd_norm", "word_embeddings_layernorm"),
        *vectors("output_norm", "ln_f"),
    ]
    if not shape.tied:
        tensors.append(matrix("output", "lm_head"))
    for i in range(shape.layers):
        ours, theirs = f"blk.{i}", f"h.{i}"
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.self_attention.query_key_value", split)
        tensors += linear(f"{ours}.attn_output", f"{theirs}.self_attention.dense")
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.dense_h_to_4h")
        tensors += linear(f"{ours}.ffn_down", f"{theirs}.mlp.dense_4h_to_h")
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
        tensors += vectors(f"{ours}.ffn_norm", f"{theirs}.post_attention_layernorm")
    return Layout("bloom", "transformer.", sizes(shape), tuple(tensors))


def _phi(shape: DecoderShape, where: str) -> Layout:
    check_layout(shape, where, _GELU_TANH, _PARTIAL)
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output.weight", "embed_tokens.weight" if shape.tied else "lm_head.weight", Role.MATRIX),
        GgufTensor("output.bias", "lm_head.bias", Role.VECTOR),
        *vectors("output_norm", "final_layernorm"),
    ]
    for i in range(shape.layers):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        for part in "qkv":
            tensors += linear(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj")
        tensors += linear(f"{ours}.attn_output", f"{theirs}.self_attn.dense")
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.fc1") + linear(f"{ours}.ffn_down", f"{theirs}.mlp.fc2")
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
    return Layout("phi2", "model.", (*sizes(shape), *rotation(shape)), tuple(tensors))


_LAYOUTS: dict[str, Callable[[DecoderShape, str], Layout]] = {
    "BloomForCausalLM": _bloom,
    "GPT2LMHeadModel": _gpt2,
    "GPTBigCodeForCausalLM": _gpt_bigcode,
    "GPTNeoXForCausalLM": _gpt_neox,
    "GemmaForCausalLM": _gemma,
    "PhiForCausalLM": _phi,
    **dict.fromkeys(KIN, gated_layout),
}

"""Names of each architecture's tensors, and a layer's read into the parts that every decoder has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from servewatt.checkpoints.decoder import DecoderShape, Norm, NormPlacement, QueryKeyNorm
from servewatt.engines.torch_graph.model.checkpoint import Checkpoint, Linear, NormWeights


class Parts(NamedTuple):
    """One layer as read."""

    norm: NormWeights | None
    second_norm: NormWeights | None
    qkv: Linear
    out: Linear
    up: Linear
    down: Linear
    after_attention: NormWeights | None = None
    after_feed: NormWeights | None = None
    query_norm: NormWeights | None = None
    key_norm: NormWeights | None = None


def stack(*parts: Linear) -> Linear:
    """Matrices that read the same input as one, outputs one after the other."""
    import torch

    weight = torch.cat([part.weight for part in parts])
    if all(part.bias is None for part in parts):
        return Linear(weight, None)
    biases = [part.weight.new_zeros(part.weight.shape[0]) if part.bias is None else part.bias for part in parts]
    return Linear(weight, torch.cat(biases))


def _ungroup(linear: Linear, heads: int, head_size: int) -> Linear:
    """(query, key, value of head 0, of head 1 ...) as (queries, keys, values)."""
    hidden = linear.weight.shape[1]
    weight = linear.weight.view(heads, 3, head_size, hidden).transpose(0, 1).reshape(-1, hidden)
    if linear.bias is None:
        return Linear(weight, None)
    return Linear(weight, linear.bias.view(heads, 3, head_size).transpose(0, 1).reshape(-1))


def read_norm(source: Checkpoint, shape: DecoderShape, prefix: str, size: int = 0) -> NormWeights:
    """A norm over `size` components (the hidden ones if not given), with what is added to its stored weight."""
    size = size or shape.hidden
    weight = source.read(f"{prefix}.weight", size)
    if shape.norm is Norm.RMS:
        return NormWeights(weight.float() + shape.norm_offset if shape.norm_offset else weight, None)
    return NormWeights(weight, source.read_if_there(f"{prefix}.bias", size))


def _head_norm(source: Checkpoint, shape: DecoderShape, prefix: str, heads: int) -> NormWeights | None:
    """A norm of queries or keys: (head size,), (heads, head size) or (heads x head size,), as its kind has it."""
    import torch

    size = shape.head_size
    if shape.query_key_norm is QueryKeyNorm.NONE:
        return None
    if shape.query_key_norm is QueryKeyNorm.EACH_HEAD:
        each = [source.read(f"{prefix}.norms.{head}.weight", size) for head in range(heads)]
        return NormWeights(torch.stack(each))
    return read_norm(source, shape, prefix, size * (heads if shape.query_key_norm is QueryKeyNorm.WIDTH else 1))


def _norms(source: Checkpoint, shape: DecoderShape, at: str) -> dict[str, NormWeights | None]:
    """The norms of a layer whose halves are called as in Llama and what came of it."""
    if shape.norm_placement is NormPlacement.BEFORE:
        second = None if shape.one_norm else read_norm(source, shape, f"{at}.post_attention_layernorm")
        return {"norm": read_norm(source, shape, f"{at}.input_layernorm"), "second_norm": second}
    after = {
        "after_attention": read_norm(source, shape, f"{at}.post_attention_layernorm"),
        "after_feed": read_norm(source, shape, f"{at}.post_feedforward_layernorm"),
    }
    if shape.norm_placement is NormPlacement.AFTER:
        return {"norm": None, "second_norm": None, **after}
    return {
        "norm": read_norm(source, shape, f"{at}.input_layernorm"),
        "second_norm": read_norm(source, shape, f"{at}.pre_feedforward_layernorm"),
        **after,
    }


def _apart(names: tuple[str, ...]) -> Callable[[Checkpoint, str, tuple[int, ...], int], Linear]:
    """A reader of matrices that the checkpoint holds apart."""

    def read(source: Checkpoint, at: str, outputs: tuple[int, ...], inputs: int) -> Linear:
        return stack(*(source.linear(f"{at}.{n}", rows, inputs) for n, rows in zip(names, outputs, strict=True)))

    return read


def _fused(name: str) -> Callable[[Checkpoint, str, tuple[int, ...], int], Linear]:
    """A reader of matrices that the checkpoint holds as one."""
    return lambda source, at, outputs, inputs: source.linear(f"{at}.{name}", sum(outputs), inputs)


class LayerNames(NamedTuple):
    """Where a layer with `self_attn` and Llama's norms has its matrices."""

    qkv: Callable[[Checkpoint, str, tuple[int, ...], int], Linear] = _apart(
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    )
    out: str = "self_attn.o_proj"
    up: Callable[[Checkpoint, str, tuple[int, ...], int], Linear] = _apart(("mlp.gate_proj", "mlp.up_proj"))
    down: str = "mlp.down_proj"
    query_norm: str = "self_attn.q_norm"
    key_norm: str = "self_attn.k_norm"


_AS_LLAMA = LayerNames()


def _layer(names: LayerNames) -> Callable[[Checkpoint, DecoderShape, str], Parts]:
    """The reader of such a layer."""

    def read(source: Checkpoint, shape: DecoderShape, at: str) -> Parts:
        wide, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        inner = (shape.inner,) * (2 if shape.gated else 1)
        return Parts(
            qkv=names.qkv(source, at, (wide, keys, keys), shape.hidden),
            out=source.linear(f"{at}.{names.out}", shape.hidden, wide),
            up=names.up(source, at, inner, shape.hidden),
            down=source.linear(f"{at}.{names.down}", shape.hidden, shape.inner),
            query_norm=_head_norm(source, shape, f"{at}.{names.query_norm}", shape.heads),
            key_norm=_head_norm(source, shape, f"{at}.{names.key_norm}", shape.kv_heads),
            **_norms(source, shape, at),
        )

    return read


_PHI = LayerNames(
    out="self_attn.dense",
    up=_apart(("mlp.fc1",)),
    down="mlp.fc2",
    query_norm="self_attn.q_layernorm",
    key_norm="self_attn.k_layernorm",
)
_PHI3 = LayerNames(qkv=_fused("self_attn.qkv_proj"), up=_fused("mlp.gate_up_proj"))
_GRANITE_HYBRID = LayerNames(up=_fused("shared_mlp.input_linear"), down="shared_mlp.output_linear")
_STABLELM = LayerNames(query_norm="self_attn.q_layernorm", key_norm="self_attn.k_layernorm")
_STARCODER2 = LayerNames(up=_apart(("mlp.c_fc",)), down="mlp.c_proj")


def _grouped_layer(attention: str) -> Callable[[Checkpoint, DecoderShape, str], Parts]:
    """GPT-NeoX and Bloom, which differ in the name of their attention."""

    def read(source: Checkpoint, shape: DecoderShape, at: str) -> Parts:
        qkv = source.linear(f"{at}.{attention}.query_key_value", shape.qkv_size, shape.hidden)
        return Parts(
            read_norm(source, shape, f"{at}.input_layernorm"),
            read_norm(source, shape, f"{at}.post_attention_layernorm"),
            _ungroup(qkv, shape.heads, shape.head_size),
            source.linear(f"{at}.{attention}.dense", shape.hidden, shape.hidden),
            source.linear(f"{at}.mlp.dense_h_to_4h", shape.inner, shape.hidden),
            source.linear(f"{at}.mlp.dense_4h_to_h", shape.hidden, shape.inner),
        )

    return read


def _gpt2_layer(source: Checkpoint, shape: DecoderShape, at: str) -> Parts:
    transposed = shape.architecture == "GPT2LMHeadModel"
    qkv = source.linear(f"{at}.attn.c_attn", shape.qkv_size, shape.hidden, transposed=transposed)
    if not transposed and shape.kv_heads == shape.heads:
        qkv = _ungroup(qkv, shape.heads, shape.head_size)
    return Parts(
        read_norm(source, shape, f"{at}.ln_1"),
        read_norm(source, shape, f"{at}.ln_2"),
        qkv,
        source.linear(f"{at}.attn.c_proj", shape.hidden, shape.hidden, transposed=transposed),
        source.linear(f"{at}.mlp.c_fc", shape.inner, shape.hidden, transposed=transposed),
        source.linear(f"{at}.mlp.c_proj", shape.hidden, shape.inner, transposed=transposed),
    )


class Names(NamedTuple):
    """Names of an architecture's tensors; a leading `body` may be absent in the file."""

    body: str
    embedding: str
    layers: str
    norm: str
    heads: tuple[str, ...]
    read: Callable[[Checkpoint, DecoderShape, str], Parts]
    positions: str = ""
    embedding_norm: str = ""


_HEAD = ("lm_head",)
_GPT2 = Names("transformer.", "wte", "h", "ln_f", _HEAD, _gpt2_layer, positions="wpe")
_LLAMA = Names("model.", "embed_tokens", "layers", "norm", _HEAD, _layer(_AS_LLAMA))
NAMES = {
    "Gemma2ForCausalLM": _LLAMA,
    "Gemma3ForCausalLM": _LLAMA,
    "GemmaForCausalLM": _LLAMA,
    "GraniteForCausalLM": _LLAMA,
    "GraniteMoeHybridForCausalLM": _LLAMA._replace(read=_layer(_GRANITE_HYBRID)),
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Olmo2ForCausalLM": _LLAMA,
    "Phi3ForCausalLM": _LLAMA._replace(read=_layer(_PHI3)),
    "PhiForCausalLM": _LLAMA._replace(norm="final_layernorm", read=_layer(_PHI)),
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA,
    "SmolLM3ForCausalLM": _LLAMA,
    "StableLmForCausalLM": _LLAMA._replace(read=_layer(_STABLELM)),
    "Starcoder2ForCausalLM": _LLAMA._replace(read=_layer(_STARCODER2)),
    "GPTNeoXForCausalLM": Names(
        "gpt_neox.", "embed_in", "layers", "final_layer_norm", ("embed_out", "lm_head"), _grouped_layer("attention")
    ),
    "BloomForCausalLM": Names(
        "transformer.",
        "word_embeddings",
        "h",
        "ln_f",
        _HEAD,
        _grouped_layer("self_attention"),
        embedding_norm="word_embeddings_layernorm",
    ),
    "GPT2LMHeadModel": _GPT2,
    "GPTBigCodeForCausalLM": _GPT2,
}

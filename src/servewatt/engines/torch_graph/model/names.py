"""Names of each architecture's tensors, and a layer's read into the parts that every decoder has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from servewatt.checkpoints.decoder import DecoderShape, Norm
from servewatt.engines.torch_graph.model.checkpoint import Checkpoint, Linear, NormWeights


class Parts(NamedTuple):
    """One layer as read."""

    norm: NormWeights
    second_norm: NormWeights | None
    qkv: Linear
    out: Linear
    up: Linear
    down: Linear


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


def read_norm(source: Checkpoint, shape: DecoderShape, prefix: str) -> NormWeights:
    """A norm of the hidden size, with what is added to its stored weight."""
    weight = source.read(f"{prefix}.weight", shape.hidden)
    if shape.norm is Norm.RMS:
        return NormWeights(weight.float() + shape.norm_offset if shape.norm_offset else weight, None)
    return NormWeights(weight, source.read_if_there(f"{prefix}.bias", shape.hidden))


def _llama_layer(source: Checkpoint, shape: DecoderShape, at: str) -> Parts:
    keys = shape.kv_heads * shape.head_size
    sizes = {"q": shape.heads * shape.head_size, "k": keys, "v": keys}
    qkv = (source.linear(f"{at}.self_attn.{name}_proj", size, shape.hidden) for name, size in sizes.items())
    up = (source.linear(f"{at}.mlp.{name}_proj", shape.inner, shape.hidden) for name in ("gate", "up"))
    return Parts(
        read_norm(source, shape, f"{at}.input_layernorm"),
        read_norm(source, shape, f"{at}.post_attention_layernorm"),
        stack(*qkv),
        source.linear(f"{at}.self_attn.o_proj", shape.hidden, sizes["q"]),
        stack(*up),
        source.linear(f"{at}.mlp.down_proj", shape.hidden, shape.inner),
    )


def _phi_layer(source: Checkpoint, shape: DecoderShape, at: str) -> Parts:
    keys = shape.kv_heads * shape.head_size
    sizes = {"q": shape.heads * shape.head_size, "k": keys, "v": keys}
    qkv = (source.linear(f"{at}.self_attn.{name}_proj", size, shape.hidden) for name, size in sizes.items())
    return Parts(
        read_norm(source, shape, f"{at}.input_layernorm"),
        None,
        stack(*qkv),
        source.linear(f"{at}.self_attn.dense", shape.hidden, sizes["q"]),
        source.linear(f"{at}.mlp.fc1", shape.inner, shape.hidden),
        source.linear(f"{at}.mlp.fc2", shape.hidden, shape.inner),
    )


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
NAMES = {
    "LlamaForCausalLM": Names("model.", "embed_tokens", "layers", "norm", _HEAD, _llama_layer),
    "GemmaForCausalLM": Names("model.", "embed_tokens", "layers", "norm", _HEAD, _llama_layer),
    "PhiForCausalLM": Names("model.", "embed_tokens", "layers", "final_layernorm", _HEAD, _phi_layer),
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

"""How the specification of a CTranslate2 decoder is filled from a checkpoint: one function an architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from servewatt.checkpoints.decoder import Activation, DecoderShape, Feature, Norm
from servewatt.engines.ctranslate2.weights import Checkpoint, Writer, queries_keys_values_apart, stacked, transposed
from servewatt.engines.shared.decoder import refuse_activation, refuse_missing
from servewatt.errors import RefusedError

_ACTIVATIONS = {
    Activation.GELU: "GELU",
    Activation.GELU_TANH: "GELUTanh",
    Activation.GELU_SIGMOID: "GELUSigmoid",
    Activation.RELU: "RELU",
    Activation.SILU: "SWISH",
}
"""Ours -> CTranslate2's."""
_ABLE = frozenset({Feature.ROTARY_PARTIAL, Feature.ROTARY_LINEAR})
_LACKS = "engine ctranslate2 has no"
_OTHERS = "use engine torch, onnx or openvino"


def check_shape(shape: DecoderShape, where: str) -> None:
    """RefusedError for what CTranslate2 does not compute, or this module does not fill."""
    refuse_activation(shape, where, _LACKS, frozenset(_ACTIVATIONS), _OTHERS)
    refuse_missing(shape, where, _LACKS, _ABLE, _OTHERS)
    if shape.architecture == "GPTBigCodeForCausalLM" and shape.kv_heads > 1:
        raise RefusedError(f"{where}: {_LACKS} GPTBigCode with keys and values of every head's own", _OTHERS)


@dataclass(frozen=True)
class Parts:
    """Inputs of an architecture's function: the decoder, the checkpoint it reads, and the writer that fills layers."""

    shape: DecoderShape
    weights: Checkpoint
    write: Writer

    def activation(self) -> Any:
        """CTranslate2's."""
        from ctranslate2.specs import common_spec

        return common_spec.Activation[_ACTIVATIONS[self.shape.activation]]

    def rotary(self) -> dict[str, Any]:
        """Arguments of a specification for rotary embeddings."""
        from ctranslate2.specs import attention_spec

        rotary = self.shape.rotary
        assert rotary is not None
        arguments: dict[str, Any] = {
            "rotary_interleave": False,
            "rotary_base": rotary.base,
            # 0 is the whole head.
            "rotary_dim": 0 if rotary.size == self.shape.head_size else rotary.size,
        }
        if rotary.kind == "linear":
            arguments["rotary_scaling_type"] = attention_spec.RotaryScalingType.Linear
            arguments["rotary_scaling_factor"] = rotary.factor
        return arguments

    def specification(self, **arguments: Any) -> Any:
        """An empty specification for the decoder; `arguments` are what not every architecture has."""
        from ctranslate2.specs import TransformerDecoderModelSpec

        shape = self.shape
        arguments |= {"activation": self.activation(), "pre_norm": True}
        spec = TransformerDecoderModelSpec.from_config(shape.layers, shape.heads, **arguments)
        spec.config.layer_norm_epsilon = shape.epsilon
        return spec

    def heads(self) -> dict[str, Any]:
        """Arguments for shared keys and values, and heads that are not a part of the hidden size."""
        shape = self.shape
        return {
            "num_heads_kv": None if shape.kv_heads == shape.heads else shape.kv_heads,
            "head_dim": None if shape.head_size * shape.heads == shape.hidden else shape.head_size,
        }

    def linear(self, layer: Any, name: str, rows: int, columns: int, *, transpose: bool = False) -> None:
        """Fill `layer` with NAME.weight of shape (rows, columns), stored the other way round if `transpose`."""
        stored = self.weights.get(f"{name}.weight", *((columns, rows) if transpose else (rows, columns)))
        weight = transposed(stored) if transpose else stored
        bias = self.weights.get(f"{name}.bias", rows) if f"{name}.bias" in self.weights else None
        self.write.matrix(layer, weight, bias)

    def queries_keys_values(self, layer: Any, prefix: str) -> None:
        """Fill `layer` with the three projections PREFIX.{q,k,v}_proj, one below the other."""
        shape = self.shape
        names = [f"{prefix}.{part}_proj" for part in "qkv"]
        rows = [count * shape.head_size for count in (shape.heads, shape.kv_heads, shape.kv_heads)]
        weights = [self.weights.get(f"{n}.weight", r, shape.hidden) for n, r in zip(names, rows, strict=True)]
        biased = f"{names[0]}.bias" in self.weights
        biases = [self.weights.get(f"{n}.bias", r) for n, r in zip(names, rows, strict=True)] if biased else None
        self.write.matrix(layer, stacked(weights), stacked(biases) if biases else None)

    def by_head(self, layer: Any, name: str) -> None:
        """Fill `layer` with a projection whose rows are ordered by head."""
        hidden, heads = self.shape.hidden, self.shape.heads
        weight = queries_keys_values_apart(self.weights.get(f"{name}.weight", 3 * hidden, hidden), heads)
        biased = f"{name}.bias" in self.weights
        bias = queries_keys_values_apart(self.weights.get(f"{name}.bias", 3 * hidden), heads) if biased else None
        self.write.matrix(layer, weight, bias)

    def norm(self, layer: Any, name: str, size: int = 0) -> None:
        """Fill a norm over `size` components, the hidden ones if not given."""
        size = size or self.shape.hidden
        biased = self.shape.norm is Norm.LAYER and f"{name}.bias" in self.weights
        self.write.norm(
            layer,
            self.weights.get(f"{name}.weight", size),
            self.weights.get(f"{name}.bias", size) if biased else None,
        )

    def ends(self, decoder: Any, embedding: str, head: str) -> None:
        """Fill the input embedding and the output projection."""
        vocabulary, hidden = self.shape.vocabulary, self.shape.hidden
        decoder.scale_embeddings = False
        self.linear(decoder.embeddings, embedding, vocabulary, hidden)
        if self.shape.tied:
            decoder.projection.weight = decoder.embeddings.weight
            decoder.projection.weight_scale = decoder.embeddings.weight_scale
            if f"{head}.bias" in self.weights:
                decoder.projection.bias = self.write.plain(self.weights.get(f"{head}.bias", vocabulary))
        else:
            self.linear(decoder.projection, head, vocabulary, hidden)


def _gemma(source: Parts) -> Any:
    spec = _gated(source)
    decoder = spec.decoder
    # Gemma's norms multiply by one plus their weight, and its embeddings by the root of their size.
    for norm in (
        decoder.layer_norm,
        *(part.layer_norm for layer in decoder.layer for part in (layer.self_attention, layer.ffn)),
    ):
        norm.layer_norm_use_residual = True
    decoder.scale_embeddings = True
    decoder.embeddings.multiply_by_sqrt_depth = source.shape.embedding_scale
    return spec


def _gated(source: Parts) -> Any:
    """Llama and its kin: RMS norms, rotary embeddings, a gated feed-forward layer."""
    shape = source.shape
    spec = source.specification(ffn_glu=True, rms_norm=True, **source.heads(), **source.rotary())
    source.ends(spec.decoder, "model.embed_tokens", "lm_head")
    source.norm(spec.decoder.layer_norm, "model.norm")
    for i, layer in enumerate(spec.decoder.layer):
        name = f"model.layers.{i}"
        source.norm(layer.self_attention.layer_norm, f"{name}.input_layernorm")
        source.norm(layer.ffn.layer_norm, f"{name}.post_attention_layernorm")
        source.queries_keys_values(layer.self_attention.linear[0], f"{name}.self_attn")
        width = shape.heads * shape.head_size
        source.linear(layer.self_attention.linear[1], f"{name}.self_attn.o_proj", shape.hidden, width)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.gate_proj", shape.inner, shape.hidden)
        source.linear(layer.ffn.linear_0_noact, f"{name}.mlp.up_proj", shape.inner, shape.hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.down_proj", shape.hidden, shape.inner)
    return spec


def _gpt2(source: Parts) -> Any:
    """GPT-2 and GPTBigCode, whose heads share keys and values; GPT-2 stores its matrices transposed."""
    shape = source.shape
    hidden, transpose = shape.hidden, shape.architecture == "GPT2LMHeadModel"
    spec = source.specification(multi_query_attention=shape.kv_heads == 1)
    source.ends(spec.decoder, "transformer.wte", "lm_head")
    positions = source.weights.get("transformer.wpe.weight", shape.context, hidden)
    spec.decoder.position_encodings.encodings = source.write.plain(positions)
    source.norm(spec.decoder.layer_norm, "transformer.ln_f")
    for i, layer in enumerate(spec.decoder.layer):
        name = f"transformer.h.{i}"
        source.norm(layer.self_attention.layer_norm, f"{name}.ln_1")
        source.norm(layer.ffn.layer_norm, f"{name}.ln_2")
        linear = layer.self_attention.linear
        source.linear(linear[0], f"{name}.attn.c_attn", shape.qkv_size, hidden, transpose=transpose)
        source.linear(linear[1], f"{name}.attn.c_proj", hidden, hidden, transpose=transpose)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.c_fc", shape.inner, hidden, transpose=transpose)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.c_proj", hidden, shape.inner, transpose=transpose)
        layer.self_attention.queries_scale = shape.scaling / (i + 1 if shape.scaling_by_layer else 1)
    return spec


def _gpt_neox(source: Parts) -> Any:
    shape = source.shape
    spec = source.specification(parallel_residual=shape.parallel, shared_layer_norm=False, **source.rotary())
    source.ends(spec.decoder, "gpt_neox.embed_in", "embed_out")
    source.norm(spec.decoder.layer_norm, "gpt_neox.final_layer_norm")
    for i, layer in enumerate(spec.decoder.layer):
        name = f"gpt_neox.layers.{i}"
        before = layer.input_layer_norm if shape.parallel else layer.self_attention.layer_norm
        after = layer.post_attention_layer_norm if shape.parallel else layer.ffn.layer_norm
        source.norm(before, f"{name}.input_layernorm")
        source.norm(after, f"{name}.post_attention_layernorm")
        source.by_head(layer.self_attention.linear[0], f"{name}.attention.query_key_value")
        source.linear(layer.self_attention.linear[1], f"{name}.attention.dense", shape.hidden, shape.hidden)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.dense_h_to_4h", shape.inner, shape.hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.dense_4h_to_h", shape.hidden, shape.inner)
    return spec


def _bloom(source: Parts) -> Any:
    hidden, inner = source.shape.hidden, source.shape.inner
    spec = source.specification(layernorm_embedding=True, alibi=True, alibi_use_positive_positions=True)
    source.ends(spec.decoder, "transformer.word_embeddings", "lm_head")
    source.norm(spec.decoder.layernorm_embedding, "transformer.word_embeddings_layernorm")
    source.norm(spec.decoder.layer_norm, "transformer.ln_f")
    for i, layer in enumerate(spec.decoder.layer):
        name = f"transformer.h.{i}"
        source.norm(layer.self_attention.layer_norm, f"{name}.input_layernorm")
        source.norm(layer.ffn.layer_norm, f"{name}.post_attention_layernorm")
        source.by_head(layer.self_attention.linear[0], f"{name}.self_attention.query_key_value")
        source.linear(layer.self_attention.linear[1], f"{name}.self_attention.dense", hidden, hidden)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.dense_h_to_4h", inner, hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.dense_4h_to_h", hidden, inner)
    return spec


def _phi(source: Parts) -> Any:
    shape = source.shape
    spec = source.specification(parallel_residual=True, shared_layer_norm=True, **source.heads(), **source.rotary())
    source.ends(spec.decoder, "model.embed_tokens", "lm_head")
    source.norm(spec.decoder.layer_norm, "model.final_layernorm")
    for i, layer in enumerate(spec.decoder.layer):
        name = f"model.layers.{i}"
        source.norm(layer.shared_layer_norm, f"{name}.input_layernorm")
        source.queries_keys_values(layer.self_attention.linear[0], f"{name}.self_attn")
        width = shape.heads * shape.head_size
        source.linear(layer.self_attention.linear[1], f"{name}.self_attn.dense", shape.hidden, width)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.fc1", shape.inner, shape.hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.fc2", shape.hidden, shape.inner)
    return spec


BUILDERS: dict[str, tuple[Callable[[Parts], Any], str]] = {
    "BloomForCausalLM": (_bloom, "transformer."),
    "GPT2LMHeadModel": (_gpt2, "transformer."),
    "GPTBigCodeForCausalLM": (_gpt2, "transformer."),
    "GPTNeoXForCausalLM": (_gpt_neox, "gpt_neox."),
    "GemmaForCausalLM": (_gemma, "model."),
    "LlamaForCausalLM": (_gated, "model."),
    "PhiForCausalLM": (_phi, "model."),
}
"""Architecture -> (function that fills its specification, prefix of the inner model's tensors)."""

"""How the specification of a CTranslate2 decoder is filled from a checkpoint: one function an architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from servewatt.checkpoints.decoder import Activation, DecoderShape, Feature, Norm, QueryKeyNorm
from servewatt.engines.ctranslate2.weights import (
    Checkpoint,
    Writer,
    queries_keys_values_apart,
    rows_of,
    scaled,
    stacked,
    transposed,
)
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
_ABLE = frozenset(
    {
        *(Feature.ROTARY_PARTIAL, Feature.ROTARY_LINEAR, Feature.UNROTATED_LAYERS),
        *(Feature.QUERY_KEY_NORM_HEAD, Feature.MULTIPLIERS, Feature.GATED_LAYER_NORM),
    }
)
_SAME = 1e-6
"""Relative difference below which a scaling of attention is the usual one."""
_LACKS = "engine ctranslate2 has no"
_OTHERS = "use engine torch, onnx or openvino"


def check_shape(shape: DecoderShape, where: str) -> None:
    """RefusedError for what CTranslate2 does not compute, or this module does not fill."""
    refuse_activation(shape, where, _LACKS, frozenset(_ACTIVATIONS), _OTHERS)
    refuse_missing(shape, where, _LACKS, _ABLE, _OTHERS)
    if shape.query_key_norm is QueryKeyNorm.HEAD and shape.norm is Norm.LAYER:
        raise RefusedError(f"{where}: {_LACKS} {Feature.QUERY_KEY_NORM_HEAD.value} by LayerNorm", _OTHERS)
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

    def linear(
        self, layer: Any, name: str, rows: int, columns: int, *, transpose: bool = False, factor: float = 1.0
    ) -> None:
        """Fill `layer` with NAME.weight of shape (rows, columns), stored the other way round if `transpose`.

        Its outputs are multiplied by `factor`.
        """
        stored = self.weights.get(f"{name}.weight", *((columns, rows) if transpose else (rows, columns)))
        weight = transposed(stored) if transpose else stored
        bias = self.weights.get(f"{name}.bias", rows) if f"{name}.bias" in self.weights else None
        if factor != 1:
            weight, bias = scaled(weight, factor), None if bias is None else scaled(bias, factor)
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

    def norm(self, layer: Any, name: str, size: int = 0, *, factor: float = 1.0) -> None:
        """Fill a norm over `size` components, the hidden ones if not given, its weight times `factor`."""
        size = size or self.shape.hidden
        biased = self.shape.norm is Norm.LAYER and f"{name}.bias" in self.weights
        weight = self.weights.get(f"{name}.weight", size)
        self.write.norm(
            layer,
            weight if factor == 1 else scaled(weight, factor),
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

    def scale_embeddings(self, decoder: Any, embedding: str) -> None:
        """Have what is looked up in the embedding multiplied by the model's factor; a tied head is not."""
        shape = self.shape
        if abs(shape.embedding_scale / shape.hidden**0.5 - 1) < _SAME:
            decoder.scale_embeddings = True
            decoder.embeddings.multiply_by_sqrt_depth = shape.embedding_scale
        else:
            # CTranslate2 knows no other factor than the root of the size: the table has it, and the head its own.
            self.linear(decoder.embeddings, embedding, shape.vocabulary, shape.hidden, factor=shape.embedding_scale)


def _gemma(source: Parts) -> Any:
    spec = _gated(source)
    decoder = spec.decoder
    # Gemma's norms multiply by one plus their weight.
    for norm in (
        decoder.layer_norm,
        *(part.layer_norm for layer in decoder.layer for part in (layer.self_attention, layer.ffn)),
    ):
        norm.layer_norm_use_residual = True
    return spec


@dataclass(frozen=True)
class _Names:
    """What a relative of Llama calls its matrices; the defaults are Llama's."""

    fused_qkv: str = ""
    fused_up: str = ""
    up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"


_NAMES = {
    "GraniteMoeHybridForCausalLM": _Names(fused_up="shared_mlp.input_linear", down="shared_mlp.output_linear"),
    "Phi3ForCausalLM": _Names(fused_qkv="self_attn.qkv_proj", fused_up="mlp.gate_up_proj"),
    "Starcoder2ForCausalLM": _Names(up=("mlp.c_fc",), down="mlp.c_proj"),
}


def _gated(source: Parts) -> Any:
    """Llama and its kin: rotary embeddings, mostly RMS norms and a gated feed-forward layer."""
    shape = source.shape
    arguments = {**source.heads(), **source.rotary()}
    if shape.query_key_norm is QueryKeyNorm.HEAD:
        # The head's size must be said where its norms are.
        arguments |= {"qk_norm": True, "head_dim": shape.head_size}
    if shape.parallel:
        arguments |= {"parallel_residual": True, "shared_layer_norm": True}
    spec = source.specification(ffn_glu=shape.gated, rms_norm=shape.norm is Norm.RMS, **arguments)
    decoder = spec.decoder
    source.ends(decoder, "model.embed_tokens", "lm_head")
    if shape.embedding_scale != 1:
        source.scale_embeddings(decoder, "model.embed_tokens")
    # A factor of the logits is one of the last norm's weight.
    source.norm(decoder.layer_norm, "model.norm", factor=shape.logit_scale)
    for i, layer in enumerate(decoder.layer):
        name = f"model.layers.{i}"
        if shape.parallel:
            source.norm(layer.shared_layer_norm, f"{name}.input_layernorm")
        else:
            source.norm(layer.self_attention.layer_norm, f"{name}.input_layernorm")
            source.norm(layer.ffn.layer_norm, f"{name}.post_attention_layernorm")
        _attention(source, layer.self_attention, name, i)
        _feed_forward(source, layer.ffn, name)
    return spec


def _attention(source: Parts, attention: Any, name: str, index: int) -> None:
    shape, names = source.shape, _NAMES.get(source.shape.architecture, _Names())
    if names.fused_qkv:
        source.linear(attention.linear[0], f"{name}.{names.fused_qkv}", shape.qkv_size, shape.hidden)
    else:
        source.queries_keys_values(attention.linear[0], f"{name}.self_attn")
    if shape.query_key_norm is QueryKeyNorm.HEAD:
        source.norm(attention.q_norm, f"{name}.self_attn.q_norm", shape.head_size)
        source.norm(attention.k_norm, f"{name}.self_attn.k_norm", shape.head_size)
    if shape.rotary_of(index) is None:
        for setting in ("rotary_dim", "rotary_interleave", "rotary_base"):
            delattr(attention, setting)
    if abs(shape.scaling * shape.head_size**0.5 - 1) > _SAME:
        attention.queries_scale = shape.scaling
    width = shape.heads * shape.head_size
    source.linear(attention.linear[1], f"{name}.self_attn.o_proj", shape.hidden, width, factor=shape.residual_scale)


def _feed_forward(source: Parts, feed: Any, name: str) -> None:
    shape, names = source.shape, _NAMES.get(source.shape.architecture, _Names())
    layers = (feed.linear_0, feed.linear_0_noact) if shape.gated else (feed.linear_0,)
    if names.fused_up:
        both = source.weights.get(f"{name}.{names.fused_up}.weight", 2 * shape.inner, shape.hidden)
        for layer, first in zip(layers, (0, shape.inner), strict=True):
            source.write.matrix(layer, rows_of(both, first, shape.inner))
    else:
        for layer, up in zip(layers, names.up, strict=True):
            source.linear(layer, f"{name}.{up}", shape.inner, shape.hidden)
    down = f"{name}.{names.down}"
    source.linear(feed.linear_1, down, shape.hidden, shape.inner, factor=shape.residual_scale)


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
    "GraniteForCausalLM": (_gated, "model."),
    "GraniteMoeHybridForCausalLM": (_gated, "model."),
    "LlamaForCausalLM": (_gated, "model."),
    "MistralForCausalLM": (_gated, "model."),
    "Phi3ForCausalLM": (_gated, "model."),
    "PhiForCausalLM": (_phi, "model."),
    "Qwen2ForCausalLM": (_gated, "model."),
    "Qwen3ForCausalLM": (_gated, "model."),
    "SmolLM3ForCausalLM": (_gated, "model."),
    "StableLmForCausalLM": (_gated, "model."),
    "Starcoder2ForCausalLM": (_gated, "model."),
}
"""Architecture -> (function that fills its specification, prefix of the inner model's tensors)."""

"""How the specification of a CTranslate2 decoder is filled from a checkpoint: one function an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from servewatt.checkpoints.rope import DEFAULT, rope_of
from servewatt.engines.ctranslate2.weights import Checkpoint, Writer, queries_keys_values_apart, stacked, transposed
from servewatt.errors import RefusedError

_ACTIVATIONS = {
    "gelu": "GELU",
    "gelu_fast": "GELUTanh",
    "gelu_new": "GELUTanh",
    "gelu_pytorch_tanh": "GELUTanh",
    "quick_gelu": "GELUSigmoid",
    "relu": "RELU",
    "silu": "SWISH",
    "swish": "SWISH",
}
"""transformers' name -> CTranslate2's."""


@dataclass(frozen=True)
class Parts:
    """Inputs of an architecture's function: the checkpoint it reads, and the writer that fills layers."""

    model_name: str
    config: Mapping[str, Any]
    weights: Checkpoint
    write: Writer

    def refuse(self, what: str) -> RefusedError:
        return RefusedError(
            f"{self.model_name}: engine ctranslate2 has no {what}", "use engine torch, onnx or openvino"
        )

    def number(self, *names: str) -> int:
        return integer(self.config, *names)

    def activation(self, name: str, default: str) -> Any:
        """CTranslate2's activation for what the configuration calls `name`."""
        from ctranslate2.specs import common_spec

        asked = self.config.get(name) or default
        if asked not in _ACTIVATIONS:
            raise self.refuse(f"activation {asked!r}")
        return common_spec.Activation[_ACTIVATIONS[asked]]

    def rope(self, default_share: float = 1.0) -> tuple[dict[str, Any], float]:
        """(arguments of a specification for rotary embeddings, share of a head that is rotated)."""
        from ctranslate2.specs import attention_spec

        rope = rope_of(self.config, default_share)
        if rope.kind not in {DEFAULT, "linear"}:
            raise self.refuse(f"rotary embeddings of type {rope.kind!r}")
        arguments: dict[str, Any] = {"rotary_interleave": False, "rotary_base": rope.base}
        if rope.kind == "linear":
            arguments["rotary_scaling_type"] = attention_spec.RotaryScalingType.Linear
            arguments["rotary_scaling_factor"] = rope.factor
        return arguments, rope.share

    def linear(self, layer: Any, name: str, rows: int, columns: int, *, transpose: bool = False) -> None:
        """Fill `layer` with NAME.weight of shape (rows, columns), stored the other way round if `transpose`."""
        stored = self.weights.get(f"{name}.weight", *((columns, rows) if transpose else (rows, columns)))
        weight = transposed(stored) if transpose else stored
        bias = self.weights.get(f"{name}.bias", rows) if f"{name}.bias" in self.weights else None
        self.write.matrix(layer, weight, bias)

    def fused(self, layer: Any, names: tuple[str, ...], rows: tuple[int, ...], columns: int) -> None:
        """Fill `layer` with several linear layers, one below the other."""
        weights = [self.weights.get(f"{n}.weight", r, columns) for n, r in zip(names, rows, strict=True)]
        biased = f"{names[0]}.bias" in self.weights
        biases = [self.weights.get(f"{n}.bias", r) for n, r in zip(names, rows, strict=True)] if biased else None
        self.write.matrix(layer, stacked(weights), stacked(biases) if biases else None)

    def by_head(self, layer: Any, name: str, hidden: int, heads: int) -> None:
        """Fill `layer` with a projection whose rows are ordered by head."""
        weight = queries_keys_values_apart(self.weights.get(f"{name}.weight", 3 * hidden, hidden), heads)
        biased = f"{name}.bias" in self.weights
        bias = queries_keys_values_apart(self.weights.get(f"{name}.bias", 3 * hidden), heads) if biased else None
        self.write.matrix(layer, weight, bias)

    def norm(self, layer: Any, name: str, size: int, *, bias: bool = True) -> None:
        """Fill a layer norm, or with `bias` off an RMS norm."""
        self.write.norm(
            layer,
            self.weights.get(f"{name}.weight", size),
            self.weights.get(f"{name}.bias", size) if bias else None,
        )

    def ends(self, decoder: Any, embedding: str, head: str, hidden: int, *, tied: bool) -> None:
        """Fill the input embedding and the output projection; `tied` holds where the configuration is silent."""
        vocabulary = self.number("vocab_size")
        decoder.scale_embeddings = False
        self.linear(decoder.embeddings, embedding, vocabulary, hidden)
        stated = self.config.get("tie_word_embeddings")
        if tied if stated is None else stated:
            decoder.projection.weight = decoder.embeddings.weight
            decoder.projection.weight_scale = decoder.embeddings.weight_scale
            if f"{head}.bias" in self.weights:
                decoder.projection.bias = self.write.plain(self.weights.get(f"{head}.bias", vocabulary))
        else:
            self.linear(decoder.projection, head, vocabulary, hidden)


def integer(config: Mapping[str, Any], *names: str) -> int:
    """The first of `names` that a config.json has; RefusedError if it has none."""
    found = next((config[name] for name in names if config.get(name) is not None), None)
    if found is None:
        raise RefusedError(f"config.json says nothing of {names[0]}", "is it a transformers model's folder?")
    return int(found)


def _new(layers: int, heads: int, epsilon: float, **arguments: Any) -> Any:
    from ctranslate2.specs import TransformerDecoderModelSpec

    spec = TransformerDecoderModelSpec.from_config(layers, heads, pre_norm=True, **arguments)
    spec.config.layer_norm_epsilon = epsilon
    return spec


def _llama(source: Parts) -> Any:
    return _gated(source, source.activation("hidden_act", "silu"))


def _gemma(source: Parts) -> Any:
    from ctranslate2.specs import common_spec

    activation = source.activation("hidden_act", "gelu_pytorch_tanh")
    if activation == common_spec.Activation.GELU:
        # The first published configurations say so and mean the approximation; transformers reads them that way.
        activation = common_spec.Activation.GELUTanh
    spec = _gated(source, activation, tied=True)
    decoder = spec.decoder
    # Gemma's norms multiply by one plus their weight, and its embeddings by the root of their size.
    for norm in (
        decoder.layer_norm,
        *(part.layer_norm for layer in decoder.layer for part in (layer.self_attention, layer.ffn)),
    ):
        norm.layer_norm_use_residual = True
    decoder.scale_embeddings = True
    decoder.embeddings.multiply_by_sqrt_depth = source.number("hidden_size") ** 0.5
    return spec


def _gated(source: Parts, activation: Any, *, tied: bool = False) -> Any:
    """Llama and its kin: RMS norms, rotary embeddings, a gated feed-forward layer."""
    config, hidden, heads = source.config, source.number("hidden_size"), source.number("num_attention_heads")
    inner, kv_heads = source.number("intermediate_size"), source.number("num_key_value_heads", "num_attention_heads")
    size = int(config.get("head_dim") or hidden // heads)
    rope, share = source.rope()
    spec = _new(
        source.number("num_hidden_layers"),
        heads,
        config.get("rms_norm_eps", 1e-6),
        activation=activation,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0 if share == 1 else int(size * share),
        num_heads_kv=None if kv_heads == heads else kv_heads,
        head_dim=None if size * heads == hidden else size,
        **rope,
    )
    source.ends(spec.decoder, "model.embed_tokens", "lm_head", hidden, tied=tied)
    source.norm(spec.decoder.layer_norm, "model.norm", hidden, bias=False)
    for i, layer in enumerate(spec.decoder.layer):
        name = f"model.layers.{i}"
        source.norm(layer.self_attention.layer_norm, f"{name}.input_layernorm", hidden, bias=False)
        source.norm(layer.ffn.layer_norm, f"{name}.post_attention_layernorm", hidden, bias=False)
        parts = tuple(f"{name}.self_attn.{part}_proj" for part in "qkv")
        rows = (heads * size, kv_heads * size, kv_heads * size)
        source.fused(layer.self_attention.linear[0], parts, rows, hidden)
        source.linear(layer.self_attention.linear[1], f"{name}.self_attn.o_proj", hidden, heads * size)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.gate_proj", inner, hidden)
        source.linear(layer.ffn.linear_0_noact, f"{name}.mlp.up_proj", inner, hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.down_proj", hidden, inner)
    return spec


def _gpt2(source: Parts) -> Any:
    return _learned_positions(source, shared_heads=False, transpose=True)


def _gpt_bigcode(source: Parts) -> Any:
    if not source.config.get("multi_query", True):
        raise source.refuse("GPTBigCode with keys and values of every head's own")
    return _learned_positions(source, shared_heads=True, transpose=False)


def _learned_positions(source: Parts, *, shared_heads: bool, transpose: bool) -> Any:
    """GPT-2 and GPTBigCode, whose heads share keys and values; GPT-2 stores its matrices transposed."""
    config, hidden, heads = source.config, source.number("n_embd"), source.number("n_head")
    inner = int(config.get("n_inner") or 4 * hidden)
    spec = _new(
        source.number("n_layer"),
        heads,
        config.get("layer_norm_epsilon", 1e-5),
        activation=source.activation("activation_function", "gelu_pytorch_tanh" if shared_heads else "gelu_new"),
        multi_query_attention=shared_heads,
    )
    source.ends(spec.decoder, "transformer.wte", "lm_head", hidden, tied=True)
    positions = source.weights.get("transformer.wpe.weight", source.number("n_positions"), hidden)
    spec.decoder.position_encodings.encodings = source.write.plain(positions)
    source.norm(spec.decoder.layer_norm, "transformer.ln_f", hidden)
    projected = hidden + 2 * (hidden // heads if shared_heads else hidden)
    for i, layer in enumerate(spec.decoder.layer):
        name = f"transformer.h.{i}"
        source.norm(layer.self_attention.layer_norm, f"{name}.ln_1", hidden)
        source.norm(layer.ffn.layer_norm, f"{name}.ln_2", hidden)
        linear = layer.self_attention.linear
        source.linear(linear[0], f"{name}.attn.c_attn", projected, hidden, transpose=transpose)
        source.linear(linear[1], f"{name}.attn.c_proj", hidden, hidden, transpose=transpose)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.c_fc", inner, hidden, transpose=transpose)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.c_proj", hidden, inner, transpose=transpose)
        layer.self_attention.queries_scale = _attention_scale(config, hidden // heads, i)
    return spec


def _attention_scale(config: Mapping[str, Any], size: int, layer: int) -> float:
    """What queries are multiplied by: the root of a head's size divides them, and a layer's number may."""
    scale = size**-0.5 if config.get("scale_attn_weights", True) else 1.0
    return scale / (layer + 1) if config.get("scale_attn_by_inverse_layer_idx") else scale


def _gpt_neox(source: Parts) -> Any:
    config, hidden, heads = source.config, source.number("hidden_size"), source.number("num_attention_heads")
    inner = source.number("intermediate_size")
    rope, share = source.rope(0.25)
    parallel = bool(config.get("use_parallel_residual", True))
    spec = _new(
        source.number("num_hidden_layers"),
        heads,
        config.get("layer_norm_eps", 1e-5),
        activation=source.activation("hidden_act", "gelu"),
        rotary_dim=int(hidden // heads * share),
        parallel_residual=parallel,
        shared_layer_norm=False,
        **rope,
    )
    source.ends(spec.decoder, "gpt_neox.embed_in", "embed_out", hidden, tied=False)
    source.norm(spec.decoder.layer_norm, "gpt_neox.final_layer_norm", hidden)
    for i, layer in enumerate(spec.decoder.layer):
        name = f"gpt_neox.layers.{i}"
        before = layer.input_layer_norm if parallel else layer.self_attention.layer_norm
        after = layer.post_attention_layer_norm if parallel else layer.ffn.layer_norm
        source.norm(before, f"{name}.input_layernorm", hidden)
        source.norm(after, f"{name}.post_attention_layernorm", hidden)
        source.by_head(layer.self_attention.linear[0], f"{name}.attention.query_key_value", hidden, heads)
        source.linear(layer.self_attention.linear[1], f"{name}.attention.dense", hidden, hidden)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.dense_h_to_4h", inner, hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.dense_4h_to_h", hidden, inner)
    return spec


def _bloom(source: Parts) -> Any:
    from ctranslate2.specs import common_spec

    config, hidden = source.config, source.number("hidden_size", "n_embed")
    heads = source.number("n_head", "num_attention_heads")
    if config.get("apply_residual_connection_post_layernorm"):
        raise source.refuse("residual connection after the layer norm")
    spec = _new(
        source.number("n_layer", "num_hidden_layers"),
        heads,
        config.get("layer_norm_epsilon", 1e-5),
        activation=common_spec.Activation.GELUTanh,
        layernorm_embedding=True,
        alibi=True,
        alibi_use_positive_positions=True,
    )
    source.ends(spec.decoder, "transformer.word_embeddings", "lm_head", hidden, tied=True)
    source.norm(spec.decoder.layernorm_embedding, "transformer.word_embeddings_layernorm", hidden)
    source.norm(spec.decoder.layer_norm, "transformer.ln_f", hidden)
    for i, layer in enumerate(spec.decoder.layer):
        name = f"transformer.h.{i}"
        source.norm(layer.self_attention.layer_norm, f"{name}.input_layernorm", hidden)
        source.norm(layer.ffn.layer_norm, f"{name}.post_attention_layernorm", hidden)
        source.by_head(layer.self_attention.linear[0], f"{name}.self_attention.query_key_value", hidden, heads)
        source.linear(layer.self_attention.linear[1], f"{name}.self_attention.dense", hidden, hidden)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.dense_h_to_4h", 4 * hidden, hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.dense_4h_to_h", hidden, 4 * hidden)
    return spec


def _phi(source: Parts) -> Any:
    config, hidden, heads = source.config, source.number("hidden_size"), source.number("num_attention_heads")
    inner, kv_heads = source.number("intermediate_size"), source.number("num_key_value_heads", "num_attention_heads")
    size = hidden // heads
    if config.get("qk_layernorm"):
        raise source.refuse("norms of queries and keys in Phi")
    rope, share = source.rope(0.5)
    spec = _new(
        source.number("num_hidden_layers"),
        heads,
        config.get("layer_norm_eps", 1e-5),
        activation=source.activation("hidden_act", "gelu_new"),
        rotary_dim=int(size * share),
        parallel_residual=True,
        shared_layer_norm=True,
        num_heads_kv=None if kv_heads == heads else kv_heads,
        **rope,
    )
    source.ends(spec.decoder, "model.embed_tokens", "lm_head", hidden, tied=False)
    source.norm(spec.decoder.layer_norm, "model.final_layernorm", hidden)
    for i, layer in enumerate(spec.decoder.layer):
        name = f"model.layers.{i}"
        source.norm(layer.shared_layer_norm, f"{name}.input_layernorm", hidden)
        parts = tuple(f"{name}.self_attn.{part}_proj" for part in "qkv")
        source.fused(layer.self_attention.linear[0], parts, (hidden, kv_heads * size, kv_heads * size), hidden)
        source.linear(layer.self_attention.linear[1], f"{name}.self_attn.dense", hidden, hidden)
        source.linear(layer.ffn.linear_0, f"{name}.mlp.fc1", inner, hidden)
        source.linear(layer.ffn.linear_1, f"{name}.mlp.fc2", hidden, inner)
    return spec


BUILDERS: dict[str, tuple[Callable[[Parts], Any], str]] = {
    "BloomForCausalLM": (_bloom, "transformer."),
    "GPT2LMHeadModel": (_gpt2, "transformer."),
    "GPTBigCodeForCausalLM": (_gpt_bigcode, "transformer."),
    "GPTNeoXForCausalLM": (_gpt_neox, "gpt_neox."),
    "GemmaForCausalLM": (_gemma, "model."),
    "LlamaForCausalLM": (_llama, "model."),
    "PhiForCausalLM": (_phi, "model."),
}
"""Architecture -> (function that fills its specification, prefix of the inner model's tensors)."""

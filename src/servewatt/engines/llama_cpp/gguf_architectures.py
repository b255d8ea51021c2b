"""How each architecture's tensors and hyperparameters are named in a GGUF file, and how the tensors must be rearranged.

The names are llama.cpp's (https://github.com/ggml-org/llama.cpp, src/llama-arch.cpp and src/models), the conventions
those of its own converters.
"""

from __future__ import annotations

from collections.abc import Callable

from servewatt.engines.llama_cpp.gguf_layout import (
    GELU_TANH,
    Config,
    GgufTensor,
    Layout,
    Role,
    bare,
    check_activation,
    linear,
    matrix,
    plus_one,
    refuse_unless,
    rope,
    rotate_pairs,
    scale_queries,
    split_heads,
    tied,
    vectors,
)
from servewatt.errors import RefusedError


def layout_of(config: Config, where: str) -> Layout:
    """The layout for a config.json. RefusedError for an architecture, or a variant of one, that llama.cpp lacks."""
    architectures = config.get("architectures") or [""]
    build = _LAYOUTS.get(architectures[0])
    if build is None:
        raise RefusedError(
            f"{where}: engine llama-cpp has no {architectures[0] or 'unnamed architecture'}",
            f"it runs {', '.join(sorted(_LAYOUTS))}",
        )
    try:
        return build(config, where)
    except KeyError as error:
        raise RefusedError(f"{where}: config.json lacks {error}", "use engine torch, which knows defaults") from error


def _llama(config: Config, where: str) -> Layout:
    check_activation(config, "hidden_act", "silu", frozenset({"silu"}), where)
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    size = int(config.get("head_dim") or config["hidden_size"] // heads)
    base, share = rope(config, where)
    refuse_unless(share == 1, where, "rotation of a part of each head")
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output_norm.weight", "norm.weight", Role.VECTOR),
    ]
    if not tied(config, False):
        tensors.append(matrix("output", "lm_head"))
    projection = linear if config.get("attention_bias") else bare
    feed_forward = linear if config.get("mlp_bias") else bare
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
        ("context_length", int(config.get("max_position_embeddings", 2048))),
        ("embedding_length", int(config["hidden_size"])),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", kv_heads),
        ("attention.key_length", size),
        ("attention.value_length", size),
        ("attention.layer_norm_rms_epsilon", float(config.get("rms_norm_eps", 1e-6))),
        ("rope.dimension_count", size),
        ("rope.freq_base", base),
    )
    return Layout("llama", "model.", metadata, tuple(tensors))


def _gemma(config: Config, where: str) -> Layout:
    # transformers computes hidden_act and passes over hidden_activation; by "gelu" it means the approximation here.
    check_activation(config, "hidden_act", "gelu", GELU_TANH | {"gelu"}, where)
    refuse_unless(tied(config, True), where, "output projection of its own")
    refuse_unless(not config.get("attention_bias"), where, "bias of the attention")
    heads, size = int(config["num_attention_heads"]), int(config.get("head_dim") or 256)
    base, share = rope(config, where)
    refuse_unless(share == 1, where, "rotation of a part of each head")
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output_norm.weight", "norm.weight", Role.VECTOR, plus_one),
    ]
    for i in range(int(config["num_hidden_layers"])):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        tensors += [matrix(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj") for part in "qkv"]
        tensors.append(matrix(f"{ours}.attn_output", f"{theirs}.self_attn.o_proj"))
        tensors += [matrix(f"{ours}.ffn_{part}", f"{theirs}.mlp.{part}_proj") for part in ("gate", "up", "down")]
        for name, source in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")):
            tensors.append(GgufTensor(f"{ours}.{name}.weight", f"{theirs}.{source}.weight", Role.VECTOR, plus_one))
    metadata = (
        ("context_length", int(config.get("max_position_embeddings", 8192))),
        ("embedding_length", int(config["hidden_size"])),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", int(config.get("num_key_value_heads") or heads)),
        ("attention.key_length", size),
        ("attention.value_length", size),
        ("attention.layer_norm_rms_epsilon", float(config.get("rms_norm_eps", 1e-6))),
        ("rope.dimension_count", size),
        ("rope.freq_base", base),
    )
    return Layout("gemma", "model.", metadata, tuple(tensors))


def _gpt2_like(config: Config, name: str, kv_heads: int, tensors: list[GgufTensor]) -> Layout:
    if not tied(config, True):
        tensors.append(matrix("output", "lm_head"))
    tensors += [
        GgufTensor("token_embd.weight", "wte.weight", Role.EMBEDDING),
        GgufTensor("position_embd.weight", "wpe.weight", Role.POSITION),
        *vectors("output_norm", "ln_f"),
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
    check_activation(config, "activation_function", "gelu_new", GELU_TANH, where)
    refuse_unless(config.get("scale_attn_weights", True), where, "unscaled attention")
    hidden = int(config["n_embd"])
    by_layer = bool(config.get("scale_attn_by_inverse_layer_idx"))
    tensors: list[GgufTensor] = []
    for i in range(int(config["n_layer"])):
        ours, theirs = f"blk.{i}", f"h.{i}"
        # Scores of layer i are divided by i + 1: the same as dividing the queries.
        scale = scale_queries(hidden, 1 / (i + 1)) if by_layer else None
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.attn.c_attn", scale, transposed=True)
        tensors += linear(f"{ours}.attn_output", f"{theirs}.attn.c_proj", transposed=True)
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.c_fc", transposed=True)
        tensors += linear(f"{ours}.ffn_down", f"{theirs}.mlp.c_proj", transposed=True)
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.ln_1") + vectors(f"{ours}.ffn_norm", f"{theirs}.ln_2")
    return _gpt2_like(config, "gpt2", int(config["n_head"]), tensors)


def _gpt_bigcode(config: Config, where: str) -> Layout:
    check_activation(config, "activation_function", "gelu_pytorch_tanh", GELU_TANH, where)
    refuse_unless(config.get("scale_attn_weights", True), where, "unscaled attention")
    refuse_unless(config.get("multi_query", True), where, "export of multi-head attention")
    tensors: list[GgufTensor] = []
    for i in range(int(config["n_layer"])):
        ours, theirs = f"blk.{i}", f"h.{i}"
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.attn.c_attn")
        tensors += linear(f"{ours}.attn_output", f"{theirs}.attn.c_proj")
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.c_fc")
        tensors += linear(f"{ours}.ffn_down", f"{theirs}.mlp.c_proj")
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.ln_1") + vectors(f"{ours}.ffn_norm", f"{theirs}.ln_2")
    return _gpt2_like(config, "starcoder", 1, tensors)


def _gpt_neox(config: Config, where: str) -> Layout:
    check_activation(config, "hidden_act", "gelu", GELU_TANH | {"gelu"}, where)
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    base, share = rope(config, where, 0.25)
    split = split_heads(heads)
    tensors = [
        GgufTensor("token_embd.weight", "embed_in.weight", Role.EMBEDDING),
        GgufTensor("output.weight", "embed_in.weight" if tied(config, False) else "embed_out.weight", Role.MATRIX),
        *vectors("output_norm", "final_layer_norm"),
    ]
    for i in range(int(config["num_hidden_layers"])):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.attention.query_key_value", split)
        tensors += linear(f"{ours}.attn_output", f"{theirs}.attention.dense")
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.dense_h_to_4h")
        tensors += linear(f"{ours}.ffn_down", f"{theirs}.mlp.dense_4h_to_h")
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
        tensors += vectors(f"{ours}.ffn_norm", f"{theirs}.post_attention_layernorm")
    metadata = (
        ("context_length", int(config.get("max_position_embeddings", 2048))),
        ("embedding_length", hidden),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", heads),
        ("attention.layer_norm_epsilon", float(config.get("layer_norm_eps", 1e-5))),
        ("rope.dimension_count", int(share * (hidden // heads))),
        ("rope.freq_base", base),
        ("use_parallel_residual", bool(config.get("use_parallel_residual", True))),
    )
    return Layout("gptneox", "gpt_neox.", metadata, tuple(tensors))


def _bloom(config: Config, where: str) -> Layout:
    refuse_unless(not config.get("apply_residual_connection_post_layernorm"), where, "residuals after the norm")
    hidden = int(config.get("hidden_size") or config["n_embed"])
    heads = int(config.get("n_head") or config["num_attention_heads"])
    layers = int(config.get("n_layer") or config["num_hidden_layers"])
    split = split_heads(heads)
    tensors = [
        GgufTensor("token_embd.weight", "word_embeddings.weight", Role.EMBEDDING),
        *vectors("token_embd_norm", "word_embeddings_layernorm"),
        *vectors("output_norm", "ln_f"),
    ]
    if not tied(config, True):
        tensors.append(matrix("output", "lm_head"))
    for i in range(layers):
        ours, theirs = f"blk.{i}", f"h.{i}"
        tensors += linear(f"{ours}.attn_qkv", f"{theirs}.self_attention.query_key_value", split)
        tensors += linear(f"{ours}.attn_output", f"{theirs}.self_attention.dense")
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.dense_h_to_4h")
        tensors += linear(f"{ours}.ffn_down", f"{theirs}.mlp.dense_4h_to_h")
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
        tensors += vectors(f"{ours}.ffn_norm", f"{theirs}.post_attention_layernorm")
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
    check_activation(config, "hidden_act", "gelu_new", GELU_TANH, where)
    refuse_unless(not config.get("qk_layernorm"), where, "norm of queries and keys")
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    base, share = rope(config, where, 0.5)
    tensors = [
        GgufTensor("token_embd.weight", "embed_tokens.weight", Role.EMBEDDING),
        GgufTensor("output.weight", "embed_tokens.weight" if tied(config, False) else "lm_head.weight", Role.MATRIX),
        GgufTensor("output.bias", "lm_head.bias", Role.VECTOR),
        *vectors("output_norm", "final_layernorm"),
    ]
    for i in range(int(config["num_hidden_layers"])):
        ours, theirs = f"blk.{i}", f"layers.{i}"
        for part in "qkv":
            tensors += linear(f"{ours}.attn_{part}", f"{theirs}.self_attn.{part}_proj")
        tensors += linear(f"{ours}.attn_output", f"{theirs}.self_attn.dense")
        tensors += linear(f"{ours}.ffn_up", f"{theirs}.mlp.fc1") + linear(f"{ours}.ffn_down", f"{theirs}.mlp.fc2")
        tensors += vectors(f"{ours}.attn_norm", f"{theirs}.input_layernorm")
    metadata = (
        ("context_length", int(config.get("max_position_embeddings", 2048))),
        ("embedding_length", hidden),
        ("block_count", int(config["num_hidden_layers"])),
        ("feed_forward_length", int(config["intermediate_size"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", int(config.get("num_key_value_heads") or heads)),
        ("attention.layer_norm_epsilon", float(config.get("layer_norm_eps", 1e-5))),
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

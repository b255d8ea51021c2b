"""Facts about each architecture that are needed to check a checkpoint without building the model.

To add one: a line in `ARCHITECTURES`, and a reader in `readers/`. The table decides which folders are accepted, and
where their embedding and layers are found.
"""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.checkpoints.config import Config
from servewatt.checkpoints.fields import check_fields
from servewatt.checkpoints.files import shown
from servewatt.errors import InputError, RefusedError

VOCABULARY_KEYS = ("vocab_size",)
HIDDEN_KEYS = ("hidden_size", "n_embd", "n_embed", "d_model")
LAYER_KEYS = ("num_hidden_layers", "n_layer")
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "seq_length", "n_ctx")


@dataclass(frozen=True)
class Architecture:
    """One causal language model class."""

    name: str
    """As in the `architectures` entry of config.json."""
    model_type: str
    embedding: str
    """Name of the token embedding, without the prefix of the inner model."""
    layers: str
    """Name of the list of layers."""
    tied: bool
    """Whether input and output embeddings are one where config.json does not say."""
    default_context: int | None = None
    """Context length where config.json has none of the usual keys."""
    head: str = "lm_head.weight"
    """Name of the output embedding in published checkpoints."""


ARCHITECTURES: dict[str, Architecture] = {
    a.name: a
    for a in (
        Architecture("BloomForCausalLM", "bloom", "word_embeddings.weight", "h", True, 2048),
        Architecture("CodeGenForCausalLM", "codegen", "wte.weight", "h", False),
        Architecture("GPT2LMHeadModel", "gpt2", "wte.weight", "h", True),
        Architecture("GPTBigCodeForCausalLM", "gpt_bigcode", "wte.weight", "h", True),
        Architecture("GPTNeoXForCausalLM", "gpt_neox", "embed_in.weight", "layers", False, head="embed_out.weight"),
        Architecture("Gemma2ForCausalLM", "gemma2", "embed_tokens.weight", "layers", True),
        Architecture("Gemma3ForCausalLM", "gemma3_text", "embed_tokens.weight", "layers", True),
        Architecture("GemmaForCausalLM", "gemma", "embed_tokens.weight", "layers", True),
        Architecture("GraniteForCausalLM", "granite", "embed_tokens.weight", "layers", False),
        Architecture("GraniteMoeHybridForCausalLM", "granitemoehybrid", "embed_tokens.weight", "layers", False),
        Architecture("LlamaForCausalLM", "llama", "embed_tokens.weight", "layers", False),
        Architecture("MistralForCausalLM", "mistral", "embed_tokens.weight", "layers", False),
        Architecture("Olmo2ForCausalLM", "olmo2", "embed_tokens.weight", "layers", False),
        Architecture("Phi3ForCausalLM", "phi3", "embed_tokens.weight", "layers", False),
        Architecture("PhiForCausalLM", "phi", "embed_tokens.weight", "layers", False),
        Architecture("Qwen2ForCausalLM", "qwen2", "embed_tokens.weight", "layers", False),
        Architecture("Qwen3ForCausalLM", "qwen3", "embed_tokens.weight", "layers", False),
        Architecture("SmolLM3ForCausalLM", "smollm3", "embed_tokens.weight", "layers", True),
        Architecture("StableLmForCausalLM", "stablelm", "embed_tokens.weight", "layers", False),
        Architecture("Starcoder2ForCausalLM", "starcoder2", "embed_tokens.weight", "layers", True),
    )
}


_UNKNOWN = (
    f"servewatt knows {', '.join(sorted(ARCHITECTURES))}. The engines over transformers' model code (torch, "
    "torchscript, onnx, openvino, openvino-genai, vllm) could run any causal language model that it has: "
    "CONTRIBUTING.md says how to add one"
)
"""What to do about an architecture that no checkpoint can be checked for. The most similar name is another model."""


def architecture_of(config: Config, where: str) -> Architecture:
    """The architecture that a config.json names; `where` says whose config it is, for the messages.

    Raises RefusedError for remote code and already quantised weights, InputError for an unknown architecture.
    """
    if config.get("auto_map"):
        raise RefusedError(
            f"{where}: config.json asks to run code of its own (auto_map)",
            "servewatt runs no remote code; use a version of the model that transformers knows by itself",
        )
    if config.get("quantization_config"):
        raise RefusedError(
            f"{where}: the weights are already quantised (quantization_config)",
            "use the full-precision checkpoint; the configuration decides the precision",
        )
    named = config.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        if named[0] not in ARCHITECTURES:
            raise InputError(f"{where}: unknown architecture {shown(repr(named[0]))}", _UNKNOWN)
        return ARCHITECTURES[named[0]]
    by_type = {a.model_type: a for a in ARCHITECTURES.values()}
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise InputError(
            f"{where}: config.json names neither architectures nor model_type", "is it a transformers model's folder?"
        )
    if model_type not in by_type:
        raise InputError(f"{where}: unknown model type {shown(repr(model_type))}", _UNKNOWN)
    return by_type[model_type]


def integer(config: Config, keys: tuple[str, ...], where: str, default: int | None = None) -> int:
    """The first of `keys` that the config has, as a positive integer."""
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        check_fields({key: value}, where)
        return int(value)
    if default is None:
        raise InputError(
            f"{where}: config.json has no {' or '.join(keys)}", "is it the configuration of a whole language model?"
        )
    return default


BIASES: dict[str, tuple[tuple[str, bool, str], ...]] = {
    "GPTNeoXForCausalLM": (("attention_bias", True, ".attention.query_key_value.bias"),),
    "Gemma2ForCausalLM": (("attention_bias", False, ".self_attn.q_proj.bias"),),
    "Gemma3ForCausalLM": (("attention_bias", False, ".self_attn.q_proj.bias"),),
    "GemmaForCausalLM": (("attention_bias", False, ".self_attn.q_proj.bias"),),
    "GraniteForCausalLM": (
        ("attention_bias", False, ".self_attn.q_proj.bias"),
        ("mlp_bias", False, ".mlp.up_proj.bias"),
    ),
    "LlamaForCausalLM": (
        ("attention_bias", False, ".self_attn.q_proj.bias"),
        ("mlp_bias", False, ".mlp.up_proj.bias"),
    ),
    "Olmo2ForCausalLM": (("attention_bias", False, ".self_attn.q_proj.bias"),),
    "Qwen3ForCausalLM": (("attention_bias", False, ".self_attn.q_proj.bias"),),
    "SmolLM3ForCausalLM": (
        ("attention_bias", False, ".self_attn.q_proj.bias"),
        ("mlp_bias", False, ".mlp.up_proj.bias"),
    ),
    "StableLmForCausalLM": (("use_qkv_bias", False, ".self_attn.q_proj.bias"),),
    "Starcoder2ForCausalLM": (("use_bias", True, ".self_attn.q_proj.bias"),),
}
"""Architecture -> (field that says whether there is a bias, what holds without it, end of the bias's name)."""


def tied(config: Config, architecture: Architecture) -> bool:
    """Whether the input and the output embedding are one tensor."""
    stated = config.get("tie_word_embeddings")
    return architecture.tied if stated is None else bool(stated)

"""Fields of a config.json as readers ask for them."""

from __future__ import annotations

from typing import Any

from servewatt.checkpoints.config import Config
from servewatt.checkpoints.decoder import Activation
from servewatt.checkpoints.rotary import Rotary, rotary_settings

_ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "quick_gelu": Activation.GELU_SIGMOID,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "relu": Activation.RELU,
}
"""Names in config.json, as transformers knows them."""


def need(config: Config, *names: str) -> Any:
    """The first of these fields that there is; KeyError with the first of their names if there is none."""
    found = next((config[name] for name in names if name in config), None)
    return config[names[0]] if found is None else found


def activation(name: str) -> dict[str, Any]:
    """The fields of `DecoderShape` for an activation of this name."""
    return {"activation": _ACTIVATIONS.get(name, Activation.OTHER), "activation_name": name}


def sizes(config: Config, *, context: int) -> dict[str, Any]:
    """The sizes under the names that most architectures use; `context` holds where the file says nothing."""
    heads = config["num_attention_heads"]
    hidden = config["hidden_size"]
    return {
        "vocabulary": config.get("vocab_size", 32000),
        "context": config.get("max_position_embeddings", context),
        "hidden": hidden,
        "inner": config["intermediate_size"],
        "layers": config["num_hidden_layers"],
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_size": config.get("head_dim") or hidden // heads,
    }


def rotary_for(sized: dict[str, Any], config: Config, share: float = 1.0, **more: Any) -> Rotary:
    """The rotary embedding for these sizes."""
    return rotary_settings(config).rotary(sized["head_size"], sized["context"], share, **more)


def windows_by_type(config: Config, layers: int, types: list[str], window: int | None) -> tuple[int | None, ...]:
    """The window of each layer, of those whose type is a sliding one; the file's `layer_types` go before `types`."""
    if not window:
        return ()
    named = config.get("layer_types") or types
    return tuple(window if kind == "sliding_attention" else None for kind in named)

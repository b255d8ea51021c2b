"""Checks the types of the fields of a config.json that servewatt reads; errors name the field.

Libraries that read the same file end in errors of their own, or in none: NaN as an epsilon loads and computes NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from servewatt.checkpoints.files import shown
from servewatt.errors import InputError

LARGEST_SIZE = 2**31 - 1
"""Of a width, a vocabulary or a context; what engines keep such numbers in."""
MOST_LAYERS = 1000

_SIZES = frozenset(
    {
        *("vocab_size", "hidden_size", "n_embd", "n_embed", "d_model", "intermediate_size", "n_inner", "ffn_dim"),
        *("num_attention_heads", "n_head", "num_key_value_heads", "head_dim"),
        *("shared_intermediate_size", "sliding_window_pattern", "no_rope_layer_interval"),
        *("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "original_max_position_embeddings"),
    }
)
_LAYERS = frozenset({"num_hidden_layers", "n_layer"})
_COUNTS = frozenset({"sliding_window", "max_window_layers", "rotary_dim", "num_local_experts"})
"""Sizes that some files give as 0."""
_NUMBERS = frozenset(
    {
        *("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon", "initializer_range"),
        *("rotary_pct", "partial_rotary_factor", "embd_pdrop", "attention_dropout"),
        *("embedding_multiplier", "attention_multiplier", "residual_multiplier"),
    }
)
_POSITIVE = frozenset(
    {
        *("rope_theta", "rope_local_base_freq", "rotary_emb_base", "logits_scaling"),
        *("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"),
    }
)
_FLAGS = frozenset(
    {
        *("tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias", "use_qkv_bias", "use_sliding_window"),
        *("multi_query", "use_parallel_residual", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"),
        *("qk_layernorm", "add_cross_attention", "apply_residual_connection_post_layernorm", "parallel_attn"),
        *("reorder_and_upcast_attn", "use_bidirectional_attention", "use_cache"),
    }
)
_TEXTS = frozenset({"model_type", "hidden_act", "hidden_activation", "activation_function", "torch_dtype", "dtype"})
_LISTS_OF_TEXTS = frozenset({"layer_types", "layers_block_type"})
_ROPE = frozenset({"rope_scaling", "rope_parameters"})
_ROPE_WITH_FACTOR = frozenset({"linear", "dynamic", "yarn", "llama3"})
_ROPE_POSITIVE = frozenset({"rope_theta", "factor"})
_ROPE_TEXTS = frozenset({"rope_type", "type"})


def check_fields(config: Mapping[str, Any], where: str) -> None:
    """Raise InputError for a field of the wrong type or of a value that makes no model; `where` says whose it is.

    A field that is null counts as absent.
    """
    for name, value in config.items():
        if value is None:
            continue
        for names, fits, wanted in _RULES:
            if name in names and not fits(value):
                raise _wrong(where, name, value, wanted)
        if name in _ROPE:
            _check_rope(name, value, where)
        elif name in _LISTS_OF_TEXTS and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise _wrong(where, name, value, "a list of texts")
        elif name == "no_rope_layers" and not (isinstance(value, list) and all(v in (0, 1) for v in value)):
            raise _wrong(where, name, value, "a list of 0 and 1")


def _check_rope(field: str, value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, field, value, "a table")
    for name, inner in value.items():
        at = f"{field}.{name}"
        if name in _ROPE_TEXTS:
            if inner is not None and not isinstance(inner, str):
                raise _wrong(where, at, inner, "text")
        elif isinstance(inner, dict):
            _check_rope(at, inner, where)
        elif isinstance(inner, list):
            if not all(_is_number(each) for each in inner):
                raise _wrong(where, at, inner, "a list of finite numbers")
        elif name in _ROPE_POSITIVE:
            if not (_is_number(inner) and inner > 0):
                raise _wrong(where, at, inner, "a positive, finite number")
        elif not (inner is None or isinstance(inner, bool) or _is_number(inner)):
            raise _wrong(where, at, inner, "a finite number")
    kind = value.get("rope_type") or value.get("type")
    if kind in _ROPE_WITH_FACTOR and value.get("factor") is None:
        raise InputError(f"{where}: {field} in config.json is of type {kind} and has no factor", "mend config.json")


def _is_size(value: Any, most: int = LARGEST_SIZE) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


_RULES: tuple[tuple[frozenset[str], Callable[[Any], bool], str], ...] = (
    (_SIZES, _is_size, f"a positive integer up to {LARGEST_SIZE:,}"),
    (_LAYERS, lambda value: _is_size(value, MOST_LAYERS), f"a positive integer up to {MOST_LAYERS:,}"),
    (_COUNTS, lambda value: value == 0 or _is_size(value), f"an integer from 0 to {LARGEST_SIZE:,}"),
    (_NUMBERS, lambda value: _is_number(value) and value >= 0, "a finite number of at least 0"),
    (_POSITIVE, lambda value: _is_number(value) and value > 0, "a positive, finite number"),
    (_FLAGS, lambda value: isinstance(value, bool), "true or false"),
    (_TEXTS, lambda value: isinstance(value, str), "text"),
)


def _wrong(where: str, name: str, value: object, wanted: str) -> InputError:
    return InputError(f"{where}: {name} in config.json is {_value(value)}, not {wanted}", "mend config.json")


def _value(value: object) -> str:
    """A value for a message; digits of an absurd integer are counted rather than printed."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "an integer of more than 30 digits"
    return shown(repr(value))

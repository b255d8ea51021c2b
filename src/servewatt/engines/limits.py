"""What a decode step cannot do without: the bytes it must read.

A step that takes less time than these bytes need at the machine's read bandwidth did not do the work. The figures
are lower bounds: biases, norms and everything written are left out. A model that fits into the last-level cache is
not bound by main memory, so compare only models well above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servewatt.records import Precision

_BITS = {
    Precision.FP32: 32,
    Precision.BF16: 16,
    Precision.FP16: 16,
    Precision.INT8: 8,
    Precision.INT4: 4,
    Precision.W8A8: 8,
}
_GATED = frozenset(
    {"llama", "mistral", "gemma", "gemma2", "qwen2", "qwen3", "phi3", "olmo", "olmo2", "granite", "smollm3"}
)
"""Model types whose feed-forward layer has three matrices; every other counts as two."""


def least_bytes_per_step(config: Mapping[str, Any], precision: Precision, batch: int, context_tokens: int) -> int:
    """Bytes that one decode step of `batch` rows must read, each row with `context_tokens` in its KV cache.

    `config` is a model's config.json. Counted once: every matrix of every layer and the output projection (which
    may be the tied embedding; an untied input embedding is only looked up). Counted per row: keys and values, in
    the precision of the weights but at least 8 bits.
    """
    bits = _BITS[precision]
    weights = _matrix_elements(config) * bits // 8
    cache = batch * context_tokens * _cache_elements_per_token(config) * max(bits, 8) // 8
    return weights + cache


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    return next((int(config[name]) for name in names if config.get(name) is not None), None)


def _required(config: Mapping[str, Any], *names: str) -> int:
    found = _first(config, *names)
    if found is None:
        raise KeyError(names[0])
    return found


def _attention(config: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """(layers, hidden size, query heads, key-value heads, head size)."""
    layers = _required(config, "num_hidden_layers", "n_layer", "num_layers")
    hidden = _required(config, "hidden_size", "n_embd", "d_model")
    heads = _required(config, "num_attention_heads", "n_head", "num_heads")
    shared = 1 if config.get("multi_query") else heads
    return (
        layers,
        hidden,
        heads,
        _first(config, "num_key_value_heads") or shared,
        (_first(config, "head_dim") or hidden // heads),
    )


def _cache_elements_per_token(config: Mapping[str, Any]) -> int:
    layers, _, _, kv_heads, size = _attention(config)
    return layers * 2 * kv_heads * size


def _matrix_elements(config: Mapping[str, Any]) -> int:
    layers, hidden, heads, kv_heads, size = _attention(config)
    inner = _first(config, "intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    attention = hidden * size * (2 * heads + 2 * kv_heads)
    feed_forward = hidden * inner * (3 if config.get("model_type") in _GATED else 2)
    return layers * (attention + feed_forward) + _required(config, "vocab_size") * hidden

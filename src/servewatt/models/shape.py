"""The shape of a model's matrices, from its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servewatt.models.catalogue import BUNDLED, find
from servewatt.records import Model, ModelSource, Shape

_GATED = frozenset({"gemma", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3", "stablelm"})
"""Model types whose feed-forward layer has three matrices; every other has two."""


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json describes, under the names of any known architecture; None if something lacks."""
    kind = config.get("model_type")
    layers = _first(config, "num_hidden_layers", "n_layer")
    hidden = _first(config, "hidden_size", "n_embd", "n_embed")
    heads = _first(config, "num_attention_heads", "n_head")
    vocabulary = _first(config, "vocab_size")
    if layers is None or hidden is None or heads is None or vocabulary is None:
        return None
    multi_query = bool(config.get("multi_query", kind == "gpt_bigcode"))
    return Shape(
        layers=layers,
        hidden_size=hidden,
        query_heads=heads,
        key_value_heads=_first(config, "num_key_value_heads") or (1 if multi_query else heads),
        head_size=_first(config, "head_dim") or hidden // heads,
        feed_forward_size=_first(config, "intermediate_size", "n_inner") or 4 * hidden,
        feed_forward_matrices=3 if kind in _GATED else 2,
        vocabulary_size=vocabulary,
        window=_window(config),
    )


def known_shape(model: Model) -> Shape | None:
    """The model's shape; in an older run, which did not record it, that of the bundled model or of the catalogue's."""
    if model.shape is not None:
        return model.shape
    if model.source is ModelSource.BUNDLED:
        shape = shape_of(json.loads((Path(__file__).parent / BUNDLED / "config.json").read_text(encoding="utf-8")))
        return shape if shape is not None and shape.vocabulary_size == model.vocabulary_size else None
    entry = find(model.name)
    return shape_of(entry.config) if entry is not None and entry.parameters == model.parameters else None


def _window(config: Mapping[str, Any]) -> int | None:
    """Tokens that attention looks back on; some files write 0 for all."""
    if not config.get("use_sliding_window", True):
        return None
    return _first(config, "sliding_window") or None


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    return next((int(config[name]) for name in names if config.get(name) is not None), None)

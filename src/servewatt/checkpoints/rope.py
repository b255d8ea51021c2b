"""Rotary embeddings as a config.json asks for them, in transformers' order of precedence.

transformers 5 keeps everything in `rope_parameters`, older files the scaling in `rope_scaling` and the rest beside it;
where both are there, transformers reads `rope_scaling` (`RotaryEmbeddingConfigMixin.convert_rope_params_to_dict`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT = "default"
CHANGING = frozenset({"dynamic", "longrope", "su"})
"""Types whose angles depend on how long the row is, so that no graph with fixed angles computes them."""
_DEFAULT_BASE = 10000.0


@dataclass(frozen=True)
class Rope:
    """Rotary embeddings of a model."""

    kind: str
    """`default`, `linear`, `dynamic`, `yarn`, `llama3`, `longrope`, or `one a layer type`."""
    base: float
    share: float
    """Of each head that rotates."""
    factor: float
    """By which positions are scaled; 1 where nothing is said."""


def rope_of(config: Mapping[str, Any], default_share: float = 1.0) -> Rope:
    """The rotary embeddings of a config.json; `default_share` is the architecture's own."""
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if any(isinstance(value, Mapping) for value in given.values()):
        kind = "one a layer type"
    else:
        kind = str(given.get("rope_type") or given.get("type") or DEFAULT)

    def first(default: float, *names: str) -> float:
        found = (place[name] for name in names for place in (given, config) if place.get(name) is not None)
        return float(next(found, default))

    return Rope(
        kind,
        first(_DEFAULT_BASE, "rope_theta", "rotary_emb_base"),
        first(default_share, "partial_rotary_factor", "rotary_pct"),
        first(1.0, "factor") if kind != DEFAULT else 1.0,
    )

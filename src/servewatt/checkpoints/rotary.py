"""Rotary embeddings as a config.json asks for them, in transformers' order of precedence.

transformers 5 keeps everything in `rope_parameters`, older files the scaling in `rope_scaling` and the rest beside it;
where both are there, transformers reads `rope_scaling` (`RotaryEmbeddingConfigMixin.convert_rope_params_to_dict`).
The formulas of each type are in transformers' `modeling_rope_utils.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT = "default"
LONGROPE = "longrope"
CHANGING = frozenset({"dynamic", LONGROPE})
"""Types whose angles depend on how long the row is, so that no graph with fixed angles computes them."""
BY_LAYER = "one a layer type"
_DEFAULT_BASE = 10000.0
_OLDER_NAMES = {"su": LONGROPE}


@dataclass(frozen=True)
class Rotary:
    """The rotary embedding of one layer."""

    size: int
    """Components of each head that rotate."""
    kind: str = DEFAULT
    """`default`, `linear`, `dynamic`, `yarn`, `llama3` or `longrope`; one that transformers does not have, as it is."""
    base: float = _DEFAULT_BASE
    interleaved: bool = False
    """Whether neighbours rotate together (GPT-J, CodeGen), rather than components half the size apart."""
    factor: float = 1.0
    """By which positions are scaled."""
    original_context: int = 0
    """Tokens of the training before the context was lengthened; of llama3, yarn and longrope."""
    attention_factor: float = 1.0
    """By which cosines and sines are multiplied; of yarn and longrope."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    short_factors: tuple[float, ...] = ()
    """Of longrope, one for each frequency, for rows up to `original_context`."""
    long_factors: tuple[float, ...] = ()
    """The same for longer rows."""


@dataclass(frozen=True)
class RotarySettings:
    """What a config.json says of rotary embeddings, before the architecture's sizes are known."""

    given: Mapping[str, Any]
    """The table of scaling, or an empty one."""
    config: Mapping[str, Any]

    @property
    def by_layer(self) -> bool:
        """Whether there is a table for each type of layer."""
        return any(isinstance(value, Mapping) for value in self.given.values())

    @property
    def kind(self) -> str:
        if self.by_layer:
            return BY_LAYER
        kind = str(self.given.get("rope_type") or self.given.get("type") or DEFAULT)
        return _OLDER_NAMES.get(kind, kind)

    def first(self, default: float, *names: str) -> float:
        """The first of these fields that the table or the file has."""
        found = (place[name] for name in names for place in (self.given, self.config) if place.get(name) is not None)
        return float(next(found, default))

    def rotary(
        self,
        head_size: int,
        context: int,
        share: float = 1.0,
        base: float = _DEFAULT_BASE,
        *,
        interleaved: bool = False,
    ) -> Rotary:
        """The rotary embedding of heads of `head_size`; `share` and `base` hold where the file says nothing."""
        kind, given = self.kind, self.given
        size = int(head_size * self.first(share, "partial_rotary_factor", "rotary_pct"))
        original = int(
            self.config.get("original_max_position_embeddings")
            or given.get("original_max_position_embeddings")
            or context
        )
        original = max(original, 2)
        factor = self.first(context / original if kind in {"yarn", LONGROPE} else 1.0, "factor")
        return Rotary(
            size=size,
            kind=kind,
            base=self.first(base, "rope_theta", "rotary_emb_base"),
            interleaved=interleaved,
            factor=1.0 if kind == DEFAULT else factor,
            original_context=original if kind in {"llama3", "yarn", LONGROPE} else 0,
            attention_factor=_attention_factor(kind, factor, original, given),
            low_freq_factor=float(given.get("low_freq_factor") or 1.0),
            high_freq_factor=float(given.get("high_freq_factor") or 4.0),
            beta_fast=float(given.get("beta_fast") or 32),
            beta_slow=float(given.get("beta_slow") or 1),
            truncate=bool(given.get("truncate", True)),
            short_factors=tuple(float(each) for each in given.get("short_factor") or ()),
            long_factors=tuple(float(each) for each in given.get("long_factor") or ()),
        )


def rotary_settings(config: Mapping[str, Any]) -> RotarySettings:
    """What a config.json says of rotary embeddings."""
    return RotarySettings(config.get("rope_scaling") or config.get("rope_parameters") or {}, config)


def _attention_factor(kind: str, factor: float, original: int, given: Mapping[str, Any]) -> float:
    if kind not in {"yarn", LONGROPE}:
        return 1.0
    if given.get("attention_factor") is not None:
        return float(given["attention_factor"])
    if factor <= 1:
        return 1.0
    if kind == LONGROPE:
        return math.sqrt(1 + math.log(factor) / math.log(original))
    scale, scale_all = given.get("mscale"), given.get("mscale_all_dim")
    if scale and scale_all:
        return _mscale(factor, float(scale)) / _mscale(factor, float(scale_all))
    return _mscale(factor, 1.0)


def _mscale(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0

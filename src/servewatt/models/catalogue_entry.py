"""An entry of the catalogue of models known by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CatalogueEntry:
    """A model known by name."""

    name: str
    """As in the study's tables, where it is there."""
    hub_id: str
    architecture: str
    parameters: int
    """Trainable parameters of the shape; tied weights once."""
    published_parameters: float
    """As the study gives it, rounded as there, or as the model's page does."""
    licence: str
    """Identifier on the model's page."""
    gated: bool
    """Whether its page asks to accept conditions before a download."""
    config: Mapping[str, Any] = field(hash=False, repr=False)
    """Its config.json."""
    causal_mask_elements: int = 0
    """Elements of causal masks that the published count took for parameters."""
    revision: str | None = None
    """Commit to download; None for the main branch's, resolved at download and recorded with each run."""
    fim_tokens: tuple[str, str, str] | None = None
    """Texts before prefix, suffix and the middle to be filled in; None for a model that is not known to fill."""

"""The shape of a model's matrices, from its config.json."""

from __future__ import annotations

import json
from pathlib import Path

from servewatt.checkpoints.architecture import architecture_of
from servewatt.checkpoints.config import Config
from servewatt.checkpoints.readers import decoder_shape
from servewatt.errors import InputError, RefusedError
from servewatt.models.catalogue import BUNDLED, find
from servewatt.records import Model, ModelSource, Shape


def shape_of(config: Config) -> Shape | None:
    """The shape that a config.json describes; None where it describes no decoder that servewatt knows."""
    try:
        decoder = decoder_shape(config, architecture_of(config, "the model").name, "the model")
    except (InputError, RefusedError):
        return None
    windows = decoder.windows
    return Shape(
        layers=decoder.layers,
        hidden_size=decoder.hidden,
        query_heads=decoder.heads,
        key_value_heads=decoder.kv_heads,
        head_size=decoder.head_size,
        feed_forward_size=decoder.inner,
        feed_forward_matrices=3 if decoder.gated else 2,
        vocabulary_size=decoder.vocabulary,
        # Of windows that differ none holds for all: the limits are lower bounds, so the shortest counts.
        window=min((window for window in windows if window), default=None),
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

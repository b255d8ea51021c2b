"""What graph engines cannot export, told from config.json before anything is loaded."""

from __future__ import annotations

from servewatt.checkpoints.decoder import Feature
from servewatt.checkpoints.readers import READERS
from servewatt.engines.shared.decoder import decoder_of, described
from servewatt.errors import InputError, RefusedError
from servewatt.records import Model

_NOT_EXPORTED = (Feature.ROTARY_DYNAMIC, Feature.ROTARY_LONGROPE, Feature.ATTENTION_SOFT_CAP)
"""Angles that depend on the row's length would become those of the example; PyTorch's attention has no soft cap."""


def check_exportable(model: Model) -> None:
    """RefusedError for a decoder that cannot become a graph. One that has no description is judged when it loads."""
    if model.architecture not in READERS:
        return
    try:
        shape = decoder_of(model)
    except (InputError, RefusedError):
        return
    for feature in _NOT_EXPORTED:
        if feature in shape.features:
            raise RefusedError(f"{model.name}: {described(shape, feature)} cannot be exported", "use engine torch")

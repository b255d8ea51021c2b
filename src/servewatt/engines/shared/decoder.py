"""The decoder of a model, and what an engine with model code of its own lacks of it."""

from __future__ import annotations

from servewatt.checkpoints.config import read_config
from servewatt.checkpoints.decoder import Activation, DecoderShape, Feature
from servewatt.checkpoints.readers import decoder_shape
from servewatt.errors import RefusedError
from servewatt.records import Model

_OTHERS = "use engine torch"


def decoder_of(model: Model) -> DecoderShape:
    """The decoder that the model's folder describes, its head judged by the weights there.

    RefusedError for an architecture that has no description and for remote code.
    """
    config = read_config(model.folder)
    if "auto_map" in config:
        raise RefusedError(f"{model.name}: its code is remote code, which is never run", "use a standard architecture")
    return decoder_shape(config, model.architecture, model.name)


def refuse_missing(shape: DecoderShape, where: str, lacks: str, able: frozenset[Feature], hint: str = _OTHERS) -> None:
    """RefusedError, with the first that lacks, for a decoder that asks for more than the features `able`.

    `lacks` begins the reason: "engine ctranslate2 has no".
    """
    missing = sorted(shape.features - able, key=list(Feature).index)
    if missing:
        raise RefusedError(f"{where}: {lacks} {described(shape, missing[0])}", hint)


def refuse_activation(
    shape: DecoderShape, where: str, lacks: str, able: frozenset[Activation], hint: str = _OTHERS
) -> None:
    """The same for an activation that is none of `able`."""
    if shape.activation not in able:
        raise RefusedError(f"{where}: {lacks} activation {shape.activation_name!r}", hint)


def described(shape: DecoderShape, feature: Feature) -> str:
    """A feature in words, with the value of this decoder where that helps."""
    if feature is Feature.WINDOW:
        return f"{feature.value} of {min(window for window in shape.windows if window)} tokens"
    if feature is Feature.ROTARY_OTHER:
        kinds = ", ".join(repr(rotary.kind) for rotary in shape.rotaries)
        return f"rotary embeddings of type {kinds}"
    return feature.value

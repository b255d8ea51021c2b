"""What the decoder of torch-graph computes."""

from __future__ import annotations

from servewatt.checkpoints.decoder import Activation, DecoderShape, Feature
from servewatt.engines.shared.decoder import decoder_of, refuse_activation, refuse_missing
from servewatt.engines.torch_graph.entry import ENTRY
from servewatt.errors import RefusedError
from servewatt.records import Model

ABLE = frozenset(Feature) - {
    Feature.ROTARY_INTERLEAVED,
    Feature.ROTARY_OTHER,
    Feature.CROSS_ATTENTION,
    Feature.BIDIRECTIONAL,
    Feature.RESIDUAL_AFTER_NORM,
}
_ACTIVATIONS = frozenset({Activation.GELU, Activation.GELU_TANH, Activation.SILU, Activation.RELU})
_LACKS = "torch-graph does not compute"


def shape_of(model: Model) -> DecoderShape:
    """The model's decoder; RefusedError for what is not computed here."""
    if not ENTRY.knows(model.architecture):
        known = ", ".join(sorted(ENTRY.architectures or ()))
        raise RefusedError(f"{model.name}: torch-graph does not know {model.architecture}", f"it knows {known}")
    shape = decoder_of(model)
    refuse_missing(shape, model.name, _LACKS, ABLE)
    refuse_activation(shape, model.name, _LACKS, _ACTIVATIONS)
    return shape

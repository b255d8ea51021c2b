"""Contents of a model's GGUF file, and the parts from which the layouts of architectures are built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from servewatt.checkpoints.decoder import Activation, DecoderShape, Feature, Norm
from servewatt.engines.shared.decoder import refuse_activation, refuse_missing
from servewatt.errors import RefusedError

Array = npt.NDArray[np.float32]
Change = Callable[[Array], Array]


GELUS = frozenset({Activation.GELU, Activation.GELU_TANH})
"""llama.cpp computes the approximation for either."""


class Role(Enum):
    """What a tensor is, which decides the types it may be stored in."""

    MATRIX = "matrix"
    """Multiplied with activations."""
    EMBEDDING = "embedding"
    """Looked up by token; multiplied, too, where the output projection is tied to it."""
    POSITION = "position"
    """Looked up by position."""
    VECTOR = "vector"
    """A bias or the weight of a norm."""


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of the file and where it comes from."""

    name: str
    source: str
    """Name in the checkpoint; the prefix of the inner model may be missing there."""
    role: Role
    change: Change | None = None
    """Applied to the checkpoint's array in fp32; keeps the shape."""
    transposed: bool = False
    """Whether the checkpoint holds it as (in, out); comes before `change`."""
    rows: tuple[int, int] | None = None
    """First and number of the rows taken of a matrix that holds others too; None for all."""
    stacked: tuple[str, ...] = ()
    """Sources that become one tensor, one row each; empty for `source` alone."""
    values: npt.NDArray[np.float32] | None = None
    """The numbers themselves, of what no checkpoint holds; `source` is then empty."""


@dataclass(frozen=True)
class Layout:
    """A model as llama.cpp wants it."""

    architecture: str
    """llama.cpp's name."""
    prefix: str
    """Prefix of the inner model's tensors in a checkpoint, such as `model.`."""
    metadata: tuple[tuple[str, int | float | bool | str], ...]
    """Hyperparameters; keys without the architecture in front."""
    tensors: tuple[GgufTensor, ...]
    learned_positions: int | None = None
    """Positions that exist, where they are learned; None where any position can be computed."""
    most_tokens: int | None = None
    """Tokens up to which llama.cpp computes a row as transformers does; None for the context."""


def refuse_unless(possible: bool, where: str, what: str) -> None:
    """RefusedError, which names `where` and what is lacking, unless it is `possible`."""
    if not possible:
        raise RefusedError(f"{where}: llama.cpp has no {what} for this architecture", "use another engine")


def check_layout(
    shape: DecoderShape, where: str, activations: frozenset[Activation], able: frozenset[Feature] = frozenset()
) -> None:
    """RefusedError for an activation or a feature that llama.cpp does not compute for the architecture."""
    refuse_activation(shape, where, "llama.cpp has no", activations, "use another engine")
    refuse_missing(shape, where, "llama.cpp has no", able, "use another engine")


def sizes(shape: DecoderShape) -> tuple[tuple[str, int | float], ...]:
    """Hyperparameters that every architecture has."""
    epsilon = "attention.layer_norm_rms_epsilon" if shape.norm is Norm.RMS else "attention.layer_norm_epsilon"
    return (
        ("context_length", shape.context),
        ("embedding_length", shape.hidden),
        ("block_count", shape.layers),
        ("feed_forward_length", shape.inner),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        (epsilon, float(shape.epsilon)),
    )


def head_sizes(shape: DecoderShape) -> tuple[tuple[str, int], ...]:
    """Those of heads that are not a part of the hidden size."""
    return ("attention.key_length", shape.head_size), ("attention.value_length", shape.head_size)


def rotation(shape: DecoderShape) -> tuple[tuple[str, int | float], ...]:
    """Those of rotary embeddings that are not scaled."""
    assert shape.rotary is not None
    return ("rope.dimension_count", shape.rotary.size), ("rope.freq_base", shape.rotary.base)


def rows_of(first: int, count: int) -> tuple[int, int]:
    """`GgufTensor.rows` from `first` on."""
    return first, count


def vectors(name: str, source: str, change: Change | None = None) -> list[GgufTensor]:
    """Weight and bias of a layer norm."""
    return [GgufTensor(f"{name}.{part}", f"{source}.{part}", Role.VECTOR, change) for part in ("weight", "bias")]


def linear(
    name: str, source: str, change: Change | None = None, *, transposed: bool = False, biased: bool = True
) -> list[GgufTensor]:
    """Weight and bias of a linear layer; `change` concerns the rows of both."""
    tensors = [GgufTensor(f"{name}.weight", f"{source}.weight", Role.MATRIX, change, transposed)]
    if biased:
        tensors.append(GgufTensor(f"{name}.bias", f"{source}.bias", Role.VECTOR, change))
    return tensors


def matrix(name: str, source: str, change: Change | None = None) -> GgufTensor:
    """Weight of a linear layer."""
    return GgufTensor(f"{name}.weight", f"{source}.weight", Role.MATRIX, change)


def norm(shape: DecoderShape, name: str, source: str) -> list[GgufTensor]:
    """Weight, and of LayerNorm the bias, as the file holds them: what is added to a stored weight is added there."""
    change = plus_one if shape.norm_offset else None
    tensors = vectors(name, source, change)
    return tensors if shape.norm is Norm.LAYER else tensors[:1]


def rotate_pairs(heads: int) -> Change:
    """Rows of a query or key projection from halves (as in transformers) to neighbours (llama.cpp's Llama)."""

    def change(array: Array) -> Array:
        halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
        return halves.swapaxes(1, 2).reshape(array.shape)

    return change


def split_heads(heads: int) -> Change:
    """Rows of a fused projection from (head, q k v) order to (q k v, head) order."""

    def change(array: Array) -> Array:
        fused = array.reshape(heads, 3, array.shape[0] // heads // 3, *array.shape[1:])
        return fused.swapaxes(0, 1).reshape(array.shape)

    return change


def plus_one(array: Array) -> Array:
    """Gemma's norms multiply by one plus the stored weight."""
    return array + np.float32(1)


def scale_queries(hidden: int, factor: float) -> Change:
    """Multiply the query rows of a fused (q k v) projection."""

    def change(array: Array) -> Array:
        scaled = array.copy()
        scaled[:hidden] *= np.float32(factor)
        return scaled

    return change

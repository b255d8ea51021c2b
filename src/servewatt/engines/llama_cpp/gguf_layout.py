"""Contents of a model's GGUF file, and the parts from which the layouts of architectures are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.checkpoints.rope import DEFAULT, rope_of
from servewatt.errors import RefusedError

Config = Mapping[str, Any]
Array = npt.NDArray[np.float32]
Change = Callable[[Array], Array]

GELU_TANH = frozenset({"gelu_new", "gelu_pytorch_tanh", "gelu_fast"})
"""Names in config.json of the GELU that llama.cpp computes."""


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


@dataclass(frozen=True)
class Layout:
    """A model as llama.cpp wants it."""

    architecture: str
    """llama.cpp's name."""
    prefix: str
    """Prefix of the inner model's tensors in a checkpoint, such as `model.`."""
    metadata: tuple[tuple[str, int | float | bool], ...]
    """Hyperparameters; keys without the architecture in front."""
    tensors: tuple[GgufTensor, ...]
    learned_positions: int | None = None
    """Positions that exist, where they are learned; None where any position can be computed."""


def refuse_unless(possible: bool, where: str, what: str) -> None:
    """RefusedError, which names `where` and what is lacking, unless it is `possible`."""
    if not possible:
        raise RefusedError(f"{where}: llama.cpp has no {what} for this architecture", "use another engine")


def check_activation(config: Config, key: str, default: str, able: frozenset[str], where: str) -> None:
    """RefusedError for an activation of the feed-forward layer that is none of `able`."""
    name = config.get(key) or default
    refuse_unless(name in able, where, f"activation {name!r}")


def rope(config: Config, where: str, default_share: float = 1.0) -> tuple[float, float]:
    """(base, share of each head that is rotated) of rotary positions; RefusedError where they are scaled."""
    found = rope_of(config, default_share)
    refuse_unless(found.kind == DEFAULT, where, f"export of {found.kind!r} rotary scaling")
    return found.base, found.share


def tied(config: Config, default: bool) -> bool:
    """Whether the output projection is the embedding."""
    stated = config.get("tie_word_embeddings")
    return default if stated is None else bool(stated)


def vectors(name: str, source: str, change: Change | None = None) -> list[GgufTensor]:
    """Weight and bias of a layer norm."""
    return [GgufTensor(f"{name}.{part}", f"{source}.{part}", Role.VECTOR, change) for part in ("weight", "bias")]


def linear(name: str, source: str, change: Change | None = None, *, transposed: bool = False) -> list[GgufTensor]:
    """Weight and bias of a linear layer; `change` concerns the rows of both."""
    return [
        GgufTensor(f"{name}.weight", f"{source}.weight", Role.MATRIX, change, transposed),
        GgufTensor(f"{name}.bias", f"{source}.bias", Role.VECTOR, change),
    ]


def matrix(name: str, source: str, change: Change | None = None) -> GgufTensor:
    """Weight of a linear layer."""
    return GgufTensor(f"{name}.weight", f"{source}.weight", Role.MATRIX, change)


def bare(name: str, source: str, change: Change | None = None) -> list[GgufTensor]:
    """All there is of a linear layer without bias."""
    return [matrix(name, source, change)]


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

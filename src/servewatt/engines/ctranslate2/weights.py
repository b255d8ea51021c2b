"""Weights on their way from safetensors into a CTranslate2 model file: each is read, and rounded, when it is written.

The specification classes of CTranslate2 hold variables; `LazyVariable` has what its writer and its search for shared
variables ask of one. So no more than one tensor is in memory at a time, and neither torch nor transformers is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.shared.weights import MappedWeights, StoredTensor, numpy_dtype
from servewatt.errors import InputError

Array = npt.NDArray[Any]
_INT8_MOST = 127.0


@dataclass(frozen=True)
class Source:
    """A tensor that can be read: its shape, and how."""

    shape: tuple[int, ...]
    read: Callable[[], Array]


class Checkpoint:
    """The tensors of a model folder by name, shapes checked."""

    def __init__(self, model_name: str, tensors: dict[str, StoredTensor], prefix: str) -> None:
        """`prefix` is the inner model's, such as `transformer.`; published files may leave it out."""
        self._model_name = model_name
        self._tensors = tensors
        self._weights = MappedWeights(tensors)
        self._prefix = prefix

    def __contains__(self, name: str) -> bool:
        return self._stored_name(name) is not None

    def _stored_name(self, name: str) -> str | None:
        return next((n for n in (name, name.removeprefix(self._prefix)) if n in self._tensors), None)

    def get(self, name: str, *shape: int) -> Source:
        """The tensor called `name`; InputError if it is not there or has another shape."""
        stored = self._stored_name(name)
        if stored is None or self._tensors[stored].shape != shape:
            raise InputError(
                f"{self._model_name}: weights are missing or misshapen, first {name!r}",
                "the folder's config.json and safetensors do not belong together",
            )
        return Source(shape, lambda: self._weights.array(stored))


def transposed(source: Source) -> Source:
    """A matrix with rows and columns swapped."""
    rows, columns = source.shape
    return Source((columns, rows), lambda: source.read().T)


def stacked(sources: Sequence[Source]) -> Source:
    """Tensors one below the other along the first axis."""
    rows = sum(s.shape[0] for s in sources)
    return Source((rows, *sources[0].shape[1:]), lambda: np.concatenate([s.read() for s in sources]))


def rows_of(source: Source, first: int, count: int) -> Source:
    """Some of a matrix's rows."""
    return Source((count, *source.shape[1:]), lambda: source.read()[first : first + count])


def scaled(source: Source, factor: float) -> Source:
    """A tensor times a number, in fp32."""
    return Source(source.shape, lambda: source.read().astype(np.float32) * np.float32(factor))


def queries_keys_values_apart(source: Source, heads: int) -> Source:
    """From rows ordered by head, then query, key, value, to all queries, then all keys, then all values."""

    def read() -> Array:
        array = source.read()
        return array.reshape(heads, 3, -1, *array.shape[1:]).swapaxes(0, 1).reshape(source.shape)

    return Source(source.shape, read)


class LazyVariable:
    """A variable of a CTranslate2 specification whose numbers are made when they are written."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], make: Callable[[], Array]) -> None:
        self.shape = list(shape)
        self.dtype = dtype.name
        self._item_bytes = dtype.itemsize
        self._make = make

    def is_scalar(self) -> bool:
        return False

    def equal(self, other: object) -> bool:
        """Whether both are one, as tied embeddings are."""
        return self is other

    def num_bytes(self) -> int:
        return math.prod(self.shape) * self._item_bytes

    def to_bytes(self) -> bytes:
        return self._make().tobytes()


class _Quantised:
    """A matrix in 8-bit integers with one factor a row, as CTranslate2 quantises: rint(weight * 127 / largest)."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @cached_property
    def factors(self) -> npt.NDArray[np.float32]:
        largest = np.abs(self._source.read().astype(np.float32)).max(axis=1)
        largest[largest == 0] = _INT8_MOST
        # A factor must be a number in fp32 for rows of tiny weights too.
        least = np.float32(_INT8_MOST) / np.finfo(np.float32).max
        factors: npt.NDArray[np.float32] = np.float32(_INT8_MOST) / np.maximum(largest, least)
        return factors

    def integers(self) -> npt.NDArray[np.int8]:
        scaled = self._source.read().astype(np.float32) * self.factors[:, None]
        integers: npt.NDArray[np.int8] = np.rint(scaled).astype(np.int8)
        return integers


class Writer:
    """Puts sources into the layers of a specification, in the types of one CTranslate2 model type."""

    def __init__(self, floating: str, int8_matrices: bool) -> None:
        """`floating` is fp32, bf16 or fp16; with `int8_matrices`, matrices and embeddings are quantised."""
        self._dtype = numpy_dtype(floating)
        self._int8 = int8_matrices

    def plain(self, source: Source) -> LazyVariable:
        """A variable that is never quantised."""
        return LazyVariable(source.shape, self._dtype, lambda: source.read().astype(self._dtype, copy=False))

    def matrix(self, layer: Any, weight: Source, bias: Source | None = None) -> None:
        """Fill a linear or embedding layer."""
        if self._int8:
            quantised = _Quantised(weight)
            layer.weight = LazyVariable(weight.shape, np.dtype(np.int8), quantised.integers)
            layer.weight_scale = LazyVariable(weight.shape[:1], np.dtype(np.float32), lambda: quantised.factors)
        else:
            layer.weight = self.plain(weight)
        if bias is not None:
            layer.bias = self.plain(bias)

    def norm(self, layer: Any, weight: Source, bias: Source | None = None) -> None:
        """Fill a layer or RMS norm."""
        layer.gamma = self.plain(weight)
        if bias is not None:
            layer.beta = self.plain(bias)

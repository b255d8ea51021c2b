"""Weights of matrix products as 8-bit or 4-bit integers with a scale and a zero point for each group.

A matrix is (rows, columns) with a row for each output. A group is `group` neighbours of a row, all of which are
multiplied with neighbouring inputs. Its range, widened to hold 0, is cut into 2^bits - 1 equal steps and each weight
goes to the nearest: w = scale x (q - zero), with an error of at most half a step, or one step at the ends of the
range, where rounding the zero point may push. Nothing is calibrated, so the same matrix gives the same integers in
every engine and on every machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.checkpoints.safetensors import DTYPE_BYTES
from servewatt.engines.shared.file_pages import drop_file_pages
from servewatt.engines.shared.weights import DTYPE_NAMES, numpy_dtype
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Precision

_SLAB = 1 << 22
"""Weights quantised at a time."""
_GROUPS = (128, 64, 32)


@dataclass(frozen=True)
class Groups:
    """Quantised rows of a matrix."""

    integers: npt.NDArray[np.uint8]
    """(rows, columns), 0 to 2^bits - 1."""
    scales: npt.NDArray[np.float32]
    """(rows, groups)."""
    zeros: npt.NDArray[np.uint8]
    """(rows, groups)."""

    def floats(self) -> npt.NDArray[np.float32]:
        """The weights that these integers stand for, (rows, columns)."""
        rows, groups = self.scales.shape
        centred = self.integers.reshape(rows, groups, -1).astype(np.float32) - self.zeros[..., None]
        return (centred * self.scales[..., None]).reshape(self.integers.shape)


def quantise(matrix: npt.NDArray[Any], bits: int, group: int, scale_dtype: str = "fp32") -> Groups:
    """Round the rows of `matrix`, whose columns `group` divides, to integers; scales are values of `scale_dtype`."""
    rows, columns = matrix.shape
    weights = np.ascontiguousarray(matrix, dtype=np.float32).reshape(rows, columns // group, group)
    low = np.minimum(weights.min(axis=2), 0)
    high = np.maximum(weights.max(axis=2), 0)
    top = 2**bits - 1
    scales = ((high - low) / top).astype(numpy_dtype(scale_dtype)).astype(np.float32)
    scales[scales == 0] = 1
    zeros = np.clip(np.rint(-low / scales), 0, top)
    integers = np.clip(np.rint(weights / scales[..., None]) + zeros[..., None], 0, top)
    return Groups(integers.astype(np.uint8).reshape(rows, columns), scales, zeros.astype(np.uint8))


def slabs(matrix: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices of the rows of `matrix`, each small enough to be quantised in little memory."""
    step = max(1, _SLAB // matrix.shape[1])
    for first in range(0, matrix.shape[0], step):
        yield slice(first, min(first + step, matrix.shape[0]))
        drop_file_pages(".safetensors")


def pack(integers: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Integers along the last axis as bytes; two of 4 bits share one, the first in its lower half, 0 beside a last."""
    if bits == 8:
        return integers
    if integers.shape[-1] % 2:
        integers = np.concatenate([integers, np.zeros_like(integers[..., :1])], axis=-1)
    packed: npt.NDArray[np.uint8] = integers[..., 0::2] | (integers[..., 1::2] << np.uint8(4))
    return packed


def check_group(name: str, columns: int, group: int) -> None:
    """RefusedError unless `group` divides the columns of the matrix called `name`."""
    if columns % group:
        fitting = [str(size) for size in _GROUPS if columns % size == 0]
        raise RefusedError(
            f"groups of {group} do not divide {name}, whose rows have {columns} weights",
            f"use option group={fitting[0]}" if fitting else "use another precision",
        )


class SafetensorsWriter:
    """Fills the tensors of a safetensors file in any order and in pieces."""

    def __init__(self, file: Any, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        names = {ours: (theirs, DTYPE_BYTES[theirs]) for theirs, ours in DTYPE_NAMES.items()}
        header: dict[str, Any] = {}
        self._places: dict[str, int] = {}
        position = 0
        # Larger types first, so that every tensor lies at a multiple of its own size.
        for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: -names[item[1][0]][1]):
            end = position + math.prod(shape) * names[dtype][1]
            header[name] = {"dtype": names[dtype][0], "shape": list(shape), "data_offsets": [position, end]}
            self._places[name], position = position, end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 64 + 56)
        self._file = file
        self._start = 8 + len(text)
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(self._start + position)

    def write(self, name: str, first_byte: int, values: npt.NDArray[Any]) -> None:
        """Put `values` into the tensor `name`, beginning at its byte `first_byte`."""
        self._file.seek(self._start + self._places[name] + first_byte)
        self._file.write(np.ascontiguousarray(values).tobytes())


@contextmanager
def writing_safetensors(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> Iterator[SafetensorsWriter]:
    """A file of tensors, name -> (dtype, shape), to be filled inside."""
    with path.open("wb") as file:
        yield SafetensorsWriter(file, tensors)


def options_of(configuration: Configuration) -> Mapping[str, str]:
    """The options of a configuration that computes with quantised weights; RefusedError where they do not fit.

    `group` is 64 if none is asked for. `activations` says as what inputs meet the weights: `float` or, rounded for
    each group of each token as it comes, `int8`; it is open for int4 only, as int8 and w8a8 say it themselves.
    """
    asked = dict(configuration.options)
    settled = {Precision.INT8: "float", Precision.W8A8: "int8"}.get(configuration.precision)
    if settled and asked.get("activations", settled) != settled:
        other = Precision.W8A8 if settled == "float" else Precision.INT8
        raise RefusedError(
            f"{configuration.key}: precision {configuration.precision.value} has {settled} activations",
            f"use precision {other.value}, or leave out activations",
        )
    return {"group": "64", "activations": settled or "float"} | asked


def refuse_options(configuration: Configuration, names: Sequence[str]) -> None:
    """RefusedError for any option of `names`, which only quantised weights have."""
    for name, _ in configuration.options:
        if name in names:
            raise RefusedError(
                f"{configuration.key}: option {name} is for quantised weights",
                "use int8, int4 or w8a8, or leave it out",
            )


def probe_weights(bits: int, group: int) -> tuple[Groups, npt.NDArray[np.float32]]:
    """Weights (64, 4 groups) and inputs (1, 4 groups) whose product tells whether inputs are rounded to int8.

    The first input of each group is 1 and meets a weight of 0; the others are 0.002, which 127 steps to 1 round to 0,
    and meet 1. The product is 0.002 x 4 x (group - 1), or 0 where inputs are rounded.
    """
    zero = 2 ** (bits - 1)
    integers = np.full((64, 4 * group), zero + 1, np.uint8)
    integers[:, ::group] = zero
    inputs = np.full((1, 4 * group), 0.002, np.float32)
    inputs[:, ::group] = 1
    return Groups(integers, np.ones((64, 4), np.float32), np.full((64, 4), zero, np.uint8)), inputs


def probed_type(product: npt.NDArray[np.float32], group: int, floating: str) -> str:
    """`floating` if the product of the probe is exact to 1 %, `int8` if it is 0, else nothing."""
    exact = 0.002 * 4 * (group - 1)
    if np.all(np.abs(product - exact) < 0.01 * exact):
        return floating
    return "int8" if np.all(np.abs(product) < 0.01 * exact) else ""

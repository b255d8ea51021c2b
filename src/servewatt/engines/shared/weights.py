"""A model folder's weights as engines read them, without any tensor library."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.checkpoints.safetensors import checkpoint_files, read_tensors

DTYPE_NAMES = {
    **{"F64": "fp64", "F32": "fp32", "BF16": "bf16", "F16": "fp16", "F8_E4M3": "fp8_e4m3", "F8_E5M2": "fp8_e5m2"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool"},
}
"""Name of a type in the file -> ours."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies."""

    path: Path
    dtype: str
    """`fp32`, `bf16` ..."""
    shape: tuple[int, ...]
    offset: int
    """From the start of the file, bytes."""
    size_bytes: int


def stored_tensors(folder: str | Path) -> dict[str, StoredTensor]:
    """Every tensor of a model folder's weights; InputError if a file is missing, broken or cut short."""
    return tensors_of(checkpoint_files(Path(folder)))


def tensors_of(files: tuple[Path, ...]) -> dict[str, StoredTensor]:
    """Every tensor of these safetensors files; InputError if one is missing, broken or cut short."""
    return {
        name: StoredTensor(t.file, DTYPE_NAMES[t.dtype], t.shape, t.offset, t.size_bytes)
        for name, t in read_tensors(files).items()
    }


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of `fp32`, `fp16`, `bf16`, `uint8` or `bool`; bf16 is that of ml_dtypes, which comes with onnx."""
    if name == "bf16":
        import ml_dtypes

        bf16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bf16
    return np.dtype({"fp32": np.float32, "fp16": np.float16, "uint8": np.uint8, "bool": np.bool_}[name])


class MappedWeights:
    """Tensors of safetensors files, memory-mapped: nothing is read before it is used, nothing is copied."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self._tensors = dict(tensors)
        self._maps: dict[Path, mmap.mmap] = {}

    def dtype(self, name: str) -> str:
        """The stored type, such as `fp32`."""
        return self._tensors[name].dtype

    def array(self, name: str) -> npt.NDArray[Any]:
        """The tensor as a read-only array over the file's pages, in its stored type (one that numpy_dtype knows)."""
        tensor = self._tensors[name]
        if tensor.path not in self._maps:
            with tensor.path.open("rb") as file:
                self._maps[tensor.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        count = math.prod(tensor.shape)
        flat = np.frombuffer(
            self._maps[tensor.path], dtype=numpy_dtype(tensor.dtype), count=count, offset=tensor.offset
        )
        return flat.reshape(tensor.shape)

    def array_as(self, name: str, dtype: str) -> npt.NDArray[Any]:
        """The tensor in `dtype`, rounded to nearest: over the file's pages if it is stored so, else a copy."""
        return self.array(name).astype(numpy_dtype(dtype), copy=False)

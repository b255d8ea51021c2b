"""Safetensors files of a model folder, read without any tensor library.

The format: eight bytes (little-endian) with the length of a JSON header, the header (tensor name -> dtype, shape and
byte range), then the bytes of all tensors. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.errors import InputError
from servewatt.records import Model

SAFETENSORS_DTYPES: dict[str, tuple[str, int]] = {
    "F64": ("fp64", 8),
    "F32": ("fp32", 4),
    "BF16": ("bf16", 2),
    "F16": ("fp16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
"""Name in the file -> (our name, bytes an element)."""

_BROKEN = "download the model again, or check the copy"


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


def read_config(model: Model) -> dict[str, Any]:
    """The model's config.json; InputError if there is none or it is no JSON object."""
    path = Path(model.folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "a model folder holds config.json") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}", _BROKEN) from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: not a JSON object", _BROKEN)
    return config


def stored_tensors(folder: str | Path) -> dict[str, StoredTensor]:
    """Every tensor of every *.safetensors file in `folder`; InputError if a file is missing, broken or cut short."""
    paths = sorted(Path(folder).glob("*.safetensors"))
    if not paths:
        raise InputError(f"{folder}: no *.safetensors file", "pickled weights are refused; convert them to safetensors")
    tensors: dict[str, StoredTensor] = {}
    for path in paths:
        tensors.update(_read_header(path))
    return tensors


def _read_header(path: Path) -> dict[str, StoredTensor]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if size < 8 or header_bytes > size - 8:
                raise InputError(f"{path}: not a safetensors file, or cut short ({size} bytes)", _BROKEN)
            header = json.loads(file.read(header_bytes))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", _BROKEN) from error
    except ValueError as error:
        raise InputError(f"{path}: broken safetensors header: {error}", _BROKEN) from error
    start = 8 + header_bytes
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, item_bytes = SAFETENSORS_DTYPES[entry["dtype"]]
            shape = tuple(int(n) for n in entry["shape"])
            first, last = entry["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: tensor {name!r} has an unusable description ({error})", _BROKEN) from error
        if last - first != math.prod(shape) * item_bytes:
            raise InputError(f"{path}: tensor {name!r} has the wrong number of bytes", _BROKEN)
        if start + last > size:
            raise InputError(f"{path}: cut short: {name!r} ends at byte {start + last} of {size}", _BROKEN)
        tensors[name] = StoredTensor(path, dtype, shape, start + first, last - first)
    return tensors


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

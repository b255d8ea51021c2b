"""A model folder's weights as one GGUF file, written tensor by tensor.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The file holds no tokenizer: token ids go in and
come out.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.checkpoints.config import read_config
from servewatt.engines.llama_cpp.gguf_architectures import layout_of
from servewatt.engines.llama_cpp.gguf_layout import GgufTensor, Layout, Role
from servewatt.engines.llama_cpp.library import library_folder
from servewatt.engines.shared.file_pages import drop_file_pages
from servewatt.engines.shared.weights import MappedWeights, StoredTensor, numpy_dtype, stored_tensors
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model, Precision

FILE_NAME = "model.gguf"
_EXPORT_FORMAT = "3"
"""Part of every artefact's key; changes when the file written for the same model would."""
_ROWS_BYTES = 64 << 20
"""About how many bytes of fp32 rows are quantised at a time."""


@dataclass(frozen=True)
class StorageType:
    """A type in which GGUF holds matrices."""

    name: str
    """ggml's name."""
    number: int
    """Of ggml's enum ggml_type."""
    block: int
    """Elements that share scales; rows must be a multiple of it."""
    parts: tuple[tuple[str, int], ...]
    """(our dtype, bytes) of one block: the elements, then their scales."""

    @property
    def group(self) -> int:
        """Elements that share a scale; 0 where there are no scales."""
        return 32 if self.block > 1 else 0

    @property
    def block_bytes(self) -> int:
        return sum(size for _, size in self.parts)


STORAGE_TYPES: dict[str, StorageType] = {
    t.name: t
    for t in (
        StorageType("f32", 0, 1, (("fp32", 4),)),
        StorageType("f16", 1, 1, (("fp16", 2),)),
        StorageType("bf16", 30, 1, (("bf16", 2),)),
        StorageType("q8_0", 8, 32, (("int8", 32), ("fp16", 2))),
        StorageType("q4_0", 2, 32, (("int4", 16), ("fp16", 2))),
        # 8 scales and 8 minima of 6 bits, and the two factors that scale them.
        StorageType("q4_K", 12, 256, (("int4", 128), ("int6", 12), ("fp16", 4))),
    )
}
_BY_PRECISION = {Precision.FP32: "f32", Precision.FP16: "f16", Precision.BF16: "bf16", Precision.W8A8: "q8_0"}
INT4_FORMATS = {"q4_0": "q4_0", "q4_k": "q4_K"}
"""Value of the option `format` -> ggml's name."""


def storage_of(configuration: Configuration) -> StorageType:
    """The type of the matrices of a configuration; RefusedError for int8, which llama.cpp lacks, and stray options."""
    precision, options = configuration.precision, dict(configuration.options)
    if precision is Precision.INT4:
        return STORAGE_TYPES[INT4_FORMATS[options.get("format", "q4_0")]]
    if "format" in options:
        raise RefusedError(f"{configuration.key}: option format is for precision int4", "leave out the option")
    if precision is Precision.INT8:
        raise RefusedError(
            f"{configuration.key}: llama.cpp rounds activations to 8 bits where they meet 8-bit weights",
            "that is precision w8a8",
        )
    if precision is not Precision.W8A8 and "activations" in options:
        raise RefusedError(f"{configuration.key}: option activations is for w8a8 and int4", "leave out the option")
    return STORAGE_TYPES[_BY_PRECISION[precision]]


def export_key(model: Model, storage: StorageType, versions: Mapping[str, str]) -> tuple[str, ...]:
    """Everything the file depends on."""
    return (model.revision, _EXPORT_FORMAT, storage.name, *(f"{name} {v}" for name, v in sorted(versions.items())))


@dataclass(frozen=True)
class _Planned:
    """A tensor of the file, found in the checkpoint."""

    tensor: GgufTensor
    sources: tuple[str, ...]
    """Names in the checkpoint; none for values that the layout has itself."""
    shape: tuple[int, ...]
    storage: StorageType

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) // self.storage.block * self.storage.block_bytes


def export(model: Model, folder: Path, storage: StorageType) -> None:
    """Write `model` with its matrices in `storage` into `folder`.

    Norms, biases and positions stay fp32. Raises RefusedError for an architecture that llama.cpp lacks or rows that
    `storage` cannot hold, InputError for broken or incomplete weights. Peak memory is about the largest tensor in fp32.
    """
    import gguf

    config = read_config(model.folder)
    layout = layout_of(config, model.name)
    stored = stored_tensors(model.folder)
    planned = _plan(layout, stored, storage, model.name)
    mapped = MappedWeights(stored)
    writer = gguf.GGUFWriter(folder / FILE_NAME, layout.architecture)
    _write_metadata(writer, layout, planned)
    for item in planned:
        writer.add_tensor_info(
            item.tensor.name,
            item.shape,
            np.dtype(np.float32),
            item.size_bytes,
            gguf.GGMLQuantizationType(item.storage.number),
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for item in planned:
        array = _read(item, mapped)
        writer.write_tensor_data(encode(np.ascontiguousarray(array), item.storage))
        del array
        drop_file_pages(".safetensors")
    writer.close()


def _read(item: _Planned, mapped: MappedWeights) -> npt.NDArray[np.float32]:
    """A tensor in fp32 as the file holds it, before it is rounded."""
    tensor = item.tensor
    if tensor.values is not None:
        return tensor.values
    if tensor.stacked:
        return np.stack([mapped.array_as(source, "fp32") for source in item.sources])
    array = mapped.array_as(item.sources[0], "fp32")
    if tensor.transposed:
        array = array.T
    if tensor.rows is not None:
        array = array[tensor.rows[0] : sum(tensor.rows)]
    return array if tensor.change is None else tensor.change(array)


def _write_metadata(writer: Any, layout: Layout, planned: list[_Planned]) -> None:
    for key, value in layout.metadata:
        name = f"{layout.architecture}.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_float32(name, value)
    vocabulary = next(item.shape[0] for item in planned if item.tensor.role is Role.EMBEDDING)
    writer.add_uint32(f"{layout.architecture}.vocab_size", vocabulary)
    writer.add_string("tokenizer.ggml.model", "no_vocab")


def _plan(layout: Layout, stored: Mapping[str, StoredTensor], storage: StorageType, where: str) -> list[_Planned]:
    def names(tensor: GgufTensor) -> tuple[str, ...]:
        return () if tensor.values is not None else tensor.stacked or (tensor.source,)

    found = {name: _source(name, layout.prefix, stored) for tensor in layout.tensors for name in names(tensor)}
    missing = sorted(name for name, source in found.items() if source is None)
    if missing:
        raise InputError(
            f"{where}: {len(missing)} weights are missing or misshapen, first {layout.prefix + missing[0]!r}",
            "the folder's config.json and safetensors do not belong together",
        )
    return [
        _planned(tensor, tuple(str(found[name]) for name in names(tensor)), stored, storage, where)
        for tensor in layout.tensors
    ]


_HEADS = {"embed_out.weight": "lm_head.weight"}
"""The output projection's name in older checkpoints -> in newer ones."""


def _source(name: str, prefix: str, stored: Mapping[str, StoredTensor]) -> str | None:
    candidates = (name, prefix + name, _HEADS.get(name, name))
    return next((candidate for candidate in candidates if candidate in stored), None)


def _planned(
    tensor: GgufTensor, sources: tuple[str, ...], tensors: Mapping[str, StoredTensor], storage: StorageType, where: str
) -> _Planned:
    if tensor.values is not None:
        return _Planned(tensor, (), tensor.values.shape, STORAGE_TYPES["f32"])
    source = sources[0]
    shape = tensors[source].shape
    if tensor.stacked:
        return _Planned(tensor, sources, (len(sources), *shape), STORAGE_TYPES["f32"])
    if tensor.role is not Role.VECTOR and len(shape) != 2:
        raise InputError(f"{where}: {source!r} has {len(shape)} dimensions instead of 2", "check the model folder")
    if tensor.transposed:
        shape = shape[::-1]
    if tensor.rows is not None:
        shape = (tensor.rows[1], *shape[1:])
    held = STORAGE_TYPES["f32"]
    if tensor.role in (Role.MATRIX, Role.EMBEDDING):
        held = storage
        if shape[-1] % storage.block:
            other = "format=q4_0" if storage.name == "q4_K" else "another precision"
            raise RefusedError(
                f"{where}: rows of {source!r} have {shape[-1]} elements, {storage.name} needs multiples of "
                f"{storage.block}",
                f"use {other}",
            )
    elif tensor.role is Role.POSITION and storage.block == 1:
        held = storage
    return _Planned(tensor, sources, shape, held)


def encode(array: npt.NDArray[np.float32], storage: StorageType) -> npt.NDArray[Any]:
    """An fp32 array as the bytes of `storage`, rounded to nearest."""
    if storage.block == 1:
        return array.astype(numpy_dtype(storage.parts[0][0]), copy=False)
    rows = array.reshape(-1, array.shape[-1])
    row_bytes = rows.shape[1] // storage.block * storage.block_bytes
    encoded = np.empty((len(rows), row_bytes), dtype=np.uint8)
    step = max(1, _ROWS_BYTES // (4 * rows.shape[1]))
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        written = ggml_base().ggml_quantize_chunk(
            storage.number,
            part.ctypes.data,
            encoded[first:].ctypes.data,
            0,
            len(part),
            rows.shape[1],
            None,
        )
        assert written == len(part) * row_bytes
    return encoded


@cache
def ggml_base() -> ctypes.CDLL:
    """The library of ggml that comes with llama-cpp-python, with the functions used here declared."""
    library = ctypes.CDLL(str(library_folder() / "libggml-base.so"))
    size, integer, pointer = ctypes.c_int64, ctypes.c_int, ctypes.c_void_p
    library.ggml_quantize_chunk.argtypes = [integer, pointer, pointer, size, size, size, pointer]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    for name in ("ggml_version", "ggml_commit"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def held_weights(path: Path) -> tuple[tuple[str, int], ...]:
    """(dtype, bytes) of the tensors of a GGUF file, scales apart from what they scale."""
    import gguf

    sizes: Counter[str] = Counter()
    by_number = {t.number: t for t in STORAGE_TYPES.values()}
    for tensor in gguf.GGUFReader(path).tensors:
        storage = by_number[int(tensor.tensor_type)]
        for dtype, size in storage.parts:
            sizes[dtype] += int(tensor.n_elements) // storage.block * size
    return tuple(sorted(sizes.items()))

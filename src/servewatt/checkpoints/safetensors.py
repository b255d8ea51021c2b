"""Safetensors checkpoints read by their headers alone: tensor names, shapes and sizes, never the data.

The format (https://huggingface.co/docs/safetensors): eight bytes of header length, little-endian; the header as JSON,
name -> dtype, shape and the two byte offsets of its data; then the data, without gaps, to the end of the file.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.checkpoints.files import is_file, open_file, read_object, shown
from servewatt.errors import InputError, RefusedError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
_HEADER_LIMIT = 100_000_000
_LENGTH_BYTES = 8
_LARGEST = 2**63 - 1
_LFS_MARK = b"version https://git-lfs"
_PICKLED_HINT = (
    "convert it with save_pretrained, or give a --revision that has safetensors (on the hub often refs/pr/N)"
)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint, as its header tells it."""

    name: str
    dtype: str
    """As the file calls it, such as `BF16`."""
    shape: tuple[int, ...]
    file: Path
    offset: int
    """Of its data from the start of the file, bytes."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * DTYPE_BYTES[self.dtype]


def checkpoint_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that hold a folder's weights: one, or the shards that its index names.

    Raises RefusedError for weights that exist only pickled, InputError if there are none or a shard is missing.
    """
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    if is_file(single):
        return (single,)
    if not is_file(index):
        try:
            names = sorted(p.name for p in folder.iterdir() if p.is_file())
        except OSError as error:
            raise InputError(f"cannot read {folder}: {error.strerror}", "check the folder's permissions") from error
        refuse_without_safetensors(str(folder), names)
    files = tuple(folder / name for name in shard_names(index))
    missing = [shown(file.name) for file in files if not is_file(file)]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(files)} weight files are missing, first {missing[0]}",
            "the copy or download did not finish; start it again",
        )
    return files


def refuse_without_safetensors(where: str, names: list[str]) -> None:
    """Raise the reason why `names`, the files of a model, hold no weights servewatt reads."""
    pickled = [name for name in names if name.endswith(PICKLED_SUFFIXES) and not name.startswith("training_args")]
    if pickled:
        raise RefusedError(
            f"{where}: weights are only there as pickle ({pickled[0]}), which can run code", _PICKLED_HINT
        )
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        raise InputError(
            f"{where}: no {SINGLE_FILE} and no {INDEX_FILE}, only {others[0]}",
            "an adapter or one component is no whole model; merge it and save the whole",
        )
    raise InputError(f"{where}: no weights ({SINGLE_FILE})", "only the shape is needed? then use --weights random")


def shard_names(index: Path) -> list[str]:
    """The shards an index file names, each once, sorted."""
    table = read_object(index).get("weight_map")
    names = list(table.values()) if isinstance(table, dict) else []
    plain = bool(names) and all(isinstance(name, str) and _is_plain(name) for name in names)
    if not plain:
        raise InputError(f"{index}: weight_map names no shards of its own folder", "get the file again")
    return sorted(set(names))


def _is_plain(name: str) -> bool:
    """Whether `name` can be that of a file in the same folder."""
    return Path(name).name == name and name.isprintable()


def read_tensors(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by name, each file's header checked against its length."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update((tensor.name, tensor) for tensor in read_header(file))
    return tensors


def read_header(file: Path) -> list[Tensor]:
    """The tensors that a safetensors file says it holds.

    Raises InputError if the file is truncated or its header does not describe it.
    """
    with open_file(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(_LENGTH_BYTES)
        if _LFS_MARK.startswith(start) and start:
            raise InputError(f"{file}: a Git LFS pointer, not the weights themselves", "run git lfs pull in its folder")
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or length > min(_HEADER_LIMIT, max(size - _LENGTH_BYTES, 0)):
            if len(start) == _LENGTH_BYTES and size - _LENGTH_BYTES < length <= _HEADER_LIMIT:
                raise _truncated(file, size, None)
            raise _corrupt(file, "the header's length is wrong" if size else "the file is empty")
        raw = stream.read(length)
    header = _parse_header(file, raw)
    data = _LENGTH_BYTES + length
    spans = sorted((_span(file, data, name, fields) for name, fields in header.items()), key=lambda span: span[:2])
    position = 0
    for begin, end, tensor in spans:
        if begin != position:
            raise _corrupt(file, f"the data of {shown(tensor.name)} does not follow the tensor before it")
        position = end
    expected = data + position
    if size < expected:
        raise _truncated(file, size, expected)
    if size > expected:
        raise _corrupt(file, f"{size - expected} bytes follow the last tensor")
    return [tensor for _, _, tensor in spans]


def _parse_header(file: Path, raw: bytes) -> dict[str, Any]:
    """The header's entries, without its metadata."""

    def entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise _corrupt(file, "the header names one thing twice")
        return table

    try:
        header = json.loads(raw.decode(), object_pairs_hook=entries)
    except ValueError as error:
        raise _corrupt(file, "the header is not JSON") from error
    except RecursionError as error:
        raise _corrupt(file, "the header is nested too deeply") from error
    if not isinstance(header, dict):
        raise _corrupt(file, "the header is not a table")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt(file, "its metadata is not a table of texts")
    return header


def _span(file: Path, data: int, name: str, fields: Any) -> tuple[int, int, Tensor]:
    """Begin and end of a tensor's data, counted from `data`, where the data of all tensors begin."""
    try:
        dtype, shape, (begin, end) = fields["dtype"], tuple(fields["shape"]), fields["data_offsets"]
        numbers = (*shape, begin, end)
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(file, f"the entry of {shown(name)} is incomplete") from error
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise InputError(
            f"{file}: {shown(name)} has the type {shown(dtype)}, which servewatt does not read",
            "use an fp32, bf16 or fp16 checkpoint",
        )
    if any(isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= _LARGEST for n in numbers):
        raise _corrupt(file, f"shape or position of {shown(name)} is not made of whole numbers from 0 to 2^63 - 1")
    tensor = Tensor(name, dtype, shape, file, data + begin)
    if end - begin != tensor.size_bytes:
        raise _corrupt(file, f"{shown(name)} takes {end - begin} bytes, its shape {tensor.size_bytes}")
    return begin, end, tensor


def _corrupt(file: Path, why: str) -> InputError:
    return InputError(f"{file}: corrupt safetensors file: {why}", "get the file again")


def _truncated(file: Path, size: int, expected: int | None) -> InputError:
    of = f" of {expected:,}" if expected else ""
    return InputError(
        f"{file}: truncated safetensors file: {size:,}{of} bytes", "the copy or download did not finish; start it again"
    )

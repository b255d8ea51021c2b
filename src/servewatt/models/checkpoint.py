"""Safetensors checkpoints read by their headers alone: tensor names, shapes and sizes, never the data.

The format (https://huggingface.co/docs/safetensors): eight bytes of header length, little-endian; the header as JSON,
name -> dtype, shape and the two byte offsets of its data; then the data, without gaps, to the end of the file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
_LFS_MARK = b"version https://git-lfs"
_PICKLED_HINT = (
    "convert it with save_pretrained, or give a --revision that has safetensors (on the hub often refs/pr/N)"
)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint, as its header tells it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

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
    if single.is_file():
        return (single,)
    if not index.is_file():
        names = sorted(p.name for p in folder.iterdir() if p.is_file())
        refuse_without_safetensors(str(folder), names)
    files = tuple(folder / name for name in shard_names(index))
    missing = [file.name for file in files if not file.is_file()]
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
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        plain = bool(names) and all(isinstance(name, str) and Path(name).name == name for name in names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not a safetensors index: {error}", "get the file again") from error
    if not plain:
        raise InputError(f"{index}: names no shards of its own folder", "get the file again")
    return names


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
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(_LENGTH_BYTES)
        if _LFS_MARK.startswith(start) and start:
            raise InputError(f"{file}: a Git LFS pointer, not the weights themselves", "run git lfs pull in its folder")
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or length > min(_HEADER_LIMIT, max(size - _LENGTH_BYTES, 0)):
            if len(start) == _LENGTH_BYTES and size - _LENGTH_BYTES < length <= _HEADER_LIMIT:
                raise _truncated(file, size, None)
            raise _corrupt(file, "the header's length is wrong" if size else "the file is empty")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise _corrupt(file, "the header is not JSON") from error
    if not isinstance(header, dict):
        raise _corrupt(file, "the header is not a table")
    header.pop("__metadata__", None)
    spans: list[tuple[int, int, Tensor]] = sorted(
        (_span(file, name, fields) for name, fields in header.items()), key=lambda span: span[:2]
    )
    position = 0
    for begin, end, tensor in spans:
        if begin != position:
            raise _corrupt(file, f"the data of {tensor.name} does not follow the tensor before it")
        position = end
    expected = _LENGTH_BYTES + length + position
    if size < expected:
        raise _truncated(file, size, expected)
    if size > expected:
        raise _corrupt(file, f"{size - expected} bytes follow the last tensor")
    return [tensor for _, _, tensor in spans]


def _span(file: Path, name: str, fields: Any) -> tuple[int, int, Tensor]:
    try:
        dtype, shape, (begin, end) = fields["dtype"], tuple(fields["shape"]), fields["data_offsets"]
        numbers = (*shape, begin, end)
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(file, f"the entry of {name} is incomplete") from error
    if dtype not in DTYPE_BYTES:
        raise InputError(
            f"{file}: {name} has the type {dtype}, which servewatt does not read",
            "use an fp32, bf16 or fp16 checkpoint",
        )
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
        raise _corrupt(file, f"the entry of {name} has a number that is none")
    tensor = Tensor(name, dtype, shape)
    if end - begin != tensor.size_bytes:
        raise _corrupt(file, f"{name} takes {end - begin} bytes, its shape {tensor.size_bytes}")
    return begin, end, tensor


def _corrupt(file: Path, why: str) -> InputError:
    return InputError(f"{file}: corrupt safetensors file: {why}", "get the file again")


def _truncated(file: Path, size: int, expected: int | None) -> InputError:
    of = f" of {expected:,}" if expected else ""
    return InputError(
        f"{file}: truncated safetensors file: {size:,}{of} bytes", "the copy or download did not finish; start it again"
    )

"""Contents of a written CTranslate2 model, read from the header of each variable in its model.bin.

The format (little-endian): version, name of the specification, its revision, number of variables; for each its name,
rank, dimensions, type, bytes. `ctranslate2.specs.model_spec.ModelSpec` writes it.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_TYPES = ("fp32", "int8", "int16", "int32", "fp16", "bf16")
"""In the order of CTranslate2's DataType."""


@dataclass(frozen=True)
class HeldWeights:
    """The weights of a model file; single numbers, which are settings, left out."""

    dtypes: tuple[tuple[str, int], ...]
    """(dtype, bytes)."""
    count: int


def held_weights(model_file: Path) -> HeldWeights:
    """Weights of a `model.bin`."""
    sizes: Counter[str] = Counter()
    count = 0
    with model_file.open("rb") as file:
        _unpack(file, "I")
        _skip_string(file)
        _unpack(file, "I")
        for _ in range(_unpack(file, "I")):
            _skip_string(file)
            rank = _unpack(file, "B")
            file.seek(4 * rank, 1)
            dtype, size = _TYPES[_unpack(file, "B")], _unpack(file, "I")
            file.seek(size, 1)
            if rank:
                sizes[dtype] += size
                count += 1
    return HeldWeights(tuple(sorted(sizes.items())), count)


def _unpack(file: BinaryIO, kind: str) -> int:
    layout = struct.Struct(f"<{kind}")
    (value,) = layout.unpack(file.read(layout.size))
    return int(value)


def _skip_string(file: BinaryIO) -> None:
    file.seek(_unpack(file, "H"), 1)

"""Random checkpoints of any known shape, written tensor by tensor: they time and draw power as trained ones do.

Norm weights are 1, biases 0, everything else N(0, 0.02). Each tensor is drawn in chunks from generators seeded by
(seed, tensor name, chunk), so neither order nor number of threads changes a bit. Never zeros: hardware draws less
power multiplying them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servewatt.checkpoints.architecture import ARCHITECTURES, architecture_of
from servewatt.checkpoints.config import Config
from servewatt.checkpoints.files import shown
from servewatt.checkpoints.safetensors import DTYPE_BYTES, SINGLE_FILE
from servewatt.errors import InputError, UnavailableError
from servewatt.records import Precision

if TYPE_CHECKING:
    import numpy.typing as npt

SCHEME = "normal-0.02 sfc64 chunk-4194304 v1"
"""Names the way the numbers are drawn; any change of it is another revision."""

_CHUNK = 1 << 22
_DEVIATION = 0.02
_DTYPES = {Precision.FP32: "F32", Precision.BF16: "BF16", Precision.FP16: "F16"}
_TORCH_NAMES = {Precision.FP32: "float32", Precision.BF16: "bfloat16", Precision.FP16: "float16"}
_HEADER_ALIGNMENT = 8


@dataclass(frozen=True)
class Shape:
    """Name and shape of one stored tensor."""

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def revision(config: Config, seed: int, precision: Precision = Precision.FP32) -> str:
    """SHA-256 of what decides every bit of a random checkpoint: configuration, seed, type and scheme."""
    text = json.dumps([SCHEME, seed, precision.value, dict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stored_config(config: Config, precision: Precision) -> dict[str, Any]:
    """The config.json of a random checkpoint: the given one, with the type of its weights."""
    kept = {key: value for key, value in config.items() if key not in ("torch_dtype", "dtype", "transformers_version")}
    return {**kept, "architectures": [architecture_of(config, "the model").name], "dtype": _TORCH_NAMES[precision]}


def parameter_shapes(config: Config) -> list[Shape]:
    """Names and shapes of the parameters that transformers builds from a config.json, tied ones once.

    The model is built on torch's meta device, which allocates nothing. Names are those of published checkpoints.
    Raises UnavailableError without torch and transformers, InputError if the configuration makes no model.
    """
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise UnavailableError(
            f"random weights need transformers to know the shapes: {error}", "pip install 'servewatt[torch]'"
        ) from error
    architecture = architecture_of(config, "the model")
    settings = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture.model_type, **settings))
    except Exception as error:
        reason = shown(" ".join(str(error).split()) or type(error).__name__, 200)
        raise InputError(f"config.json makes no {architecture.name}: {reason}", "mend config.json") from error
    rename = {"lm_head.weight": ARCHITECTURES[architecture.name].head}
    return [Shape(rename.get(name, name), tuple(p.shape)) for name, p in model.named_parameters()]


def stored_bytes(shapes: list[Shape], precision: Precision = Precision.FP32) -> int:
    """Bytes of the weights of a checkpoint of these shapes."""
    return sum(shape.elements for shape in shapes) * DTYPE_BYTES[_DTYPES[precision]]


def write_checkpoint(
    folder: Path,
    config: Config,
    shapes: list[Shape],
    *,
    seed: int,
    precision: Precision = Precision.FP32,
    threads: int | None = None,
) -> None:
    """Write config.json and model.safetensors into `folder`. Holds a few chunks of 16 MB a thread in memory."""
    write_config(folder, config, precision)
    workers = threads or len(os.sched_getaffinity(0))
    with (folder / SINGLE_FILE).open("wb") as file, ThreadPoolExecutor(workers) as pool:
        file.write(_header(shapes, _DTYPES[precision]))
        waiting: deque[Future[npt.NDArray[Any]]] = deque()
        for shape, first in _chunks(shapes):
            if len(waiting) > workers:
                file.write(waiting.popleft().result().data)
            waiting.append(pool.submit(_draw, shape, first, seed, precision))
        while waiting:
            file.write(waiting.popleft().result().data)


def write_outline(folder: Path, config: Config, shapes: list[Shape], *, precision: Precision = Precision.FP32) -> None:
    """The same files with a hole in the place of the numbers: of the disk they take what names and shapes take."""
    write_config(folder, config, precision)
    header = _header(shapes, _DTYPES[precision])
    with (folder / SINGLE_FILE).open("wb") as file:
        file.write(header)
        file.truncate(len(header) + stored_bytes(shapes, precision))


def write_config(folder: Path, config: Config, precision: Precision) -> None:
    """Write the config.json of a random checkpoint of this shape into `folder`."""
    text = json.dumps(stored_config(config, precision), indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _header(shapes: list[Shape], dtype: str) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for shape in shapes:
        end = position + shape.elements * DTYPE_BYTES[dtype]
        entries[shape.name] = {"dtype": dtype, "shape": list(shape.shape), "data_offsets": [position, end]}
        position = end
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % _HEADER_ALIGNMENT)
    return len(raw).to_bytes(8, "little") + raw


def _chunks(shapes: list[Shape]) -> Iterator[tuple[Shape, int]]:
    """Every tensor with the number of the first element of each of its chunks."""
    for shape in shapes:
        for first in range(0, shape.elements, _CHUNK):
            yield shape, first


def _draw(shape: Shape, first: int, seed: int, precision: Precision) -> npt.NDArray[Any]:
    import numpy as np

    count = min(_CHUNK, shape.elements - first)
    if shape.name.endswith(".bias"):
        values = np.zeros(count, np.float32)
    elif len(shape.shape) == 1:
        values = np.ones(count, np.float32)
    else:
        text = f"{seed} {first // _CHUNK} {shape.name}"
        entropy = int.from_bytes(hashlib.sha256(text.encode()).digest(), "little")
        values = np.random.Generator(np.random.SFC64(entropy)).standard_normal(count, np.float32)
        values *= np.float32(_DEVIATION)
    if precision is Precision.FP32:
        return values
    if precision is Precision.FP16:
        return values.astype(np.float16)
    bits = values.view(np.uint32)
    # Round to nearest, ties to even; the values are finite and small, so nothing overflows.
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)

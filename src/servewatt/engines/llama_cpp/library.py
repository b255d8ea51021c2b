"""llama.cpp's C functions by way of llama-cpp-python: what it logs, loading a model, making a context."""

from __future__ import annotations

import ctypes
import re
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.errors import InputError, UnavailableError, means_out_of_memory

MOST_SEQUENCES = 256
"""Sequences that one context can hold (LLAMA_MAX_SEQ)."""
OUTPUTS_PER_PASS = 64
"""Positions whose logits are asked for at once, unless there are more rows."""
_CELLS = 256
"""A sequence's share of the cache is a multiple of this."""
_PASS_TOKENS = 512
"""Most tokens that are computed together (llama.cpp's own default)."""
_KEPT_LINES = 1000
_DEBUG = 1
"""Of ggml's enum ggml_log_level."""

CACHE_TYPES = {"fp32": 0, "fp16": 1, "bf16": 30}
"""Our dtype -> number in ggml's enum ggml_type."""
_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}

_PRODUCT_TYPES = _NAMES | {"q8_0": "int8", "q8_1": "int8", "q8_K": "int8"}

_BUFFER = re.compile(r"(\S+)\s+(?:model|KV|compute|output)\s+buffer size\s*=\s*([\d.]+) MiB")
_ASSIGNED = re.compile(r"layer\s+\d+ assigned to device (\w+)")
_FLASH = re.compile(r"flash_attn\s*=\s*enabled")
_CACHE = re.compile(r"K \((\w+)\):.*V \((\w+)\)")
_NO_MEMORY = ("failed to allocate", "unable to allocate", "insufficient memory", "failed to reserve memory")
"""llama.cpp's messages when memory runs out, in lower case, besides common ones."""


class Log:
    """llama.cpp's log since it was cleared; much of its state is reported nowhere else."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._partial = ""

    def write(self, level: int, text: str) -> None:
        if level == _DEBUG and not _ASSIGNED.search(text):
            return
        *whole, self._partial = (self._partial + text).split("\n")
        self._lines.extend(whole)

    def clear(self) -> None:
        self._lines.clear()
        self._partial = ""

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def reason(self) -> str:
        """The line that tells best why something failed."""
        errors = [line for line in self._lines if "error" in line or "failed" in line or "invalid" in line]
        return _without_function((errors or self.lines or ["no reason given"])[0])

    def out_of_memory(self, purpose: str) -> MemoryError | None:
        """The error, which says that it was wanted for `purpose`, if llama.cpp has said that memory ran out."""
        for line in self._lines:
            if means_out_of_memory(line) or any(sign in line.lower() for sign in _NO_MEMORY):
                return MemoryError(f"llama.cpp lacks memory for {purpose}: {_without_function(line)}")
        return None


def _without_function(line: str) -> str:
    """A line of the log without the name of the function that wrote it."""
    line = line.strip()
    return line.partition(": ")[2] or line


LOG = Log()
_callbacks: list[Any] = []
"""Keeps the callback alive: llama.cpp calls it until the process ends."""


def library() -> Any:
    """llama.cpp, started, its log going to LOG; UnavailableError where llama-cpp-python is missing or broken."""
    try:
        from llama_cpp import llama_cpp
    except ImportError as error:
        raise UnavailableError("engine llama-cpp needs llama-cpp-python", "servewatt engines add llama-cpp") from error
    except (OSError, RuntimeError) as error:
        raise UnavailableError(
            f"llama-cpp-python cannot load its library: {error}",
            "servewatt engines add --rebuild llama-cpp",
        ) from error
    if not _callbacks:

        @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
        def write(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
            LOG.write(level, text.decode("utf-8", errors="replace"))

        _callbacks.append(write)
        llama_cpp.llama_log_set(write, None)
        llama_cpp.llama_backend_init()
    return llama_cpp


def library_folder() -> Path:
    """Where llama-cpp-python keeps the shared libraries of llama.cpp and ggml."""
    import llama_cpp

    return Path(llama_cpp.__file__).parent / "lib"


def is_built_for_cuda() -> bool:
    """Whether the installed library has ggml's CUDA part, device or no device."""
    return (library_folder() / "libggml-cuda.so").exists()


class _TypeTraits(ctypes.Structure):
    """The struct ggml_type_traits_cpu of ggml-cpu.h."""

    _fields_ = (
        ("from_float", ctypes.c_void_p),
        ("vec_dot", ctypes.c_void_p),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    )


def product_type(weights: int) -> str:
    """Our dtype of the products that the CPU computes with matrices of type `weights`, by ggml's own table.

    `weights` is a number of ggml's enum ggml_type. The table has the type that activations are brought to.
    """
    folder = library_folder()
    cpu, base = ctypes.CDLL(str(folder / "libggml-cpu.so")), ctypes.CDLL(str(folder / "libggml-base.so"))
    cpu.ggml_get_type_traits_cpu.restype = ctypes.POINTER(_TypeTraits)
    base.ggml_type_name.restype = ctypes.c_char_p
    name: str = base.ggml_type_name(cpu.ggml_get_type_traits_cpu(weights).contents.vec_dot_type).decode()
    return _PRODUCT_TYPES.get(name, name)


@dataclass(frozen=True)
class LoadedModel:
    """A model in llama.cpp's memory."""

    handle: Any
    path: Path
    vocabulary: int
    layers: tuple[tuple[str, int], ...]
    """(device, number of layers there), the output projection counted as a layer."""
    buffers_mib: tuple[tuple[str, float], ...]
    """(buffer, size) of the weights."""


def load_model(path: Path, on_gpu: bool) -> LoadedModel:
    """Load a GGUF file, its weights memory-mapped: all of it on the CPU, or on the first GPU that is visible.

    MemoryError if there is no memory for it, InputError if llama.cpp cannot load it.
    """
    llama = library()
    LOG.clear()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = -1 if on_gpu else 0
    # Left alone, llama.cpp spreads the layers over every GPU, and lets one help with prompts where no layer is on it.
    params.split_mode = llama.LLAMA_SPLIT_MODE_NONE
    params.main_gpu = 0 if on_gpu else -1
    params.load_mode = llama.LLAMA_LOAD_MODE_MMAP
    handle = llama.llama_model_load_from_file(str(path).encode(), params)
    if not handle:
        if lack := LOG.out_of_memory("the weights"):
            raise lack
        raise InputError(f"{path}: llama.cpp cannot load it: {LOG.reason()}", f"remove {path.parent} and start again")
    lines = LOG.lines
    devices = Counter(match[1] for line in lines if (match := _ASSIGNED.search(line)))
    layers = Counter[str]()
    for device, count in devices.items():
        # Another board than the one that is asked for and metered keeps its name, which no claim allows.
        layers["cuda" if device == "CUDA0" else device.lower()] += count
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(handle))
    return LoadedModel(handle, path, vocabulary, tuple(sorted(layers.items())), _buffers(lines))


def _buffers(lines: list[str]) -> tuple[tuple[str, float], ...]:
    sizes: Counter[str] = Counter()
    for line in lines:
        if match := _BUFFER.search(line):
            sizes[match[1]] += float(match[2])  # type: ignore[assignment]
    return tuple(sorted(sizes.items()))


@dataclass(frozen=True)
class Capacity:
    """Capacity of a context."""

    rows: int
    tokens_per_row: int
    """Of prompt and output."""
    tokens_per_batch: int
    """Given to it in one call."""

    def holds(self, other: Capacity) -> bool:
        return (
            self.rows >= other.rows
            and self.tokens_per_row >= other.tokens_per_row
            and self.tokens_per_batch >= other.tokens_per_batch
        )

    @property
    def cells(self) -> int:
        """Tokens that the cache has room for, over all rows."""
        return self.rows * (-(-self.tokens_per_row // _CELLS) * _CELLS)

    def joined(self, other: Capacity) -> Capacity:
        """Room for either, unless that takes more than both do apart: then for this one alone.

        Many short rows and one long row would otherwise become many long rows.
        """
        either = Capacity(
            max(self.rows, other.rows),
            max(self.tokens_per_row, other.tokens_per_row),
            max(self.tokens_per_batch, other.tokens_per_batch),
        )
        return either if either.cells <= self.cells + other.cells else self


@dataclass(frozen=True)
class ContextOptions:
    """How a context computes."""

    threads: int
    cache_dtype: str
    flash_attention: bool


@dataclass(frozen=True)
class Context:
    """A context of llama.cpp: the KV cache and the buffers of computation."""

    handle: Any
    capacity: Capacity
    cache_dtype: str
    """As llama.cpp says it holds keys and values."""
    buffers_mib: tuple[tuple[str, float], ...]
    flash_attention: bool
    """As llama.cpp says."""


def new_context(model: LoadedModel, capacity: Capacity, options: ContextOptions) -> Context:
    """A context with room for `capacity`.

    MemoryError if there is no memory for it, UnavailableError if llama.cpp cannot make it for another reason.
    """
    llama = library()
    LOG.clear()
    params = llama.llama_context_default_params()
    params.n_seq_max = capacity.rows
    params.n_ctx = capacity.cells
    params.n_batch = max(capacity.tokens_per_batch, capacity.rows, OUTPUTS_PER_PASS)
    params.n_ubatch = min(params.n_batch, _PASS_TOKENS)
    params.n_outputs_max = max(capacity.rows, OUTPUTS_PER_PASS)
    params.n_threads = params.n_threads_batch = options.threads
    params.type_k = params.type_v = CACHE_TYPES[options.cache_dtype]
    params.flash_attn_type = int(options.flash_attention)
    # Each row attends to its own cells only, instead of to all with a mask.
    params.kv_unified = False
    params.no_perf = True
    handle = llama.llama_init_from_model(model.handle, params)
    if not handle:
        if lack := LOG.out_of_memory(f"a cache of {capacity.rows} x {capacity.tokens_per_row} tokens"):
            raise lack
        raise UnavailableError(f"llama.cpp cannot make a context: {LOG.reason()}", "try a smaller batch")
    lines = LOG.lines
    held = {_NAMES.get(name, name) for line in lines if (match := _CACHE.search(line)) for name in match.groups()}
    flash = any(_FLASH.search(line) for line in lines)
    return Context(handle, capacity, "+".join(sorted(held)), _buffers(lines), flash)

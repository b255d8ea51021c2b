"""llama.cpp: a GGUF file written from the model folder, batches of sequences decoded through its C functions."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.checkpoints.config import read_config
from servewatt.engines.base import Artefacts, Session, Step
from servewatt.engines.llama_cpp.batch import Batch
from servewatt.engines.llama_cpp.entry import ENTRY
from servewatt.engines.llama_cpp.gguf_architectures import layout_of
from servewatt.engines.llama_cpp.gguf_export import (
    FILE_NAME,
    StorageType,
    export,
    export_key,
    ggml_base,
    held_weights,
    storage_of,
)
from servewatt.engines.llama_cpp.gguf_layout import Layout
from servewatt.engines.llama_cpp.library import (
    LOG,
    MOST_SEQUENCES,
    OUTPUTS_PER_PASS,
    Capacity,
    Context,
    ContextOptions,
    LoadedModel,
    is_built_for_cuda,
    library,
    load_model,
    new_context,
    product_type,
)
from servewatt.engines.shared.decode import chosen_log_probabilities
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.file_pages import drop_file_pages
from servewatt.engines.shared.host import cpu_threads, library_versions
from servewatt.engines.shared.rows import Rows
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.records import Configuration, Facts, Model, Precision, Provider

_INVALID_BATCH = -1
"""Status of llama_decode for a batch with a token that is none of the model's."""


class LlamaCppEngine:
    """Writes a model's GGUF file once, then loads it."""

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)
        ENTRY.check_support(configuration)
        storage_of(configuration)
        context_options(configuration)
        layout_of(read_config(model.folder), model.name)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        _artefact(model, configuration, artefacts)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        _check_provider(configuration)
        options = context_options(configuration)
        path = _artefact(model, configuration, artefacts) / FILE_NAME
        loaded = load_model(path, configuration.provider is Provider.CUDA)
        # Weights that were packed or copied to a device need not stay mapped in memory.
        drop_file_pages(FILE_NAME)
        layout = layout_of(read_config(model.folder), model.name)
        return LlamaCppSession(loaded, storage_of(configuration), options, layout)


def _check_provider(configuration: Configuration) -> None:
    if configuration.provider is Provider.CPU:
        return
    if not library().llama_supports_gpu_offload():
        if is_built_for_cuda():
            raise UnavailableError(
                f"{configuration.key}: llama.cpp finds no CUDA device", "check `nvidia-smi`, or use provider cpu"
            )
        raise UnavailableError(
            f"{configuration.key}: this llama-cpp-python is built without CUDA",
            "CMAKE_ARGS=-DGGML_CUDA=ON servewatt engines add --rebuild llama-cpp; or use provider cpu",
        )
    if configuration.precision is Precision.FP32:
        raise RefusedError(
            f"{configuration.key}: llama.cpp computes fp32 products on CUDA in TF32", "use bf16, fp16, w8a8 or int4"
        )


def context_options(configuration: Configuration) -> ContextOptions:
    """How the contexts of a configuration compute. The cache has the type of a floating precision, else fp16.

    RefusedError for flash attention in fp32: llama.cpp rounds queries and products to fp16 in it.
    """
    precision, options = configuration.precision, dict(configuration.options)
    natural = precision.value if precision.is_floating else "fp16"
    attention = options.get("attention", "plain" if precision is Precision.FP32 else "flash")
    if precision is Precision.FP32 and attention == "flash":
        raise RefusedError(
            f"{configuration.key}: llama.cpp's flash attention computes in fp16", "leave out the option attention"
        )
    return ContextOptions(cpu_threads(configuration), options.get("cache", natural), attention == "flash")


def _decode_failure(status: int) -> Exception:
    """The error for a status of llama_decode other than 0."""
    if status == _INVALID_BATCH:
        return InputError(f"llama.cpp could not decode: {LOG.reason()}", "check that every token id is known")
    return LOG.out_of_memory("decoding") or RuntimeError(
        f"llama.cpp could not decode (status {status}): {LOG.reason()}"
    )


def _artefact(model: Model, configuration: Configuration, artefacts: Artefacts) -> Path:
    """The folder with the GGUF file."""
    ENTRY.check_options(configuration)
    storage = storage_of(configuration)
    layout_of(read_config(model.folder), model.name)
    library()
    versions = dict(library_versions(("gguf", "llama-cpp-python")))
    key = export_key(model, storage, versions)
    return artefacts.get_or_build("gguf", key, lambda folder: export(model, folder, storage))


class LlamaCppSession:
    """A model in llama.cpp. Every row is a sequence of its own: nothing is padded."""

    def __init__(self, model: LoadedModel, storage: StorageType, options: ContextOptions, layout: Layout) -> None:
        self._llama = library()
        self._model = model
        self._storage = storage
        self._options = options
        self._architecture = layout.architecture
        self._learned_positions = layout.learned_positions
        self._most_tokens = layout.most_tokens
        self._context: Context | None = None
        self._batch = Batch(1)
        self._memory: Any = None
        self._logits_place = (0, 0)
        self._logits = np.empty((0, 0), np.float32)
        self._proof: DecodeProof | None = None

    @property
    def model(self) -> LoadedModel:
        """Memory that llama.cpp holds."""
        return self._model

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Greedy decoding, one Step a token; see `servewatt.engines.base.Session.generate`."""
        count, lengths = len(prompts), [len(prompt) for prompt in prompts]
        self._begin(Capacity(count, max(lengths) + max_new_tokens, sum(lengths)))
        batch, rows = self._batch, Rows(count, stop_ids)
        batch.fill(prompts)
        ids = self._decode(count).argmax(axis=1)
        batch.start_decoding(lengths)
        for produced in range(1, max_new_tokens + 1):
            yield rows.step(ids.tolist(), time.monotonic())
            if rows.over or produced == max_new_tokens:
                return
            batch.tokens[:count] = ids
            ids = (self._decode(count) if self._proof is not None else self._proven_decode(count)).argmax(axis=1)
            batch.positions[:count] += 1

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural logarithm of the probability of each token of each row after its first, given those before it."""
        result = []
        for row in rows:
            self._begin(Capacity(1, len(row), min(len(row), OUTPUTS_PER_PASS)))
            found: list[float] = []
            for first in range(0, len(row) - 1, OUTPUTS_PER_PASS):
                given = row[first : min(first + OUTPUTS_PER_PASS, len(row) - 1)]
                self._batch.fill_part(given, first)
                following = row[first + 1 : first + 1 + len(given)]
                found += chosen_log_probabilities(self._decode(len(given)), following)
            result.append(found)
        return result

    def _begin(self, needed: Capacity) -> None:
        """An empty cache with room for `needed`."""
        if needed.rows > MOST_SEQUENCES:
            raise RefusedError(
                f"llama.cpp decodes at most {MOST_SEQUENCES} sequences at once, not {needed.rows}",
                f"use a batch of at most {MOST_SEQUENCES}",
            )
        if self._learned_positions is not None and needed.tokens_per_row > self._learned_positions:
            raise InputError(
                f"prompt and output have {needed.tokens_per_row} tokens, the model has {self._learned_positions} "
                "positions",
                "ask for fewer new tokens, or use shorter prompts",
            )
        if self._most_tokens is not None and needed.tokens_per_row > self._most_tokens:
            raise InputError(
                f"prompt and output have {needed.tokens_per_row} tokens; beyond {self._most_tokens} llama.cpp has "
                "neither the model's sliding window nor its switch of rotary embeddings",
                "ask for fewer new tokens, use shorter prompts, or use engine torch-graph",
            )
        if self._context is None or not self._context.capacity.holds(needed):
            self._context = self._larger_context(needed)
            room = self._context.capacity
            self._batch = Batch(max(room.tokens_per_batch, room.rows, OUTPUTS_PER_PASS))
            self._memory = self._llama.llama_get_memory(self._context.handle)
        self._llama.llama_memory_clear(self._memory, False)
        # What llama.cpp says from now on is of this generation.
        LOG.clear()

    def _larger_context(self, needed: Capacity) -> Context:
        """A context with room for `needed` and, if memory suffices, for what the one before it had room for."""
        wanted = needed
        if self._context is not None:
            wanted = needed.joined(self._context.capacity)
            self._llama.llama_free(self._context.handle)
            self._context = None
        try:
            return new_context(self._model, wanted, self._options)
        except MemoryError:
            if wanted == needed:
                raise
            return new_context(self._model, needed, self._options)

    def _decode(self, outputs: int) -> npt.NDArray[np.float32]:
        """Compute the batch; logits of the tokens that want them, shape (outputs, vocabulary).

        InputError for token ids that the model does not have, MemoryError, RuntimeError where computing failed.
        """
        assert self._context is not None
        status = self._llama.llama_decode(self._context.handle, self._batch.struct)
        if status != 0:
            raise _decode_failure(status)
        logits = self._llama.llama_get_logits(self._context.handle)
        # Making an array of a pointer costs a small model some per cent of a step, and the place seldom changes.
        place = (ctypes.addressof(logits.contents), outputs)
        if place != self._logits_place:
            self._logits_place = place
            self._logits = np.ctypeslib.as_array(logits, (outputs, self._model.vocabulary))
        return self._logits

    def _proven_decode(self, outputs: int) -> npt.NDArray[np.float32]:
        """The same, and observe its effect on the cache of the first row."""
        assert self._context is not None
        before = self._cached_tokens()
        logits = self._decode(outputs)
        fed = self._batch.struct.n_tokens // outputs
        self._proof = DecodeProof(fed, before, self._cached_tokens(), self._context.cache_dtype)
        return logits

    def _cached_tokens(self) -> int:
        return int(self._llama.llama_memory_seq_pos_max(self._memory, 0)) + 1

    def synchronize(self) -> None:
        if self._context is not None:
            self._llama.llama_synchronize(self._context.handle)

    def peak_device_bytes(self) -> int | None:
        buffers = self._model.buffers_mib + (self._context.buffers_mib if self._context is not None else ())
        on_device = [size for name, size in buffers if name.startswith("CUDA") and "Host" not in name]
        return round(sum(on_device) * 2**20) if on_device else None

    def close(self) -> None:
        if self._context is not None:
            self._llama.llama_free(self._context.handle)
            self._context = None
        self._llama.llama_model_free(self._model.handle)

    def facts(self) -> Facts:
        base, context, proof = ggml_base(), self._context, self._proof
        buffers = self._model.buffers_mib + (context.buffers_mib if context is not None else ())
        return Facts(
            engine_version=base.ggml_version().decode(),
            libraries=library_versions(("llama-cpp-python", "gguf", "numpy")),
            devices=self._model.layers,
            weight_dtypes=held_weights(self._model.path),
            compute_dtype=self._compute_dtype(),
            kv_cache=proof is not None and proof.reuses_cache,
            kv_cache_dtype=proof.cache_dtype if proof is not None else "",
            threads=int(self._llama.llama_n_threads(context.handle)) if context is not None else None,
            group=self._storage.group or None,
            options=() if context is None else (("attention", "flash" if context.flash_attention else "plain"),),
            detail=(
                ("attention", "none yet" if context is None else "flash" if context.flash_attention else "plain"),
                ("gelu", self._gelu()),
                ("format", self._storage.name),
                *((("group", str(self._storage.group)),) if self._storage.group else ()),
                ("model_bytes", str(int(self._llama.llama_model_size(self._model.handle)))),
                ("buffers_mib", ", ".join(f"{size:g} {name}" for name, size in buffers)),
                ("commit", base.ggml_commit().decode()),
                ("system", self._llama.llama_print_system_info().decode().strip(" |\n")),
            ),
        )

    def _gelu(self) -> str:
        """How the activation of every architecture but Llama is computed, whatever the precision."""
        if self._architecture == "llama":
            return "none"
        return "tanh, from a table of fp16" if dict(self._model.layers).keys() == {"cpu"} else "tanh"

    def _compute_dtype(self) -> str:
        """llama.cpp brings activations to the weights' type; those for quantised weights to 8-bit integers."""
        if dict(self._model.layers).keys() == {"cpu"}:
            return product_type(self._storage.number)
        # The CUDA part does not tell. It has kernels for quantised weights times q8_1 only.
        dtype = self._storage.parts[0][0]
        return "int8" if dtype.startswith("int") else dtype

"""PyTorch's JIT: the model traced into a graph with the KV cache in and out, frozen, and run by the graph executor."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.causal_graph import (
    CacheShape,
    build_causal_graph,
    empty_cache,
    example_inputs,
    probe_cache,
    register_attention,
)
from servewatt.engines.proof import DecodeProof
from servewatt.engines.torch_model import dtype_name, load_module, prepare_torch
from servewatt.engines.torch_session import TorchSession
from servewatt.records import Configuration, Facts, Model

if TYPE_CHECKING:
    import torch


class TorchScriptEngine:
    """Traces a model at load: that takes seconds, and a stored trace would be a second copy of the weights."""

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        import torch

        device = prepare_torch(configuration)
        module = load_module(model, configuration.precision, device, register_attention())
        cache = probe_cache(module)
        with torch.no_grad(), _deprecation_accepted(), _tracer_warnings_accepted():
            traced = torch.jit.trace(
                build_causal_graph(module), example_inputs(module, cache), check_trace=False, strict=False
            )
            frozen = torch.jit.freeze(traced)
        session = TorchScriptSession(frozen, module, cache, device)
        return session


@contextmanager
def _deprecation_accepted() -> Iterator[None]:
    """TorchScript is the subject here, so torch's advice to leave it is not news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is (deprecated|not supported)")
        yield


@contextmanager
def _tracer_warnings_accepted() -> Iterator[None]:
    """Python branches of the modelling code that the trace fixes; tests show it holds for any batch and length."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


@dataclass
class TraceState:
    """What one generation carries from step to step."""

    padding: torch.Tensor
    cache: list[torch.Tensor]


class TorchScriptSession(TorchSession[TraceState]):
    """A frozen trace."""

    def __init__(self, graph: Any, module: Any, cache: CacheShape, device: torch.device) -> None:
        super().__init__(module, device)
        self._graph = graph
        self._cache = cache

    def start(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int
    ) -> tuple[torch.Tensor, TraceState]:
        import torch

        padding = torch.from_numpy(ids.shape[1] - mask.sum(axis=1)).to(self._device)
        dtype = next(self._module.parameters()).dtype
        cache = empty_cache(self._cache, len(ids), lambda shape: torch.empty(shape, dtype=dtype, device=self._device))
        return self._ids_on_device(ids), TraceState(padding, list(cache))

    def step(self, ids: torch.Tensor, state: TraceState) -> tuple[torch.Tensor, TraceState]:
        before = state.cache[0].shape[2]
        logits, _, *cache = self._graph(ids, state.padding, *state.cache)
        if self._proof is None and before:
            self._proof = DecodeProof(ids.shape[1], before, cache[0].shape[2], dtype_name(cache[0].dtype))
        state.cache = cache
        return logits, state

    def close(self) -> None:
        self._graph = None
        super().close()

    def _attention(self) -> str:
        return "sdpa"

    def facts(self) -> Facts:
        return self._facts(self._module)

"""PyTorch's JIT: the model traced into a graph with the KV cache in and out, frozen, and run by the graph executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.shared.causal_graph import (
    CacheShape,
    empty_cache,
    probe_cache,
    register_attention,
    trace_graph,
    tracer_noise_accepted,
)
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.exportable import check_exportable
from servewatt.engines.shared.packed_linear import pack_as_asked
from servewatt.engines.shared.torch_model import dtype_name, load_module, prepare_torch
from servewatt.engines.shared.torch_session import TorchSession
from servewatt.engines.torchscript.entry import ENTRY
from servewatt.records import Configuration, Facts, Model

if TYPE_CHECKING:
    import torch


class TorchScriptEngine:
    """Traces a model at load: that takes seconds, and a stored trace would be a second copy of the weights."""

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)
        ENTRY.check_support(configuration)
        check_exportable(model)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        """Nothing to do: it loads checkpoints as they are."""

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        import torch

        self.check(model, configuration)
        device = prepare_torch(configuration)
        module = load_module(model, configuration.precision, device, register_attention())
        packed = pack_as_asked(module, configuration)
        cache = probe_cache(module)
        with torch.no_grad(), tracer_noise_accepted():
            # Fused kernels for any shape: one for each cache length would be compiled anew at every step.
            torch.jit.set_fusion_strategy([("DYNAMIC", 4)])
            frozen = torch.jit.freeze(trace_graph(module, cache))
        attention = "sdpa" if module._supports_sdpa else "eager"
        session = TorchScriptSession(frozen, cache, attention, packed, device)
        session.settle(configuration.batch)
        return session


@dataclass
class TraceState:
    """State of a generation between steps."""

    padding: torch.Tensor
    cache: list[torch.Tensor]


class TorchScriptSession(TorchSession[TraceState]):
    """A frozen trace."""

    def __init__(
        self, graph: Any, cache: CacheShape, attention: str, packed: list[torch.Tensor], device: torch.device
    ) -> None:
        super().__init__(device)
        self._packed = packed
        self._graph = graph
        self._cache = cache
        self._attention_name = attention
        self._dtype = max(self._weights(), key=lambda tensor: tensor.numel()).dtype

    def settle(self, batch: int) -> None:
        """Generate until the graph executor has compiled what it will run.

        Its first two calls profile and compile, and are several times slower than those after.
        """
        for _ in range(2):
            list(self.generate([[0, 0]] * batch, 4))
        self._proof = None

    def start(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int
    ) -> tuple[torch.Tensor, TraceState]:
        import torch

        padding = torch.from_numpy(ids.shape[1] - mask.sum(axis=1)).to(self._device)
        cache = empty_cache(
            self._cache, len(ids), lambda shape: torch.empty(shape, dtype=self._dtype, device=self._device)
        )
        return self.from_host(ids), TraceState(padding, list(cache))

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
        return self._attention_name

    def _weights(self) -> list[torch.Tensor]:
        """The tensors frozen into the graph, and the packed ones, which it keeps as attributes."""
        constants = [n for n in self._graph.graph.findAllNodes("prim::Constant") if n.hasAttribute("value")]
        return [node.t("value") for node in constants if node.kindOf("value") == "t"] + self._packed

    def facts(self) -> Facts:
        return self._facts(self._weights(), len(self._packed))

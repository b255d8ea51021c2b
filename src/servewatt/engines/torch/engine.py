"""PyTorch, eager: the transformers modelling code, called with as little around it as possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.packed_linear import pack_as_asked
from servewatt.engines.shared.torch_model import dtype_name, load_module, prepare_torch, takes_position_ids
from servewatt.engines.shared.torch_session import TorchSession
from servewatt.engines.torch.entry import ENTRY
from servewatt.records import Configuration, Facts, Model

if TYPE_CHECKING:
    import torch


class TorchEngine:
    """Loads a model as a transformers module."""

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)
        ENTRY.check_support(configuration)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        """Nothing to do: it loads checkpoints as they are."""

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        self.check(model, configuration)
        device = prepare_torch(configuration)
        module = load_module(model, configuration.precision, device)
        packed = pack_as_asked(module, configuration)
        return TorchEagerSession(module, len(packed), device)


@dataclass
class EagerState:
    """State of a generation between steps."""

    cache: Any
    positions: torch.Tensor
    """Positions of the whole generation, shape (1 or batch, prompt + new tokens); a step takes its columns."""
    mask: torch.Tensor | None
    """1 where a token is real, shape (batch, prompt + new tokens); None where no row is padded."""
    length: int
    """Tokens in the cache."""
    ids: torch.Tensor | None = None
    """Those of the cache, shape (batch, length), where a step may compute them all anew; else None."""


class TorchEagerSession(TorchSession[EagerState]):
    """A transformers module and the tensors it needs each step.

    Everything that does not depend on the tokens (mask, positions, room for the cache) is made once a generation.
    """

    def __init__(self, module: Any, packed: int, device: torch.device) -> None:
        super().__init__(device)
        self._packed = packed
        self._module = module
        self._takes_positions = takes_position_ids(module)
        self._switch = longrope_switch(module.config)

    def start(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int
    ) -> tuple[torch.Tensor, EagerState]:
        import torch

        prompt = ids.shape[1]
        total = prompt + max_new_tokens
        columns = torch.arange(total)
        if mask.all():
            positions, whole_mask = columns[None], None
        else:
            padding = torch.from_numpy(prompt - mask.sum(axis=1))[:, None]
            positions = (columns - padding).clamp_min(0)
            whole_mask = (columns >= padding).long().to(self._device)
        cache = preallocated_cache(self._module.config, total)
        return self.from_host(ids), EagerState(cache, positions.to(self._device), whole_mask, 0)

    def step(self, ids: torch.Tensor, state: EagerState) -> tuple[torch.Tensor, EagerState]:
        import torch

        before, after = state.length, state.length + ids.shape[1]
        inputs: dict[str, Any] = {}
        if self._switch is not None:
            state.ids = ids if state.ids is None else torch.cat([state.ids, ids], dim=1)
            if 0 < before <= self._switch < after:
                # What the cache holds was rotated for short rows: as `generate` does, all is computed anew.
                ids, before = state.ids, 0
                state.cache = preallocated_cache(self._module.config, state.positions.shape[1])
        if self._takes_positions:
            inputs["position_ids"] = state.positions[:, before:after]
        if state.mask is not None:
            inputs["attention_mask"] = state.mask[:, :after]
        with torch.inference_mode():
            out = self._module(input_ids=ids, past_key_values=state.cache, use_cache=True, logits_to_keep=1, **inputs)
        if self._proof is None and before:
            keys = state.cache.layers[0].keys
            self._proof = DecodeProof(ids.shape[1], before, state.cache.get_seq_length(), dtype_name(keys.dtype))
        state.length = after
        return out.logits[:, -1], state

    def _attention(self) -> str:
        return str(self._module.config._attn_implementation)

    def close(self) -> None:
        self._module = None
        super().close()

    def facts(self) -> Facts:
        return self._facts([*self._module.parameters(), *self._module.buffers()], self._packed)


def longrope_switch(config: Any) -> int | None:
    """The length beyond which a Phi 3 rotates by its factors for long rows; None where it has none.

    Of the library's models only Phi 3 computes a row anew that grows beyond it (`prepare_inputs_for_generation`).
    """
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if config.model_type != "phi3" or rope.get("rope_type", rope.get("type")) != "longrope":
        return None
    original = getattr(config, "original_max_position_embeddings", None) or rope["original_max_position_embeddings"]
    return int(original)


def preallocated_cache(config: Any, length: int) -> Any:
    """A transformers cache whose layers have room for `length` tokens, so that a step writes only its own token.

    Layers with a sliding window keep transformers' own class.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layer_class = _preallocated_layer_class()
    cache = DynamicCache(config=config)
    cache.layers = [layer_class(length) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _preallocated_layer_class() -> Any:
    from transformers.cache_utils import DynamicLayer

    class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]
        """Keys and values as views that grow over buffers of the final size."""

        def __init__(self, room: int) -> None:
            super().__init__()
            self._room = room
            self._length = 0

        def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
            super().lazy_initialization(key_states, value_states)
            self._key_buffer = key_states.new_empty((*key_states.shape[:-2], self._room, key_states.shape[-1]))
            self._value_buffer = value_states.new_empty((*value_states.shape[:-2], self._room, value_states.shape[-1]))

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            new = key_states.shape[-2]
            self._key_buffer.narrow(-2, self._length, new).copy_(key_states)
            self._value_buffer.narrow(-2, self._length, new).copy_(value_states)
            self._length += new
            self.keys = self._key_buffer.narrow(-2, 0, self._length)
            self.values = self._value_buffer.narrow(-2, 0, self._length)
            return self.keys, self.values

        def get_seq_length(self) -> int:
            return self._length

    return PreallocatedLayer

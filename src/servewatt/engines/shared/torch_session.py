"""Shared code of engines with torch tensors: copy prompts in, pick ids, synchronise the device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from servewatt.engines.shared.decode import GraphSession
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.host import library_versions
from servewatt.engines.shared.torch_model import (
    arithmetic_detail,
    dtype_name,
    held_devices,
    held_weights,
    tf32_settings,
)
from servewatt.records import Facts

if TYPE_CHECKING:
    import torch

State = TypeVar("State")


class TorchSession(GraphSession["torch.Tensor", "torch.Tensor", State], Generic[State]):
    """A session whose ids and logits are torch tensors on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._proof: DecodeProof | None = None

    def from_host(self, ids: npt.NDArray[np.int64]) -> torch.Tensor:
        import torch

        return torch.from_numpy(ids).to(self._device)

    def argmax(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.argmax(dim=-1, keepdim=True)

    def to_host(self, ids: torch.Tensor) -> list[int]:
        tokens: list[int] = ids.flatten().tolist()
        return tokens

    def logits_to_host(self, logits: torch.Tensor) -> npt.NDArray[np.floating[Any]]:
        array: npt.NDArray[np.floating[Any]] = logits.float().cpu().numpy()
        return array

    def synchronize(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)

    def peak_device_bytes(self) -> int | None:
        if self._device.type != "cuda":
            return None
        import torch

        return int(torch.cuda.max_memory_reserved(self._device))

    def close(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    @abstractmethod
    def _attention(self) -> str:
        """The attention implementation that runs."""

    def _facts(self, held: Sequence[torch.Tensor], packed: int) -> Facts:
        """Facts of a model that consists of the tensors `held`, with `packed` of its linear layers packed."""
        import torch

        weights = [tensor for tensor in held if tensor.is_floating_point()]

        proof = self._proof
        return Facts(
            engine_version=torch.__version__,
            libraries=library_versions(("torch", "transformers", "safetensors", "numpy")),
            devices=held_devices(held),
            weight_dtypes=held_weights(weights),
            compute_dtype=dtype_name(max(weights, key=lambda tensor: tensor.numel()).dtype),
            kv_cache=proof is not None and proof.reuses_cache,
            kv_cache_dtype=proof.cache_dtype if proof is not None else "",
            threads=torch.get_num_threads(),
            options=(("linear", "packed" if packed else "plain"),),
            tf32=tf32_settings(),
            detail=(
                ("attention", self._attention()),
                ("linear", "packed" if packed else "plain"),
                ("packed_linears", str(packed)),
                *arithmetic_detail(),
            ),
        )

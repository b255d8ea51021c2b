"""Tensors of a checkpoint by name, mapped from safetensors and brought to a device one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from servewatt.engines.shared.file_pages import drop_file_pages
from servewatt.engines.shared.weights import stored_tensors
from servewatt.errors import InputError
from servewatt.records import Model

if TYPE_CHECKING:
    import torch

DROP_AFTER_BYTES = 256 * 1024 * 1024
"""Bytes read after which the files' pages are dropped."""
_MISFIT = "the folder's config.json and safetensors do not belong together"


class Linear(NamedTuple):
    """A matrix as read, before it is fused or quantised."""

    weight: torch.Tensor
    bias: torch.Tensor | None


class NormWeights(NamedTuple):
    """Weight and bias of a norm, (hidden,) each; None where it has none or they went into a matrix."""

    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None


class Checkpoint:
    """Tensors of a model folder by name, brought to the device one at a time."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self._stored = stored_tensors(model.folder)
        self._name = model.name
        self._device = str(device)
        self._files: dict[str, Any] = {}
        self._undropped_bytes = 0

    def has(self, name: str) -> bool:
        return name in self._stored

    def read(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor called `name`; InputError if there is none or its shape is not `shape`."""
        from safetensors import SafetensorError, safe_open

        if name not in self._stored:
            raise InputError(f"{self._name}: tensor {name!r} is missing", _MISFIT)
        stored = self._stored[name]
        if stored.shape != shape:
            raise InputError(f"{self._name}: {name!r} has shape {stored.shape}, expected {shape}", _MISFIT)
        path = str(stored.path)
        try:
            if path not in self._files:
                self._files[path] = safe_open(path, framework="pt", device=self._device)
            tensor: torch.Tensor = self._files[path].get_tensor(name)
        except SafetensorError as error:
            raise InputError(f"{self._name}: broken safetensors: {error}", "download the model again") from error
        self._undropped_bytes += tensor.nbytes
        return tensor

    def let_go(self) -> None:
        """Drop the files' pages that have been read, once they are many: only what was made of them is still needed."""
        if self._undropped_bytes > DROP_AFTER_BYTES:
            drop_file_pages(".safetensors")
            self._undropped_bytes = 0

    def read_if_there(self, name: str, *shape: int) -> torch.Tensor | None:
        return self.read(name, *shape) if self.has(name) else None

    def linear(self, prefix: str, outputs: int, inputs: int, *, transposed: bool = False) -> Linear:
        """A linear layer; GPT-2 stores its matrices `transposed`."""
        weight = self.read(f"{prefix}.weight", *((inputs, outputs) if transposed else (outputs, inputs)))
        return Linear(weight.t() if transposed else weight, self.read_if_there(f"{prefix}.bias", outputs))

"""Linear layers on the CPU through oneDNN, their weights packed once at load.

PyTorch's own linear calls the BLAS it was built with and lets it read the weight row by row. At batch 1 a decode step
does little but read weights, and how fast that goes then depends on how well that BLAS likes the CPU's vendor: MKL
reads at less than half the memory bandwidth on some. oneDNN, which comes with PyTorch, reads packed weights at
nearly all of it, and does batches and prefill faster too. The arithmetic stays what it was.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from servewatt.engines.shared.file_pages import drop_file_pages
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Provider

if TYPE_CHECKING:
    import torch

# TorchScript cannot write an empty list of optional numbers in traced Python, so the call is compiled from source.
_SCRIPT = """
def packed_linear(x, weight, bias: Optional[Tensor]):
    return torch.ops.mkldnn._linear_pointwise(
        x, weight, bias, "none", torch.jit.annotate(List[Optional[number]], []), "")
"""

LEAST_BYTES = 256 * 1024
"""Smaller weights stay as they are: what a call of oneDNN costs is more than packing saves."""
DROP_AFTER_BYTES = 256 * 1024 * 1024
"""Bytes packed after which the pages they came from are dropped."""


def pack_as_asked(module: torch.nn.Module, configuration: Configuration) -> list[torch.Tensor]:
    """Pack linear layers unless the configuration's option `linear` is `plain`; on the CPU only. The packed weights.

    RefusedError if the option asks for what cannot be done.
    """
    asked = dict(configuration.options).get("linear")
    on_cpu = configuration.provider is Provider.CPU
    packed = pack_linears(module) if on_cpu and asked != "plain" else []
    if asked == "packed" and not packed:
        where = "by this PyTorch, on this CPU, for this model" if on_cpu else f"on {configuration.provider.value}"
        raise RefusedError(f"{configuration.key}: no linear layer can be packed {where}", "say linear=plain")
    return packed


def pack_linears(module: torch.nn.Module) -> list[torch.Tensor]:
    """Replace the large linear layers of `module` by packed ones, in place; the packed weights.

    None where this build or CPU cannot: the module is then left alone. Otherwise nothing refers afterwards to the
    files that the weights came from.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    if not can_pack(next(module.parameters()).dtype):
        return []
    packed_class = _packed_class()
    packed = []
    since_drop = 0
    linear = (torch.nn.Linear, Conv1D)
    # Only parents are listed: a list of the layers would keep the weight of each until the last is packed.
    for parent in [m for m in module.modules() if type(m) not in linear]:
        for name, layer in list(parent.named_children()):
            if type(layer) not in linear or layer.weight.nbytes < LEAST_BYTES:
                continue
            weight = layer.weight if type(layer) is torch.nn.Linear else layer.weight.t().contiguous()
            replacement = packed_class(weight, layer.bias)
            setattr(parent, name, replacement)
            packed.append(replacement.packed)
            since_drop += layer.weight.nbytes
            del layer, weight
            if since_drop > DROP_AFTER_BYTES:
                drop_file_pages(".safetensors")
                since_drop = 0
    for holder in module.modules():
        for name, parameter in holder.named_parameters(recurse=False):
            setattr(holder, name, torch.nn.Parameter(parameter.clone(), requires_grad=False))
    drop_file_pages(".safetensors")
    return packed


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch packs matrices of this type on this CPU."""
    import torch

    operators = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(operators, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(operators._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(operators._is_mkldnn_fp16_supported())
    return dtype is torch.float32


@cache
def _packed_class() -> Any:
    import torch

    scripted = torch.jit.CompilationUnit(_SCRIPT).packed_linear
    operator = torch.ops.mkldnn._linear_pointwise.default
    nothing: list[float | None] = []

    class PackedLinear(torch.nn.Module):  # type: ignore[misc]
        """x times the transposed weight, plus bias."""

        def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
            super().__init__()
            self.bias = bias
            self.register_buffer("packed", torch.ops.mkldnn._reorder_linear_weight(weight.detach()), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                return scripted(x, self.packed, self.bias)
            return operator(x, self.packed, self.bias, "none", nothing, "")

    return PackedLinear

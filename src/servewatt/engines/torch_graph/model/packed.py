"""Floating matrices on the CPU, packed for oneDNN; why is in docs/decisions/0005-packed-linear-layers.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servewatt.engines.torch_graph.model import matrix as decoder_matrix

if TYPE_CHECKING:
    import torch

    from servewatt.engines.torch_graph.model.matrix import Matrix


def pack(weight: torch.Tensor) -> torch.Tensor:
    """A packed copy of `weight` (outputs, inputs). It can only be multiplied, not looked up in."""
    import torch

    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return packed


def is_packed(matrix: Matrix) -> bool:
    """Whether `pack` made its weight."""
    return bool(matrix.weight.is_mkldnn)


def multiply(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """`model.matrix.multiply`, of packed matrices too."""
    import torch

    if not is_packed(matrix):
        return decoder_matrix.multiply(x, matrix)
    product = torch.ops.mkldnn._linear_pointwise.default
    made: torch.Tensor = product(x, matrix.weight, matrix.bias, "none", [], "")
    return made

"""Matrices of a decoder: floating, or integers with scales, multiplied in plain torch that inductor can fuse.

Integer matrices are symmetric: value = integer x scale, rounded to nearest. int8 has one scale an output; int4 has one
for each group of inputs, and two integers a byte, the first half of a group in the low four bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from servewatt.errors import RefusedError

if TYPE_CHECKING:
    import torch

INT8_LIMIT = 127
INT4_LIMIT = 7


class Matrix(NamedTuple):
    """A matrix of shape (outputs, inputs), and the bias of its outputs."""

    weight: torch.Tensor
    """Floating or int8 (outputs, inputs), or uint8 (outputs, groups, half a group)."""
    scale: torch.Tensor | None = None
    """int8: (outputs,). int4: (outputs, groups). None if the weight is floating."""
    bias: torch.Tensor | None = None


def quantise_int8(weight: torch.Tensor, dtype: torch.dtype) -> Matrix:
    """`weight` (outputs, inputs) as int8 with a scale of type `dtype` for each output."""
    import torch

    exact = weight.float()
    scale = (exact.abs().amax(dim=1) / INT8_LIMIT).clamp_min(torch.finfo(dtype).tiny).to(dtype)
    rounded = (exact / scale.float()[:, None]).round().clamp(-INT8_LIMIT, INT8_LIMIT)
    return Matrix(rounded.to(torch.int8), scale)


def quantise_int4(weight: torch.Tensor, dtype: torch.dtype, group: int) -> Matrix:
    """`weight` (outputs, inputs) as int4 with a scale of type `dtype` for each `group` of inputs of an output.

    RefusedError if the number of inputs is no multiple of `group`.
    """
    import torch

    outputs, inputs = weight.shape
    if inputs % group:
        raise RefusedError(f"int4: {inputs} inputs are no multiple of the group of {group}", "take a smaller group")
    exact = weight.float().view(outputs, inputs // group, group)
    scale = (exact.abs().amax(dim=2) / INT4_LIMIT).clamp_min(torch.finfo(dtype).tiny).to(dtype)
    rounded = (exact / scale.float()[..., None]).round().clamp(-INT4_LIMIT, INT4_LIMIT).to(torch.int8) + 8
    low, high = rounded.to(torch.uint8).chunk(2, dim=2)
    return Matrix((low | (high << 4)).contiguous(), scale)


def _unpacked(packed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(outputs, groups, group) floating integers of a packed int4 weight."""
    import torch

    low, high = (packed & 15).to(dtype) - 8, (packed >> 4).to(dtype) - 8
    return torch.cat((low, high), dim=-1)


def multiply(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """`x` (..., inputs) times the matrix, plus its bias: (..., outputs) in the type of `x`."""
    import torch

    if matrix.scale is None:
        return torch.nn.functional.linear(x, matrix.weight, matrix.bias)
    if matrix.scale.dim() == 1:
        product = torch.nn.functional.linear(x, matrix.weight.to(x.dtype)) * matrix.scale.to(x.dtype)
    elif x.numel() == x.shape[-1]:
        product = _times_int4_vector(x, matrix.weight, matrix.scale)
    else:
        whole = _unpacked(matrix.weight, x.dtype) * matrix.scale[..., None].to(x.dtype)
        product = torch.nn.functional.linear(x, whole.flatten(1))
    return product if matrix.bias is None else product + matrix.bias


def _times_int4_vector(x: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """One vector times a packed int4 matrix as a single reduction, so that no unpacked copy need be written."""
    outputs, groups, half = packed.shape
    parts = x.reshape(1, groups, 2, half).float()
    low, high = (packed & 15).float() - 8, (packed >> 4).float() - 8
    inner = (low * parts[:, :, 0] + high * parts[:, :, 1]) * scale[..., None].float()
    return inner.sum(dim=(1, 2)).to(x.dtype).reshape(*x.shape[:-1], outputs)


def look_up(matrix: Matrix, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Rows `ids` (...) of the matrix: (..., inputs) in `dtype`."""
    rows = matrix.weight[ids]
    if matrix.scale is None:
        return rows
    if matrix.scale.dim() == 1:
        return rows.to(dtype) * matrix.scale[ids][..., None].to(dtype)
    return (_unpacked(rows, dtype) * matrix.scale[ids][..., None].to(dtype)).flatten(-2)

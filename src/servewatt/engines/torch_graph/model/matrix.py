"""Matrices of a decoder: floating, or integers with scales, multiplied in plain torch that inductor can fuse.

Integer matrices have no zero point: value = integer x scale, rounded to nearest. int8 has one scale an output; int4 has
one for each group of inputs, and two integers a byte, the first half of a group in the low four bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from servewatt.errors import RefusedError

if TYPE_CHECKING:
    import torch

INT8_LIMIT = 127
INT4_LEAST, INT4_MOST = -8, 7
_LARGEST_IN_STEPS = (7.25, 7.75, 8.25, 8.75, 9.25)
"""Candidate values, in steps of the scale, for the largest magnitude of an int4 group. Of normal, heavy-tailed and
trained weights these five leave a squared error that is within 1 % of what fifteen from 7 to 12 leave."""
_NUMBERS_AT_ONCE = 1 << 18
"""Weights that are quantised at once, so that intermediate values stay in a processor's cache."""
_NUMBERS_ON_A_DEVICE = 1 << 20
"""The same on a GPU, where fewer, larger operations take less time."""


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
    """`weight` (outputs, inputs) as int4, -8 to 7, with a scale of type `dtype` for each `group` of an output's inputs.

    RefusedError if the number of inputs is no multiple of `group`.
    """
    import torch

    outputs, inputs = weight.shape
    if inputs % group:
        raise RefusedError(f"int4: {inputs} inputs are no multiple of the group of {group}", "take a smaller group")
    groups = inputs // group
    packed = torch.empty((outputs, groups, group // 2), dtype=torch.uint8, device=weight.device)
    scale = torch.empty((outputs, groups), dtype=dtype, device=weight.device)
    at_once = _NUMBERS_AT_ONCE if weight.device.type == "cpu" else _NUMBERS_ON_A_DEVICE
    rows = max(1, at_once // inputs)
    for first in range(0, outputs, rows):
        part = slice(first, first + rows)
        exact = weight[part].float().reshape(-1, groups, group)
        scale[part] = _int4_scales(exact, dtype)
        rounded = _int4_rounded(exact, scale[part].float())
        low, high = (rounded - INT4_LEAST).to(torch.uint8).chunk(2, dim=2)
        packed[part] = low | (high << 4)
    return Matrix(packed, scale)


def _int4_rounded(exact: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Groups (..., group) quantised with these scales (...), as floats."""
    return (exact / scale[..., None]).round_().clamp_(INT4_LEAST, INT4_MOST)


def _int4_scales(exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The scale (...) with the least squared error among several candidates, for each of the groups (..., group), in
    `dtype`.

    After llama.cpp's make_qx_quants (https://github.com/ggml-org/llama.cpp, ggml/src/ggml-quants.c): the number of the
    largest magnitude, whatever its sign, becomes a negative integer, of which there is one more, by scales a little
    larger and smaller than would make it -8; and for the integers q that weights x become with any of these, the best
    scale is sum(x q) / sum(q q). Beside them the plain one is tried, which makes the largest magnitude 7.
    """
    import torch

    most, least = exact.amax(dim=-1), exact.amin(dim=-1)
    extreme = torch.where(most >= -least, most, least)

    def error(scale: torch.Tensor, by_weights: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
        """The squared error, less the sum of the weights' squares."""
        return scale.float() * (scale.float() * squares - 2 * by_weights)

    best = (extreme.abs() / INT4_MOST).clamp_min(torch.finfo(dtype).tiny).to(dtype)
    q = _int4_rounded(exact, best.float())
    smallest = error(best, torch.linalg.vecdot(exact, q), torch.linalg.vecdot(q, q))
    for steps in _LARGEST_IN_STEPS:
        q = _int4_rounded(exact, extreme / -steps)
        by_weights, squares = torch.linalg.vecdot(exact, q), torch.linalg.vecdot(q, q)
        scale = (by_weights / squares).to(dtype)
        made = error(scale, by_weights, squares)
        # For a group of zeros this is NaN, so the plain scale stays.
        better = made < smallest
        best, smallest = torch.where(better, scale, best), torch.where(better, made, smallest)
    return best


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

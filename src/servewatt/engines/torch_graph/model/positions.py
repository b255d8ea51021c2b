"""Positions of tokens: rotary angles, alibi's slopes, and the cache columns of a step's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from servewatt.checkpoints.decoder import DecoderShape

if TYPE_CHECKING:
    import torch


class Tables(NamedTuple):
    """Tensors that depend on the shape alone; on the device."""

    cosines: torch.Tensor | None
    """(context, head size), fp32, 1 for components that do not rotate; None without rotary embedding."""
    sines: torch.Tensor | None
    """The same, with the sign that each component's partner takes, and 0 for those that do not rotate."""
    partners: torch.Tensor | None
    """(head size,), int64: the component that each one rotates with."""
    slopes: torch.Tensor | None
    """(heads,), fp32: subtracted from a key's score for each token of distance; None without alibi."""


class Positions(NamedTuple):
    """Columns of a step's tokens in the cache, and their positions in their rows."""

    columns: torch.Tensor
    """Columns of the cache that their keys and values are written to, (tokens,)."""
    cosines: torch.Tensor | None
    """(batch, tokens, 1, head size)."""
    sines: torch.Tensor | None
    partners: torch.Tensor | None
    mask: torch.Tensor
    """Added to scores, (batch, 1, tokens, KV length): 0 for columns that a token attends to, else minus infinity. With
    alibi the bias of each head, (batch, heads, tokens, columns)."""
    padding: torch.Tensor
    """Columns of each row that are padding, (batch,)."""
    slopes: torch.Tensor | None
    """Alibi's."""


def make_tables(shape: DecoderShape, device: torch.device) -> Tables:
    """Angles as transformers computes them (in fp32), and alibi's slopes (https://arxiv.org/abs/2108.12409)."""
    import torch

    cosines = sines = partners = slopes = None
    if shape.rotary is not None:
        size = shape.rotary.size
        half, still = size // 2, shape.head_size - size
        exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
        frequencies = 1.0 / (shape.rotary.base**exponents)
        angles = torch.arange(shape.context, dtype=torch.float32, device=device)[:, None] * frequencies
        ones = angles.new_ones(shape.context, still)
        cosines = torch.cat((angles.cos(), angles.cos(), ones), dim=1)
        sines = torch.cat((-angles.sin(), angles.sin(), 0 * ones), dim=1)
        partners = torch.arange(shape.head_size, device=device)
        partners[: 2 * half] = partners[: 2 * half].roll(half)
    if shape.alibi:
        slopes = torch.tensor(_alibi_slopes(shape.heads), dtype=torch.float32, device=device)
    return Tables(cosines, sines, partners, slopes)


def _alibi_slopes(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    slopes: list[float] = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
    return slopes + [2.0 ** (-4.0 * (2 * i + 1) / power) for i in range(heads - power)]

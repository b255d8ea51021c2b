"""Positions of tokens: rotary angles, alibi's slopes, and the cache columns of a step's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from servewatt.checkpoints.decoder import DecoderShape
from servewatt.checkpoints.rotary import LONGROPE, Rotary
from servewatt.engines.torch_graph.model.frequencies import frequencies

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
    window: int | None = None
    """Columns that attention looks back on; None for all."""
    long_cosines: torch.Tensor | None = None
    """The same as `cosines` for rows beyond the original context; of longrope."""
    long_sines: torch.Tensor | None = None
    others: tuple[Tables, ...] = ()
    """Those of layers of other kinds, in the order of `layer_kinds`."""


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
    others: tuple[Positions, ...] = ()
    """Those of layers of other kinds."""


Kind = tuple[Rotary | None, int | None]
"""Rotary embedding and window of a layer."""


def layer_kinds(shape: DecoderShape) -> tuple[Kind, ...]:
    """The kinds of layers as positions go, each once."""
    return tuple(dict.fromkeys(kind_of(shape, layer) for layer in range(shape.layers)))


def kind_of(shape: DecoderShape, layer: int) -> Kind:
    """The kind of one layer."""
    return shape.rotary_of(layer), shape.window_of(layer)


def make_tables(shape: DecoderShape, device: torch.device) -> Tables:
    """Angles as transformers computes them (in fp32), and alibi's slopes (https://arxiv.org/abs/2108.12409)."""
    import torch

    slopes = torch.tensor(_alibi_slopes(shape.heads), dtype=torch.float32, device=device) if shape.alibi else None
    each = [_tables(shape, kind, slopes, device) for kind in layer_kinds(shape)]
    return each[0]._replace(others=tuple(each[1:]))


def _tables(shape: DecoderShape, kind: Kind, slopes: torch.Tensor | None, device: torch.device) -> Tables:
    import torch

    rotary, window = kind
    if rotary is None:
        return Tables(None, None, None, slopes, window)
    partners = torch.arange(shape.head_size, device=device)
    half = rotary.size // 2
    partners[: 2 * half] = partners[: 2 * half].roll(half)
    cosines, sines = _angles(shape, rotary, frequencies(rotary, device), device)
    tables = Tables(cosines, sines, partners, slopes, window)
    if rotary.kind != LONGROPE:
        return tables
    longer = _angles(shape, rotary, frequencies(rotary, device, longer=True), device)
    return tables._replace(long_cosines=longer[0], long_sines=longer[1])


def _angles(
    shape: DecoderShape, rotary: Rotary, found: torch.Tensor, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and signed sines for each position, (context, head size)."""
    import torch

    angles = torch.arange(shape.context, dtype=torch.float32, device=device)[:, None] * found
    still = angles.new_ones(shape.context, shape.head_size - rotary.size)
    cosines, sines = angles.cos() * rotary.attention_factor, angles.sin() * rotary.attention_factor
    return torch.cat((cosines, cosines, still), dim=1), torch.cat((-sines, sines, 0 * still), dim=1)


def _alibi_slopes(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    slopes: list[float] = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
    return slopes + [2.0 ** (-4.0 * (2 * i + 1) / power) for i in range(heads - power)]

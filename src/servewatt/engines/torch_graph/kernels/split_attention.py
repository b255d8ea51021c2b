"""Attention of one token a row, with the columns of a row and head divided among programs.

With few rows and key-value heads, one program for each leaves most of a device idle, and is slow for many columns. Here
several programs each sum their share of the columns, and a second kernel combines the sums ("flash decoding",
https://crfm.stanford.edu/2023/10/12/flashdecoding.html).

Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from servewatt.engines.torch_graph.kernels import attention as attention_kernel
from servewatt.engines.torch_graph.kernels.attention import (
    angles,
    arguments,
    block_at,
    division,
    summed_alone,
    summed_together,
    turned,
)

if TYPE_CHECKING:
    import torch

    from servewatt.checkpoints.decoder import DecoderShape
    from servewatt.engines.torch_graph.model.positions import Positions

_PROGRAMS = 264
"""Programs that an H200 or H100 holds at once: two for each of its 132 processors."""
_LEAST_SHARE = 128
"""Columns of a program: fewer are not worth its start."""
_LEAST_COLUMNS = 512
"""Fewer are not worth the second kernel."""
_MOST_SPLITS = 64
"""Values that the second kernel holds in registers."""


@triton.jit  # type: ignore[untyped-decorator]
def _split_kernel(  # type: ignore[no-untyped-def]
    qkv, keys, values, made, most, total, columns, padding, cosines, sines, partners, slopes,
    qkv_row, cache_row, cache_head, cache_column, share,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, GROUPS: tl.constexpr, ROWS: tl.constexpr,
    SIZE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
    ROTARY: tl.constexpr, ALIBI: tl.constexpr, EXACT: tl.constexpr, SCALING: tl.constexpr, OVERLAPS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    split = tl.program_id(2)
    at = tl.load(columns).to(tl.int32)
    first = tl.load(padding + row).to(tl.int32)
    d = tl.arange(0, WIDE)
    inside = d < SIZE
    cosine, sine, partner = angles(cosines, sines, partners, row, inside, d, SIZE, ROTARY)
    own = qkv + row * qkv_row
    keys += row * cache_row + head * cache_head
    values += row * cache_row + head * cache_head
    # A share has whole blocks; it may be empty.
    start = tl.maximum(first // BLOCK * BLOCK, split * share)
    end = tl.minimum(at, (split + 1) * share)
    # Written before this step by kernels that have ended: the previous kernel lets this one start only then.
    n, seen, k, v = block_at(keys, values, start, first, end, cache_column, inside, d, BLOCK)
    if OVERLAPS:
        gdc_wait()
        gdc_launch_dependents()
    key = turned(own + (HEADS + head) * SIZE, inside, d, cosine, sine, partner, ROTARY)
    value = tl.load(own + (HEADS + KV_HEADS + head) * SIZE + d, mask=inside, other=0.0)
    # The first program writes and counts column `at`; no program reads it.
    mine = split == 0
    tl.store(keys + at * cache_column + d, key, mask=inside & mine)
    tl.store(values + at * cache_column + d, value, mask=inside & mine)
    if ROWS == 1:
        piece, highest, shares = summed_alone(
            own, slopes, head, key, value, mine, keys, values, n, seen, k, v, start, first, end, at,
            cosine, sine, partner, inside, d, cache_column, SIZE, BLOCK, ROTARY, ALIBI, SCALING, True,
        )  # fmt: skip
        positions = (row * HEADS + head) * tl.num_programs(2) + split
        tl.store(made + positions * SIZE + d, piece, mask=inside)
        tl.store(most + positions, highest)
        tl.store(total + positions, shares)
    else:
        g = tl.arange(0, ROWS)
        real = g < GROUPS
        heads = head * GROUPS + g
        piece, highest, shares = summed_together(
            own, slopes, heads, real, key, value, mine, keys, values, n, seen, k, v, start, first, end, at,
            cosine, sine, partner, inside, d, cache_column, ROWS, SIZE, WIDE, BLOCK,
            ROTARY, ALIBI, EXACT, SCALING, True,
        )  # fmt: skip
        places = (row * HEADS + heads) * tl.num_programs(2) + split
        tl.store(made + places[:, None] * SIZE + d[None, :], piece, mask=real[:, None] & inside[None, :])
        tl.store(most + places, highest, mask=real)
        tl.store(total + places, shares, mask=real)


@triton.jit  # type: ignore[untyped-decorator]
def _combine_kernel(  # type: ignore[no-untyped-def]
    made, most, total, out, out_row, splits,
    HEADS: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr, PARTS: tl.constexpr, OVERLAPS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    part = tl.arange(0, PARTS)
    there = part < splits
    places = (row * HEADS + head) * splits + part
    d = tl.arange(0, WIDE)
    inside = d < SIZE
    if OVERLAPS:
        gdc_wait()
        gdc_launch_dependents()
    highest = tl.load(most + places, mask=there, other=float("-inf"))
    sums = tl.load(total + places, mask=there, other=0.0)
    pieces = tl.load(made + places[:, None] * SIZE + d[None, :], mask=there[:, None] & inside[None, :], other=0.0)
    # The highest of all is a score, the first program's at least; a program without columns has a factor of 0.
    factors = tl.exp2(highest - tl.max(highest, 0))
    whole = tl.sum(factors[:, None] * pieces, 0) / tl.sum(factors * sums, 0)
    tl.store(out + row * out_row + head * SIZE + d, whole.to(out.dtype.element_ty), mask=inside)


def splits_of(programs: int, columns: int) -> int:
    """Among how many programs the `columns` of a row and head are shared out, of which there are `programs`."""
    if columns < _LEAST_COLUMNS:
        return 1
    return max(1, min(_PROGRAMS // programs, columns // _LEAST_SHARE, _MOST_SPLITS))


def shares(shape: DecoderShape, batch: int, columns: int, splits: int | None = None) -> tuple[int, int]:
    """Among how many programs the `columns` of a row and head are shared out, and how many of them each has.

    At most `splits`, by default as many as `splits_of` says: a program has whole blocks.
    """
    programs = batch * shape.kv_heads
    if splits is None:
        splits = splits_of(programs, columns)
    block, _ = division(shape, programs)
    share = -(-columns // (splits * block)) * block
    return -(-columns // share), share


def attend(
    shape: DecoderShape,
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: Positions,
    *,
    out: torch.Tensor | None = None,
    overlaps: bool = False,
    splits: int | None = None,
) -> torch.Tensor:
    """`kernels.attention.attend`, the columns of the cache shared out among at most `splits` programs each.

    By default as many as `splits_of` says; where that is one, it is that kernel alone.
    """
    import torch

    batch, columns, size = qkv.shape[0], keys.shape[2], shape.head_size
    splits, share = shares(shape, batch, columns, splits)
    block, warps = division(shape, batch * shape.kv_heads)
    if splits == 1:
        return attention_kernel.attend(shape, qkv, keys, values, positions, out=out, overlaps=overlaps)
    if out is None:
        out = qkv.new_empty((batch, 1, shape.heads * size))
    made = qkv.new_empty((batch, shape.heads, splits, size), dtype=torch.float32)
    most = qkv.new_empty((batch, shape.heads, splits), dtype=torch.float32)
    total = torch.empty_like(most)
    early = {"launch_pdl": True} if overlaps else {}
    _split_kernel[batch, shape.kv_heads, splits](
        **arguments(shape, qkv, keys, values, positions), made=made, most=most, total=total, share=share, BLOCK=block,
        OVERLAPS=overlaps, num_warps=warps, **early,
    )  # fmt: skip
    wide, parts = 1 << (size - 1).bit_length(), 1 << (splits - 1).bit_length()
    _combine_kernel[batch, shape.heads](
        made, most, total, out, out.stride(0), splits, HEADS=shape.heads, SIZE=size, WIDE=wide, PARTS=parts,
        OVERLAPS=overlaps, num_warps=min(8, max(1, parts * wide // 512)), **early,
    )  # fmt: skip
    return out

"""A Triton kernel for a decode step: attention of one token a row.

PyTorch's attention is made for many queries: with one a row and a mask it takes most of a decode step. Here a program
takes a row and a key-value head, applies the rotary embedding to query and key, writes key and value to the cache, and
reads only the columns that the row has filled. Softmax is computed piece by piece (https://arxiv.org/abs/1805.02867).

Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

if TYPE_CHECKING:
    import torch

    from servewatt.checkpoints.decoder import DecoderShape
    from servewatt.engines.torch_graph.model.positions import Positions

_LEAST_ROWS = 16
"""Of a product of matrices in Triton."""


@triton.jit  # type: ignore[untyped-decorator]
def turned(base, inside, d, cosine, sine, partner, ROTARY: tl.constexpr):  # type: ignore[no-untyped-def]
    """One or more vectors at `base` with the rotary embedding applied, in their stored type."""
    x = tl.load(base + d, mask=inside, other=0.0)
    if ROTARY:
        other = tl.load(base + partner, mask=inside, other=0.0)
        x = (x.to(tl.float32) * cosine + other.to(tl.float32) * sine).to(x.dtype)
    return x


@triton.jit  # type: ignore[untyped-decorator]
def angles(  # type: ignore[no-untyped-def]
    cosines, sines, partners, row, inside, d, SIZE: tl.constexpr, ROTARY: tl.constexpr,
):  # fmt: skip
    """Arguments of `turned`: cosine, sine and partner of each component; unused without a rotary embedding."""
    cosine = d
    sine = d
    partner = d
    if ROTARY:
        cosine = tl.load(cosines + row * SIZE + d, mask=inside, other=0.0)
        sine = tl.load(sines + row * SIZE + d, mask=inside, other=0.0)
        partner = tl.load(partners + d, mask=inside, other=0)
    return cosine, sine, partner


@triton.jit  # type: ignore[untyped-decorator]
def block_at(keys, values, start, first, end, cache_column, inside, d, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """A block of columns, which of them are from `first` to before `end`, and their keys and values."""
    n = start + tl.arange(0, BLOCK)
    seen = (n >= first) & (n < end)
    places = n[:, None] * cache_column + d[None, :]
    k = tl.load(keys + places, mask=seen[:, None] & inside[None, :], other=0.0)
    v = tl.load(values + places, mask=seen[:, None] & inside[None, :], other=0.0)
    return n, seen, k, v


@triton.jit  # type: ignore[untyped-decorator]
def summed_alone(  # type: ignore[no-untyped-def]
    own, slopes, head, key, value, mine, keys, values, n, seen, k, v, start, first, end, at,
    cosine, sine, partner, inside, d, cache_column, SIZE: tl.constexpr, BLOCK: tl.constexpr,
    ROTARY: tl.constexpr, ALIBI: tl.constexpr, SCALING: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """Of the one query of a key-value head: values times shares (size,), the highest score, the sum of shares.

    Columns are those from `start`, whose block is here already, to before `end`, and `key` and `value` of this step;
    the latter, where columns are SHARED among programs, only if they are `mine`.
    """
    # Times log2(e), here and in the slopes, because a device has powers of two. A constant, because inductor would pass
    # an argument as fp64.
    factor: tl.constexpr = SCALING * 1.4426950408889634
    query = turned(own + head * SIZE, inside, d, cosine, sine, partner, ROTARY).to(tl.float32) * factor
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes + head) * 1.4426950408889634
    most = tl.sum(query * key.to(tl.float32), 0)
    total = 1.0
    made = value.to(tl.float32)
    if SHARED:
        # Finite, because -inf - (-inf) is NaN; lower than any score.
        most = tl.where(mine, most, -1e38)
        total = tl.where(mine, 1.0, 0.0)
        made = tl.where(mine, made, 0.0)
    for begin in range(start, end, BLOCK):
        scores = tl.sum(query[None, :] * k.to(tl.float32), 1)
        if ALIBI:
            scores += slope * (n - at).to(tl.float32)
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 0))
        shares = tl.exp2(scores - higher)
        shrink = tl.exp2(most - higher)
        total = total * shrink + tl.sum(shares, 0)
        made = made * shrink + tl.sum(shares[:, None] * v.to(tl.float32), 0)
        most = higher
        n, seen, k, v = block_at(keys, values, begin + BLOCK, first, end, cache_column, inside, d, BLOCK)
    return made, most, total


@triton.jit  # type: ignore[untyped-decorator]
def summed_together(  # type: ignore[no-untyped-def]
    own, slopes, heads, real, key, value, mine, keys, values, n, seen, k, v, start, first, end, at,
    cosine, sine, partner, inside, d, cache_column,
    ROWS: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
    ROTARY: tl.constexpr, ALIBI: tl.constexpr, EXACT: tl.constexpr, SCALING: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """The same of the `real` queries `heads` of a key-value head: (rows, size), (rows,), (rows,)."""
    factor: tl.constexpr = SCALING * 1.4426950408889634
    both = real[:, None] & inside[None, :]
    q = tl.load(own + heads[:, None] * SIZE + d[None, :], mask=both, other=0.0)
    if ROTARY:
        other = tl.load(own + heads[:, None] * SIZE + partner[None, :], mask=both, other=0.0)
        q = (q.to(tl.float32) * cosine[None, :] + other.to(tl.float32) * sine[None, :]).to(q.dtype)
    slope = tl.zeros([ROWS], tl.float32)
    if ALIBI:
        slope = tl.load(slopes + heads, mask=real, other=0.0) * 1.4426950408889634
    most = tl.sum(q.to(tl.float32) * key.to(tl.float32)[None, :], 1) * factor
    total = tl.full([ROWS], 1.0, tl.float32)
    made = tl.zeros([ROWS, WIDE], tl.float32) + value.to(tl.float32)[None, :]
    if SHARED:
        most = tl.where(mine, most, -1e38)
        total = tl.where(mine, total, 0.0)
        made = tl.where(mine, made, 0.0)
    for begin in range(start, end, BLOCK):
        scores = tl.dot(q, tl.trans(k), input_precision="ieee" if EXACT else "tf32") * factor
        if ALIBI:
            scores += slope[:, None] * (n - at).to(tl.float32)[None, :]
        scores = tl.where(seen[None, :], scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        shares = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(most - higher)
        total = total * shrink + tl.sum(shares, 1)
        product = tl.dot(shares.to(v.dtype), v, input_precision="ieee" if EXACT else "tf32")
        made = made * shrink[:, None] + product
        most = higher
        n, seen, k, v = block_at(keys, values, begin + BLOCK, first, end, cache_column, inside, d, BLOCK)
    return made, most, total


@triton.jit  # type: ignore[untyped-decorator]
def _attend_kernel(  # type: ignore[no-untyped-def]
    qkv, keys, values, out, columns, padding, cosines, sines, partners, slopes,
    qkv_row, cache_row, cache_head, cache_column, out_row,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, GROUPS: tl.constexpr, ROWS: tl.constexpr,
    SIZE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
    ROTARY: tl.constexpr, ALIBI: tl.constexpr, EXACT: tl.constexpr, SCALING: tl.constexpr, OVERLAPS: tl.constexpr,
):  # fmt: skip
    # What addresses are made of is computed here and again in `split_attention`, not in a function of both:
    # inductor takes all that is handed to a function whose results are part of an address for written.
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    at = tl.load(columns).to(tl.int32)
    first = tl.load(padding + row).to(tl.int32)
    d = tl.arange(0, WIDE)
    inside = d < SIZE
    cosine, sine, partner = angles(cosines, sines, partners, row, inside, d, SIZE, ROTARY)
    own = qkv + row * qkv_row
    keys += row * cache_row + head * cache_head
    values += row * cache_row + head * cache_head
    start = first // BLOCK * BLOCK
    # Data from before this step. A kernel that may start before its predecessor has ended loads it first.
    n, seen, k, v = block_at(keys, values, start, first, at, cache_column, inside, d, BLOCK)
    if OVERLAPS:
        gdc_wait()
        gdc_launch_dependents()
    key = turned(own + (HEADS + head) * SIZE, inside, d, cosine, sine, partner, ROTARY)
    value = tl.load(own + (HEADS + KV_HEADS + head) * SIZE + d, mask=inside, other=0.0)
    tl.store(keys + at * cache_column + d, key, mask=inside)
    tl.store(values + at * cache_column + d, value, mask=inside)
    if ROWS == 1:
        made, _, total = summed_alone(
            own, slopes, head, key, value, True, keys, values, n, seen, k, v, start, first, at, at,
            cosine, sine, partner, inside, d, cache_column, SIZE, BLOCK, ROTARY, ALIBI, SCALING, False,
        )  # fmt: skip
        tl.store(out + row * out_row + head * SIZE + d, (made / total).to(value.dtype), mask=inside)
    else:
        g = tl.arange(0, ROWS)
        real = g < GROUPS
        heads = head * GROUPS + g
        made, _, total = summed_together(
            own, slopes, heads, real, key, value, True, keys, values, n, seen, k, v, start, first, at, at,
            cosine, sine, partner, inside, d, cache_column, ROWS, SIZE, WIDE, BLOCK,
            ROTARY, ALIBI, EXACT, SCALING, False,
        )  # fmt: skip
        places = heads[:, None] * SIZE + d[None, :]
        both = real[:, None] & inside[None, :]
        tl.store(out + row * out_row + places, (made / total[:, None]).to(value.dtype), mask=both)


def arguments(
    shape: DecoderShape, qkv: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, positions: Positions
) -> dict[str, Any]:
    """Arguments of an attention kernel, except its outputs and its division among programs."""
    import torch

    rotary, alibi, size = positions.cosines is not None, positions.slopes is not None, shape.head_size
    return {
        "qkv": qkv, "keys": keys, "values": values, "columns": positions.columns, "padding": positions.padding,
        "cosines": positions.cosines if rotary else qkv, "sines": positions.sines if rotary else qkv,
        "partners": positions.partners if rotary else positions.columns, "slopes": positions.slopes if alibi else qkv,
        "qkv_row": qkv.stride(0),
        "cache_row": keys.stride(0), "cache_head": keys.stride(1), "cache_column": keys.stride(2),
        "HEADS": shape.heads, "KV_HEADS": shape.kv_heads, "GROUPS": shape.groups,
        "ROWS": 1 if shape.groups == 1 else max(_LEAST_ROWS, 1 << (shape.groups - 1).bit_length()),
        "SIZE": size, "WIDE": 1 << (size - 1).bit_length(), "ROTARY": rotary, "ALIBI": alibi,
        "EXACT": qkv.dtype == torch.float32, "SCALING": shape.scaling,
    }  # fmt: skip


def division(shape: DecoderShape, programs: int) -> tuple[int, int]:
    """Columns that one of `programs` programs reads at once, and its warps."""
    # Few programs each need more in flight; wide vectors leave registers for fewer of them.
    few = programs < 256
    wide = 1 << (shape.head_size - 1).bit_length()
    return max(16, (128 if few else 64) * 64 // wide), 8 if few else 4


def attend(
    shape: DecoderShape,
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: Positions,
    *,
    out: torch.Tensor | None = None,
    overlaps: bool = False,
) -> torch.Tensor:
    """Attention of one token a row, its key and value written to the cache: (batch, 1, heads x size), `out` if given.

    `qkv` is (batch, 1, qkv size), as the product leaves it; `keys` and `values` (batch, kv heads, columns, size), of
    the same strides. With `overlaps` it starts before the kernel before it has ended, and lets the next do so.
    """
    if out is None:
        out = qkv.new_empty((qkv.shape[0], 1, shape.heads * shape.head_size))
    programs = (qkv.shape[0], shape.kv_heads)
    block, warps = division(shape, programs[0] * programs[1])
    _attend_kernel[programs](
        **arguments(shape, qkv, keys, values, positions), out=out, out_row=out.stride(0), BLOCK=block,
        OVERLAPS=overlaps, num_warps=warps, **({"launch_pdl": True} if overlaps else {}),
    )  # fmt: skip
    return out

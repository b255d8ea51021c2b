"""Rows of a matrix of integers and the digits of a vector, as `integer_matvec` feeds them to tensor cores.

HALF is 0 for int8; for int4 it is half a group: the bytes whose low bits hold its first inputs, and the high bits the
others. SPLIT warps divide the inputs among them, 128 to each in turn; a piece is the part of a row for 128 * SPLIT
inputs.

Importing this needs triton.
"""

from __future__ import annotations

import triton
import triton.language as tl

from servewatt.engines.torch_graph.kernels.matvec import LAYER_NORM

LARGEST = tl.constexpr(4161278.0)
"""Fixed-point value of a vector's largest magnitude: with the constant added to it, it stays within a float's
mantissa."""
SMALLEST = tl.constexpr(1e-30)
"""A vector whose largest magnitude is less counts as zero."""
_ROUNDING = tl.constexpr(12582912.0 + 32896.0)
"""2**23 + 2**22 makes an integer of what it is added to; 128 * (256 + 1) makes digits from -128 to 127."""


@triton.jit  # type: ignore[untyped-decorator]
def places(first, last, ROWS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Addresses of the first piece's bytes in ROWS rows from `first` on, and the offsets of these bytes in a row.

    The dimensions are those in which Triton deals them out to threads just as tensor cores want them: (bytes of a
    quarter, eight rows, warps, eights of rows and runs, bytes side by side).
    """
    BYTES: tl.constexpr = 8 if HALF else 16
    run = tl.arange(0, ROWS // 4)[None, None, None, :, None]
    # Rows beyond the last repeat the last one, so loads need no mask.
    row = tl.minimum(first + run // 2 * 8 + tl.arange(0, 8)[None, :, None, None, None], last)
    byte = (
        BYTES * tl.arange(0, 4)[:, None, None, None, None]
        + 8 * BYTES * tl.arange(0, SPLIT)[None, None, :, None, None]
        + 4 * BYTES * (run % 2)
        + tl.arange(0, BYTES)[None, None, None, None, :]
    )
    return row.to(tl.int64) * ROW + byte, byte


@triton.jit  # type: ignore[untyped-decorator]
def load_piece(weight, at, byte, i: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Piece `i` of rows: the bytes for 128 * SPLIT inputs."""
    PIECE: tl.constexpr = SPLIT * (64 if HALF else 128)
    if (i + 1) * PIECE <= ROW:
        piece = tl.load(weight + at + i * PIECE)
    else:
        piece = tl.load(weight + at + i * PIECE, mask=byte + i * PIECE < ROW, other=0)
    return piece


@triton.jit  # type: ignore[untyped-decorator]
def load_scales(  # type: ignore[no-untyped-def]
    scale, first, last, i: tl.constexpr, ROWS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """The scales of int4 for piece `i`: of each eight rows those of the first halves, then of the second."""
    m = tl.arange(0, 2 * ROWS)
    row = tl.minimum(first + m // 16 * 8 + m % 8, last)[None, :].to(tl.int64) * (ROW // HALF)
    byte = 64 * (i * SPLIT + tl.arange(0, SPLIT)[:, None]) + (m // 8 % 2 * 32)[None, :]
    if (i + 1) * 64 * SPLIT <= ROW:
        scales = tl.load(scale + row + byte // HALF)
    else:
        scales = tl.load(scale + row + byte // HALF, mask=byte < ROW, other=0.0)
    return scales


@triton.jit  # type: ignore[untyped-decorator]
def load_rows(  # type: ignore[no-untyped-def]
    weight, scale, first, last, ROWS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """ROWS rows of a matrix from `first` on, piece by piece, and their scales: nothing but loads."""
    PIECE: tl.constexpr = SPLIT * (64 if HALF else 128)
    at, byte = places(first, last, ROWS, ROW, SPLIT, HALF)
    pieces = ()
    scales = ()
    for i in tl.static_range((ROW + PIECE - 1) // PIECE):
        pieces = pieces + (load_piece(weight, at, byte, i, ROW, SPLIT, HALF),)
        if HALF:
            scales = scales + (load_scales(scale, first, last, i, ROWS, ROW, SPLIT, HALF),)
    if HALF == 0:
        scales = (tl.load(scale + tl.minimum(first + tl.arange(0, ROWS), last)),)
    return pieces, scales


@triton.jit  # type: ignore[untyped-decorator]
def bytes_of(i: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Offsets in a row of the bytes for piece `i` of the vector: (SPLIT, 128)."""
    j = tl.arange(0, 128)[None, :]
    warp = i * SPLIT + tl.arange(0, SPLIT)[:, None]
    if HALF:
        # Of each 32 bytes the inputs that the low bits belong to, then those of the high bits.
        byte = 64 * warp + j // 64 * 32 + j % 32
    else:
        byte = 128 * warp + j
    return byte


@triton.jit  # type: ignore[untyped-decorator]
def load_inputs(x, INPUTS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """A vector by pieces of (SPLIT, 128), fp32, in the order of `bytes_of`."""
    pieces = ()
    for i in tl.static_range((INPUTS + 128 * SPLIT - 1) // (128 * SPLIT)):
        byte = bytes_of(i, SPLIT, HALF)
        k = byte
        if HALF:
            k = byte // HALF * (2 * HALF) + byte % HALF + tl.arange(0, 128)[None, :] // 32 % 2 * HALF
            k = tl.max_contiguous(tl.multiple_of(k, (1, 32)), (1, 32))
        if (i + 1) * 128 * SPLIT <= INPUTS:
            pieces = pieces + (tl.load(x + k).to(tl.float32),)
        else:
            pieces = pieces + (tl.load(x + k, mask=byte < ROW, other=0.0).to(tl.float32),)
    return pieces


@triton.jit
def _total(pieces):  # type: ignore[no-untyped-def]
    total = pieces[0]
    for i in tl.static_range(1, len(pieces)):
        total += pieces[i]
    return tl.sum(tl.reshape(total, (total.shape[0] * total.shape[1],)), 0)


@triton.jit
def _larger(a, b):  # type: ignore[no-untyped-def]
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def largest_of(pieces):  # type: ignore[no-untyped-def]
    """The largest magnitude; NaN if there is one."""
    largest = tl.abs(pieces[0])
    for i in tl.static_range(1, len(pieces)):
        largest = _larger(largest, tl.abs(pieces[i]))
    return tl.reduce(tl.reshape(largest, (largest.shape[0] * largest.shape[1],)), 0, _larger)


@triton.jit  # type: ignore[untyped-decorator]
def normed(  # type: ignore[no-untyped-def]
    pieces, factors, shifts, epsilon, INPUTS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr,
    NORM: tl.constexpr, WEIGHTED: tl.constexpr, SHIFTED: tl.constexpr,
):  # fmt: skip
    """A vector's norm and its pending factor, which can be applied later if no bias is added."""
    if NORM == LAYER_NORM:
        mean = _total(pieces) / INPUTS
        centred = ()
        for i in tl.static_range(len(pieces)):
            each = pieces[i] - mean
            if (i + 1) * 128 * SPLIT > INPUTS:
                each = tl.where(bytes_of(i, SPLIT, HALF) < ROW, each, 0.0)
            centred = centred + (each,)
        pieces = centred
    squares = ()
    for i in tl.static_range(len(pieces)):
        squares = squares + (pieces[i] * pieces[i],)
    spread = tl.rsqrt(_total(squares) / INPUTS + epsilon)
    made = ()
    for i in tl.static_range(len(pieces)):
        each = pieces[i] * spread if SHIFTED else pieces[i]
        if WEIGHTED:
            each *= factors[i]
        if SHIFTED:
            each += shifts[i]
        made = made + (each,)
    return made, 1.0 if SHIFTED else spread


@triton.jit  # type: ignore[untyped-decorator]
def _columns(numbers, inverse, SPLIT: tl.constexpr):  # type: ignore[no-untyped-def]
    """The low, the high and the middle digit of (SPLIT, 32) numbers, and nothing: (SPLIT, 32, 2, 2)."""
    bits = (numbers * inverse + _ROUNDING).to(tl.int32, bitcast=True)
    low = (bits ^ 128).to(tl.int8)
    middle = ((bits >> 8) ^ 128).to(tl.int8)
    high = ((bits >> 16) - 0x4B40).to(tl.int8)
    return tl.join(tl.join(low, middle), tl.join(high, tl.zeros([SPLIT, 32], tl.int8)))


@triton.jit  # type: ignore[untyped-decorator]
def digits_of(piece, inverse, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """The digits of a piece of the vector, four columns for either half of a row: (SPLIT, 64, 8).

    The four neighbours of a thread are taken apart and joined last, so that they lie side by side where warps
    exchange them.
    """
    even, odd = tl.split(tl.reshape(piece, (SPLIT, 32, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    made = tl.join(
        tl.join(_columns(first, inverse, SPLIT), _columns(third, inverse, SPLIT)),
        tl.join(_columns(second, inverse, SPLIT), _columns(fourth, inverse, SPLIT)),
    )
    if HALF:
        made = tl.permute(tl.reshape(made, (SPLIT, 2, 16, 4, 4)), (0, 1, 3, 2, 4))
    else:
        made = tl.permute(tl.reshape(made, (SPLIT, 2, 4, 2, 2, 4, 4)), (0, 4, 5, 3, 2, 1, 6))
    return tl.permute(tl.reshape(made, (SPLIT, 8, 64)), (0, 2, 1))


@triton.jit  # type: ignore[untyped-decorator]
def _unpacked(piece, EMULATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """16 times the signed integers in the low and in the high bits; they are stored with 8 added."""
    if EMULATED:
        low = ((piece << 4) ^ 128).to(tl.int8, bitcast=True)
        high = ((piece & 240) ^ 128).to(tl.int8, bitcast=True)
    else:
        # The same for four bytes at once; 0x6A is (a and b) xor c.
        low, high = tl.inline_asm_elementwise(
            """{ .reg .b32 t; shl.b32 t, $2, 4; lop3.b32 $0, t, 0xF0F0F0F0, 0x80808080, 0x6A;
            lop3.b32 $1, $2, 0xF0F0F0F0, 0x80808080, 0x6A; }""",
            "=&r,=r,r", [piece], dtype=(tl.int8, tl.int8), is_pure=True, pack=4,
        )  # fmt: skip
    return low, high


@triton.jit  # type: ignore[untyped-decorator]
def halves_of(piece, ROWS: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr, EMULATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """A piece as (SPLIT, 2 * ROWS, 64): of each eight rows the first halves, then the second, inputs as in `digits_of`.

    Nothing moves between threads: see `places`.
    """
    if HALF:
        low, high = _unpacked(piece, EMULATED)
        both = tl.reshape(tl.join(low, high), (4, 8, SPLIT, ROWS // 8, 2, 8, 2))
        piece = tl.permute(both, (2, 3, 4, 1, 6, 0, 5))
    else:
        piece = tl.permute(tl.reshape(piece, (4, 8, SPLIT, ROWS // 8, 2, 2, 2, 4)), (2, 3, 6, 1, 5, 0, 4, 7))
    return tl.reshape(piece, (SPLIT, 2 * ROWS, 64))

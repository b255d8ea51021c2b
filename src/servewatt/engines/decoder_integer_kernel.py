"""A Triton kernel for a decode step of one row: a norm, the product with a matrix of integers, and what follows.

With floating arithmetic such a product takes as long as its instructions: to make a float of each integer and to
multiply it costs four or more. Here tensor cores multiply the integers as they are, hundreds an instruction. The vector
is made fixed point of 23 bits relative to its largest magnitude, finer than bf16 for whatever matters to a sum, and
that is written as three digits of 8 bits; their products with the matrix are exact, and only where they are put together
is fp32.

A product of tensor cores takes sixteen rows of one matrix and eight columns of another, and a vector of three digits
has but three columns. So of each row of the matrix two halves stand in it as two rows, and of the vector the digits for
either half as columns: four products of a half with digits, of which the two that belong together are kept.

As in decoder_product_kernel a program asks for its piece of the matrix before it waits for the kernel before.
Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from servewatt.engines.decoder_kernel_parts import LAYER_NORM, Product, activated, launch

if TYPE_CHECKING:
    import torch

    from servewatt.engines.decoder_shape import DecoderShape

_LARGEST = tl.constexpr(4161278.0)
"""What the largest magnitude becomes: with what is added below it does not leave the 23 bits of a float's mantissa."""
_SMALLEST = tl.constexpr(1e-30)
"""A vector whose largest magnitude is less counts as zero."""
_ROUNDING = tl.constexpr(12582912.0 + 32896.0)
"""2**23 + 2**22 makes an integer of what it is added to; 128 * (256 + 1) makes digits from -128 to 127."""


@triton.jit  # type: ignore[untyped-decorator]
def _places(first, last, ROWS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where ROWS rows from `first` on have the bytes of their first piece, and which bytes of a row these are.

    The dimensions are those in which Triton deals them out to threads just as tensor cores want them: (bytes of a
    quarter, eight rows, warps, eights of rows and runs, bytes side by side).
    """
    BYTES: tl.constexpr = 8 if HALF else 16
    run = tl.arange(0, ROWS // 4)[None, None, None, :, None]
    # Rows beyond the last are the last again: loads without a mask need no zeros.
    row = tl.minimum(first + run // 2 * 8 + tl.arange(0, 8)[None, :, None, None, None], last)
    byte = (
        BYTES * tl.arange(0, 4)[:, None, None, None, None]
        + 8 * BYTES * tl.arange(0, SPLIT)[None, None, :, None, None]
        + 4 * BYTES * (run % 2)
        + tl.arange(0, BYTES)[None, None, None, None, :]
    )
    return row.to(tl.int64) * ROW + byte, byte


@triton.jit  # type: ignore[untyped-decorator]
def _piece(weight, at, byte, i: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Piece `i` of rows: what meets 128 * SPLIT inputs."""
    PIECE: tl.constexpr = SPLIT * (64 if HALF else 128)
    if (i + 1) * PIECE <= ROW:
        piece = tl.load(weight + at + i * PIECE)
    else:
        piece = tl.load(weight + at + i * PIECE, mask=byte + i * PIECE < ROW, other=0)
    return piece


@triton.jit  # type: ignore[untyped-decorator]
def _scales(  # type: ignore[no-untyped-def]
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
def _rows(  # type: ignore[no-untyped-def]
    weight, scale, first, last, ROWS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """ROWS rows of a matrix from `first` on, piece by piece, and their scales: nothing but loads."""
    PIECE: tl.constexpr = SPLIT * (64 if HALF else 128)
    at, byte = _places(first, last, ROWS, ROW, SPLIT, HALF)
    pieces = ()
    scales = ()
    for i in tl.static_range((ROW + PIECE - 1) // PIECE):
        pieces = pieces + (_piece(weight, at, byte, i, ROW, SPLIT, HALF),)
        if HALF:
            scales = scales + (_scales(scale, first, last, i, ROWS, ROW, SPLIT, HALF),)
    if HALF == 0:
        scales = (tl.load(scale + tl.minimum(first + tl.arange(0, ROWS), last)),)
    return pieces, scales


@triton.jit  # type: ignore[untyped-decorator]
def _bytes(i: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which bytes of a row meet the inputs of piece `i` of the vector: (SPLIT, 128)."""
    j = tl.arange(0, 128)[None, :]
    warp = i * SPLIT + tl.arange(0, SPLIT)[:, None]
    if HALF:
        # Of each 32 bytes the inputs that the low bits belong to, then those of the high bits.
        byte = 64 * warp + j // 64 * 32 + j % 32
    else:
        byte = 128 * warp + j
    return byte


@triton.jit  # type: ignore[untyped-decorator]
def _inputs(x, INPUTS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """A vector by pieces of (SPLIT, 128), fp32, in the order of `_bytes`."""
    pieces = ()
    for i in tl.static_range((INPUTS + 128 * SPLIT - 1) // (128 * SPLIT)):
        byte = _bytes(i, SPLIT, HALF)
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
def _largest(pieces):  # type: ignore[no-untyped-def]
    """The largest magnitude; NaN if there is one."""
    largest = tl.abs(pieces[0])
    for i in tl.static_range(1, len(pieces)):
        largest = _larger(largest, tl.abs(pieces[i]))
    return tl.reduce(tl.reshape(largest, (largest.shape[0] * largest.shape[1],)), 0, _larger)


@triton.jit  # type: ignore[untyped-decorator]
def _normed(  # type: ignore[no-untyped-def]
    pieces, factors, shifts, epsilon, INPUTS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr,
    NORM: tl.constexpr, WEIGHTED: tl.constexpr, SHIFTED: tl.constexpr,
):  # fmt: skip
    """A vector's norm, and what it has still to be multiplied by: where nothing is added, that can wait."""
    if NORM == LAYER_NORM:
        mean = _total(pieces) / INPUTS
        centred = ()
        for i in tl.static_range(len(pieces)):
            each = pieces[i] - mean
            if (i + 1) * 128 * SPLIT > INPUTS:
                each = tl.where(_bytes(i, SPLIT, HALF) < ROW, each, 0.0)
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


@triton.jit
def _columns(numbers, inverse, SPLIT: tl.constexpr):  # type: ignore[no-untyped-def]
    """The low, the high and the middle digit of (SPLIT, 32) numbers, and nothing: (SPLIT, 32, 2, 2)."""
    bits = (numbers * inverse + _ROUNDING).to(tl.int32, bitcast=True)
    low = (bits ^ 128).to(tl.int8)
    middle = ((bits >> 8) ^ 128).to(tl.int8)
    high = ((bits >> 16) - 0x4B40).to(tl.int8)
    return tl.join(tl.join(low, middle), tl.join(high, tl.zeros([SPLIT, 32], tl.int8)))


@triton.jit  # type: ignore[untyped-decorator]
def _digits(piece, inverse, SPLIT: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
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
def _halves(piece, ROWS: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr, EMULATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """A piece as (SPLIT, 2 * ROWS, 64): of each eight rows the first halves, then the second, inputs as in `_digits`.

    Nothing moves between threads: see `_places`.
    """
    if HALF:
        low, high = _unpacked(piece, EMULATED)
        both = tl.reshape(tl.join(low, high), (4, 8, SPLIT, ROWS // 8, 2, 8, 2))
        piece = tl.permute(both, (2, 3, 4, 1, 6, 0, 5))
    else:
        piece = tl.permute(tl.reshape(piece, (4, 8, SPLIT, ROWS // 8, 2, 2, 2, 4)), (2, 3, 6, 1, 5, 0, 4, 7))
    return tl.reshape(piece, (SPLIT, 2 * ROWS, 64))


@triton.jit  # type: ignore[untyped-decorator]
def _products(  # type: ignore[no-untyped-def]
    rows, digits, weight, scale, first, last, NEXT: tl.constexpr,
    ROWS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr, EMULATED: tl.constexpr,
):  # fmt: skip
    """What `_rows` loaded times the digits, (ROWS,); with NEXT the rows from `first` on take their place meanwhile."""
    pieces, scales = rows
    at, byte = _places(first, last, ROWS, ROW, SPLIT, HALF)
    next_pieces = ()
    next_scales = ()
    sums = tl.zeros([SPLIT, 2 * ROWS, 8], tl.float32)
    made = tl.zeros([SPLIT, 2 * ROWS, 8], tl.int32)
    for i in tl.static_range(len(pieces)):
        piece = _halves(pieces[i], ROWS, SPLIT, HALF, EMULATED)
        if HALF:
            made = tl.dot(piece, digits[i], out_dtype=tl.int32)
            sums += made.to(tl.float32) * scales[i].to(tl.float32)[:, :, None]
        else:
            made = tl.dot(piece, digits[i], acc=made, out_dtype=tl.int32)
        if NEXT:
            next_pieces = next_pieces + (_piece(weight, at, byte, i, ROW, SPLIT, HALF),)
            if HALF:
                next_scales = next_scales + (_scales(scale, first, last, i, ROWS, ROW, SPLIT, HALF),)
    column = tl.arange(0, 8)
    digit = column % 4
    worth = tl.where(digit == 0, 1.0, tl.where(digit == 1, 65536.0, tl.where(digit == 2, 256.0, 0.0)))
    half = tl.arange(0, 2 * ROWS) // 8 % 2
    # What one half of a row makes with the digits of the other half is nothing.
    worth = tl.where(half[:, None] == (column // 4)[None, :], worth[None, :], 0.0)
    sums = sums * (0.0625 * worth)[None, :, :] if HALF else made.to(tl.float32) * worth[None, :, :]
    total = tl.sum(tl.sum(sums, 2), 0)
    total = tl.reshape(tl.sum(tl.reshape(total, (ROWS // 8, 2, 8)), 1), (ROWS,))
    next_rows = rows
    if HALF == 0:
        total *= scales[0].to(tl.float32)
        if NEXT:
            next_scales = (tl.load(scale + tl.minimum(first + tl.arange(0, ROWS), last)),)
    if NEXT:
        next_rows = (next_pieces, next_scales)
    return total, next_rows


@triton.jit  # type: ignore[untyped-decorator]
def _integer_kernel(  # type: ignore[no-untyped-def]
    x, weight, scale, bias, norm_weight, norm_bias, residual, out, active_out, outputs, epsilon,
    INPUTS: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr,
    NORM: tl.constexpr, WEIGHTED: tl.constexpr, SHIFTED: tl.constexpr, BIASED: tl.constexpr,
    ADDED: tl.constexpr, GATED: tl.constexpr, ACTIVATION: tl.constexpr, FIRST_ACTIVE: tl.constexpr,
    OVERLAPS: tl.constexpr, FIRST_WAVE: tl.constexpr, EMULATED: tl.constexpr,
):  # fmt: skip
    # Of int4 two inputs share a byte.
    ROW: tl.constexpr = INPUTS if HALF == 0 else INPUTS // 2
    program = tl.program_id(0)
    if OVERLAPS and program >= FIRST_WAVE:
        # The kernel before has ended: waiting after asking for the matrix would only put one behind the other.
        gdc_wait()
    first = program * TILES * ROWS
    n = first + tl.arange(0, ROWS)
    rows = _rows(weight, scale, first, outputs - 1, ROWS, ROW, SPLIT, HALF)
    others = rows
    if GATED:
        others = _rows(weight, scale, first + outputs, 2 * outputs - 1, ROWS, ROW, SPLIT, HALF)
    shift = tl.zeros([ROWS], tl.float32)
    other_shift = shift
    if BIASED:
        shift = tl.load(bias + n, mask=n < outputs, other=0.0).to(tl.float32)
        other_shift = tl.load(bias + outputs + n, mask=n < outputs, other=0.0).to(tl.float32) if GATED else shift
    factors = _inputs(norm_weight, INPUTS, ROW, SPLIT, HALF) if WEIGHTED else ()
    shifts = _inputs(norm_bias, INPUTS, ROW, SPLIT, HALF) if SHIFTED else ()
    if OVERLAPS:
        if program < FIRST_WAVE:
            gdc_wait()
        gdc_launch_dependents()
    vector = _inputs(x, INPUTS, ROW, SPLIT, HALF)
    before = tl.zeros([ROWS], tl.float32)
    if ADDED:
        before = tl.load(residual + n, mask=n < outputs, other=0.0).to(tl.float32)
    size = 1.0
    if NORM:
        vector, size = _normed(
            vector, factors, shifts, epsilon, INPUTS, ROW, SPLIT, HALF, NORM, WEIGHTED, SHIFTED
        )  # fmt: skip
    largest = _largest(vector)
    inverse = tl.where(largest > _SMALLEST, _LARGEST / largest, 0.0)
    size *= largest / _LARGEST
    digits = ()
    for i in tl.static_range(len(vector)):
        digits = digits + (_digits(vector[i], inverse, SPLIT, HALF),)
    for tile in tl.static_range(TILES):
        real = n < outputs
        first += ROWS
        made, rows = _products(
            rows, digits, weight, scale, first, outputs - 1, tile + 1 < TILES, ROWS, ROW, SPLIT, HALF, EMULATED
        )
        made = made * size + shift
        if GATED:
            other, others = _products(
                others, digits, weight, scale, first + outputs, 2 * outputs - 1, tile + 1 < TILES,
                ROWS, ROW, SPLIT, HALF, EMULATED,
            )  # fmt: skip
            made = activated(made, ACTIVATION) * (other * size + other_shift)
        made += before
        if ACTIVATION and not GATED:
            # Outputs from FIRST_ACTIVE on are activated, and go elsewhere.
            active = n >= FIRST_ACTIVE
            tl.store(out + n, made.to(out.dtype.element_ty), mask=real & ~active)
            made = activated(made, ACTIVATION).to(out.dtype.element_ty)
            tl.store(active_out + n - FIRST_ACTIVE, made, mask=real & active)
        else:
            tl.store(out + n, made.to(out.dtype.element_ty), mask=real)
        n += ROWS
        if tile + 1 < TILES:
            if BIASED:
                shift = tl.load(bias + n, mask=n < outputs, other=0.0).to(tl.float32)
                if GATED:
                    other_shift = tl.load(bias + outputs + n, mask=n < outputs, other=0.0).to(tl.float32)
            if ADDED:
                before = tl.load(residual + n, mask=n < outputs, other=0.0).to(tl.float32)


class _Division(NamedTuple):
    """How a product is cut."""

    rows: int
    """Of the matrix that a program multiplies at once, a multiple of eight; of a gated one, pairs of rows."""
    tiles: int
    """How often a program does."""
    warps: int
    """Among which the inputs are divided, 128 to each in turn."""


_PROCESSORS = 132
"""Of an H200 or H100."""


def _division(outputs: int, row: int, *, int4: bool, pairs: bool) -> _Division:
    """What was quickest, or close to it, on an H200 for the study's models (tools/tune_one_row.py).

    A program makes the digits of the whole vector, so it should have many rows; each processor should have two programs
    or more, and no more registers than hold one tile's rows. `row` is the length of a row in bytes.
    """
    rows = 8 if outputs < 1536 or (pairs and not int4) else 16
    wave = 2 * _PROCESSORS if pairs and int4 else 8 * _PROCESSORS // 3
    tiles = min(max(1, round(outputs / (rows * wave))), 8)
    most = 96 if tiles == 1 else 64 if int4 else 80
    warps = 4 if outputs < 192 * rows else 1
    # Registers of a thread that hold a tile's rows.
    while warps < 8 and rows * (1 + pairs) * row / (128 * warps) > most:
        warps *= 2
    alone = rows * (1 + pairs) * row / (128 * warps) > 64
    if warps == 8 and (rows * row / 1024 > 128 or (alone and outputs > rows * _PROCESSORS)):
        # One program a processor: as many as there are, each with as many tiles as it takes.
        rows = 8
        tiles = min(triton.cdiv(outputs, rows * _PROCESSORS), 8)
    return _Division(rows, tiles, warps)


def multiply(shape: DecoderShape, product: Product) -> torch.Tensor:
    """The product's `out`; its matrix is int8, or int4 in groups of 64 inputs or more: those of half a row in one
    product of tensor cores."""
    weight, scale, _ = product.matrix
    assert scale is not None
    half = weight.shape[2] if weight.dim() == 3 else 0
    row, outputs = weight[0].numel(), product.outputs
    division = _division(outputs, row, int4=half > 0, pairs=product.gated)
    launch(
        _integer_kernel, triton.cdiv(outputs, division.rows * division.tiles), division.warps, shape, product,
        (weight, scale), INPUTS=2 * row if half else row, ROWS=division.rows, TILES=division.tiles,
        SPLIT=division.warps, HALF=half, EMULATED=not product.x.is_cuda,
    )  # fmt: skip
    return product.out

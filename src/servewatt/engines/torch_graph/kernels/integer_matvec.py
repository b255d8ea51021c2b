"""A Triton kernel for a decode step of one row: a norm, the product with a matrix of integers, and what follows.

In floating arithmetic such a product is bound by instructions: converting an integer and multiplying it costs four or
more. Here tensor cores multiply the integers as they are, hundreds an instruction. The vector becomes fixed point of 23
bits relative to its largest magnitude, written as three digits of 8 bits. That is finer than bf16 for every value that
affects a sum. Their products with the matrix are exact; putting them together is fp32.

A product of tensor cores takes sixteen rows of one matrix and eight columns of another, and a vector of three digits
has but three columns. So of each row of the matrix two halves stand in it as two rows, and of the vector the digits for
either half as columns: four products of a half with digits, of which the two that belong together are kept.

As in `float_matvec` a program asks for its piece of the matrix before it waits for the kernel before.
Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from servewatt.engines.torch_graph.kernels.integers import (
    LARGEST,
    SMALLEST,
    digits_of,
    halves_of,
    largest_of,
    load_inputs,
    load_piece,
    load_rows,
    load_scales,
    normed,
    places,
)
from servewatt.engines.torch_graph.kernels.matvec import Product, activated, launch, store

if TYPE_CHECKING:
    import torch

    from servewatt.checkpoints.decoder import DecoderShape


@triton.jit  # type: ignore[untyped-decorator]
def _products(  # type: ignore[no-untyped-def]
    rows, digits, weight, scale, first, last, NEXT: tl.constexpr,
    ROWS: tl.constexpr, ROW: tl.constexpr, SPLIT: tl.constexpr, HALF: tl.constexpr, EMULATED: tl.constexpr,
):  # fmt: skip
    """What `load_rows` loaded times the digits, (ROWS,), and, with NEXT, the rows from `first` on in its place."""
    pieces, scales = rows
    at, byte = places(first, last, ROWS, ROW, SPLIT, HALF)
    next_pieces = ()
    next_scales = ()
    sums = tl.zeros([SPLIT, 2 * ROWS, 8], tl.float32)
    made = tl.zeros([SPLIT, 2 * ROWS, 8], tl.int32)
    for i in tl.static_range(len(pieces)):
        piece = halves_of(pieces[i], ROWS, SPLIT, HALF, EMULATED)
        if HALF:
            made = tl.dot(piece, digits[i], out_dtype=tl.int32)
            sums += made.to(tl.float32) * scales[i].to(tl.float32)[:, :, None]
        else:
            made = tl.dot(piece, digits[i], acc=made, out_dtype=tl.int32)
        if NEXT:
            next_pieces = next_pieces + (load_piece(weight, at, byte, i, ROW, SPLIT, HALF),)
            if HALF:
                next_scales = next_scales + (load_scales(scale, first, last, i, ROWS, ROW, SPLIT, HALF),)
    column = tl.arange(0, 8)
    digit = column % 4
    worth = tl.where(digit == 0, 1.0, tl.where(digit == 1, 65536.0, tl.where(digit == 2, 256.0, 0.0)))
    half = tl.arange(0, 2 * ROWS) // 8 % 2
    # Products of one half of a row with the digits of the other half are discarded.
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
        # The kernel before has ended, so waiting after loading the matrix would only serialise the two.
        gdc_wait()
    first = program * TILES * ROWS
    n = first + tl.arange(0, ROWS)
    rows = load_rows(weight, scale, first, outputs - 1, ROWS, ROW, SPLIT, HALF)
    others = rows
    if GATED:
        others = load_rows(weight, scale, first + outputs, 2 * outputs - 1, ROWS, ROW, SPLIT, HALF)
    shift = tl.zeros([ROWS], tl.float32)
    other_shift = shift
    if BIASED:
        shift = tl.load(bias + n, mask=n < outputs, other=0.0).to(tl.float32)
        other_shift = tl.load(bias + outputs + n, mask=n < outputs, other=0.0).to(tl.float32) if GATED else shift
    factors = load_inputs(norm_weight, INPUTS, ROW, SPLIT, HALF) if WEIGHTED else ()
    shifts = load_inputs(norm_bias, INPUTS, ROW, SPLIT, HALF) if SHIFTED else ()
    if OVERLAPS:
        if program < FIRST_WAVE:
            gdc_wait()
        gdc_launch_dependents()
    vector = load_inputs(x, INPUTS, ROW, SPLIT, HALF)
    before = tl.zeros([ROWS], tl.float32)
    if ADDED:
        before = tl.load(residual + n, mask=n < outputs, other=0.0).to(tl.float32)
    size = 1.0
    if NORM:
        vector, size = normed(
            vector, factors, shifts, epsilon, INPUTS, ROW, SPLIT, HALF, NORM, WEIGHTED, SHIFTED
        )  # fmt: skip
    largest = largest_of(vector)
    inverse = tl.where(largest > SMALLEST, LARGEST / largest, 0.0)
    size *= largest / LARGEST
    digits = ()
    for i in tl.static_range(len(vector)):
        digits = digits + (digits_of(vector[i], inverse, SPLIT, HALF),)
    for tile in tl.static_range(TILES):
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
        store(made, out, active_out, n, outputs, GATED, ACTIVATION, FIRST_ACTIVE)
        n += ROWS
        if tile + 1 < TILES:
            if BIASED:
                shift = tl.load(bias + n, mask=n < outputs, other=0.0).to(tl.float32)
                if GATED:
                    other_shift = tl.load(bias + outputs + n, mask=n < outputs, other=0.0).to(tl.float32)
            if ADDED:
                before = tl.load(residual + n, mask=n < outputs, other=0.0).to(tl.float32)


class _Division(NamedTuple):
    """Tiling of a product."""

    rows: int
    """Of the matrix that a program multiplies at once, a multiple of eight; of a gated one, pairs of rows."""
    tiles: int
    """How often a program does."""
    warps: int
    """Among which the inputs are divided, 128 to each in turn."""


_PROCESSORS = 132
"""Of an H200 or H100."""


def _division(outputs: int, row: int, *, int4: bool, pairs: bool) -> _Division:
    """The fastest tiling, or nearly so, on an H200 for the study's models (tools/tune_one_row.py).

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

"""A Triton kernel for a decode step of one row: a vector's norm, its product with a floating matrix, and what follows.

With one row a product takes as long as reading its matrix. So the rest of a layer is best computed by the kernels that
read matrices. Each asks for its piece of the matrix first, which depends on nothing, and only then waits for the kernel
before it: on devices that can start a kernel before its predecessor has ended (Hopper and later), memory stays busy
between two kernels. A kernel lets its successor start once it has itself waited, so that no more than two are under way
and whatever is older has been written.

Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from servewatt.engines.torch_graph.kernels.matvec import LAYER_NORM, Product, activated, launch, store

if TYPE_CHECKING:
    import torch

    from servewatt.checkpoints.decoder import DecoderShape


@triton.jit  # type: ignore[untyped-decorator]
def _rows(  # type: ignore[no-untyped-def]
    weight, bias, n, real, ROWS: tl.constexpr, INPUTS: tl.constexpr, CHUNK: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    """Rows `n` of a matrix chunk by chunk, and their biases: nothing but loads."""
    pieces = ()
    for i in tl.static_range((INPUTS + CHUNK - 1) // CHUNK):
        j = i * CHUNK + tl.arange(0, CHUNK)
        inside = real[:, None] & (j < INPUTS)[None, :]
        pieces = pieces + (tl.load(weight + n[:, None] * INPUTS + j[None, :], mask=inside, other=0.0),)
    shift = tl.load(bias + n, mask=real, other=0.0).to(tl.float32) if BIASED else tl.zeros([ROWS], tl.float32)
    return pieces, shift


@triton.jit  # type: ignore[untyped-decorator]
def _inputs(x, INPUTS: tl.constexpr, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """A vector chunk by chunk, fp32."""
    pieces = ()
    for i in tl.static_range((INPUTS + CHUNK - 1) // CHUNK):
        j = i * CHUNK + tl.arange(0, CHUNK)
        pieces = pieces + (tl.load(x + j, mask=j < INPUTS, other=0.0).to(tl.float32),)
    return pieces


@triton.jit
def _total(pieces):  # type: ignore[no-untyped-def]
    total = pieces[0]
    for i in tl.static_range(1, len(pieces)):
        total += pieces[i]
    return tl.sum(total, 0)


@triton.jit
def _total_of_squares(pieces):  # type: ignore[no-untyped-def]
    total = pieces[0] * pieces[0]
    for i in tl.static_range(1, len(pieces)):
        total += pieces[i] * pieces[i]
    return tl.sum(total, 0)


@triton.jit  # type: ignore[untyped-decorator]
def _centred(pieces, mean, INPUTS: tl.constexpr, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    made = ()
    for i in tl.static_range(len(pieces)):
        inside = i * CHUNK + tl.arange(0, CHUNK) < INPUTS
        made = made + (tl.where(inside, pieces[i] - mean, 0.0),)
    return made


@triton.jit  # type: ignore[untyped-decorator]
def _stretched(pieces, spread, factors, shifts, WEIGHTED: tl.constexpr, SHIFTED: tl.constexpr):  # type: ignore[no-untyped-def]
    """The second half of a norm: each piece times `spread` and the norm's weights, plus its biases."""
    made = ()
    for i in tl.static_range(len(pieces)):
        piece = pieces[i] * spread
        if WEIGHTED:
            piece *= factors[i]
        if SHIFTED:
            piece += shifts[i]
        made = made + (piece,)
    return made


@triton.jit  # type: ignore[untyped-decorator]
def _products(rows, vector, ROWS: tl.constexpr, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """What `_rows` loaded times the vector, plus bias: (rows,)."""
    pieces, shift = rows
    sums = tl.zeros([ROWS, CHUNK], tl.float32)
    for i in tl.static_range(len(pieces)):
        sums += pieces[i].to(tl.float32) * vector[i][None, :]
    return tl.sum(sums, 1) + shift


@triton.jit  # type: ignore[untyped-decorator]
def _product_kernel(  # type: ignore[no-untyped-def]
    x, weight, bias, norm_weight, norm_bias, residual, out, active_out, outputs, epsilon,
    INPUTS: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr,
    NORM: tl.constexpr, WEIGHTED: tl.constexpr, SHIFTED: tl.constexpr, BIASED: tl.constexpr,
    ADDED: tl.constexpr, GATED: tl.constexpr, ACTIVATION: tl.constexpr, FIRST_ACTIVE: tl.constexpr,
    OVERLAPS: tl.constexpr, FIRST_WAVE: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    if OVERLAPS and program >= FIRST_WAVE:
        # The kernel before has ended, so waiting after loading the matrix would only serialise the two.
        gdc_wait()
    n = program * TILES * ROWS + tl.arange(0, ROWS)
    real = n < outputs
    rows = _rows(weight, bias, n, real, ROWS, INPUTS, CHUNK, BIASED)
    others = rows
    if GATED:
        others = _rows(weight, bias, n + outputs, real, ROWS, INPUTS, CHUNK, BIASED)
    factors = _inputs(norm_weight, INPUTS, CHUNK) if WEIGHTED else ()
    shifts = _inputs(norm_bias, INPUTS, CHUNK) if SHIFTED else ()
    if OVERLAPS:
        if program < FIRST_WAVE:
            gdc_wait()
        gdc_launch_dependents()
    vector = _inputs(x, INPUTS, CHUNK)
    if NORM:
        if NORM == LAYER_NORM:
            vector = _centred(vector, _total(vector) / INPUTS, INPUTS, CHUNK)
        spread = tl.rsqrt(_total_of_squares(vector) / INPUTS + epsilon)
        vector = _stretched(vector, spread, factors, shifts, WEIGHTED, SHIFTED)
    for tile in tl.static_range(TILES):
        before = tl.load(residual + n, mask=real, other=0.0).to(tl.float32) if ADDED else tl.zeros([ROWS], tl.float32)
        next_n = n + ROWS
        next_real = next_n < outputs
        next_rows = rows
        next_others = others
        if tile + 1 < TILES:
            next_rows = _rows(weight, bias, next_n, next_real, ROWS, INPUTS, CHUNK, BIASED)
            if GATED:
                next_others = _rows(weight, bias, next_n + outputs, next_real, ROWS, INPUTS, CHUNK, BIASED)
        made = _products(rows, vector, ROWS, CHUNK)
        if GATED:
            made = activated(made, ACTIVATION) * _products(others, vector, ROWS, CHUNK)
        made += before
        store(made, out, active_out, n, outputs, GATED, ACTIVATION, FIRST_ACTIVE)
        n = next_n
        real = next_real
        rows = next_rows
        others = next_others


class _Division(NamedTuple):
    """Tiling of a product."""

    rows: int
    """Of the matrix that a program multiplies at once; of a gated one, pairs of rows."""
    tiles: int
    """How often a program does."""
    chunk: int
    """Items of a row that are loaded by one instruction of the program."""
    warps: int


def _division(outputs: int, inputs: int, item_size: int, *, pairs: bool) -> _Division:
    """Rows long enough to keep a program's warps busy, programs enough for every processor (tools/tune_one_row.py).

    A pair's rows are multiplied by one program.
    """
    rows = 4
    while rows > 1 and (rows * inputs * (1 + pairs) > 8192 or outputs < 256 * rows):
        rows //= 2
    warps = 2 if inputs < 4096 else 4
    chunk = 32 * warps * 16 // item_size
    while chunk > 128 and inputs % chunk:
        chunk //= 2
    return _Division(rows, 2 if outputs >= 1024 * rows else 1, chunk, warps)


def multiply(shape: DecoderShape, product: Product) -> torch.Tensor:
    """The product's `out`; its matrix is floating. Sums are in fp32."""
    weight = product.matrix.weight
    outputs, inputs = product.outputs, weight.shape[1]
    division = _division(outputs, inputs, weight.element_size(), pairs=product.gated)
    launch(
        _product_kernel, triton.cdiv(outputs, division.rows * division.tiles), division.warps, shape, product,
        (weight,), INPUTS=inputs, CHUNK=division.chunk, ROWS=division.rows, TILES=division.tiles,
    )  # fmt: skip
    return product.out

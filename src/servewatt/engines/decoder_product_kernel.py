"""A Triton kernel for a decode step of one row: a vector's norm, its product with a matrix, and what follows.

With one row a product takes as long as its matrix takes to be read, so what else a layer computes is best done by the
kernels that read matrices. Each asks for its piece of the matrix first, which depends on nothing, and only then waits
for the kernel before it: on devices that can start a kernel before its predecessor has ended (Hopper and later), the
memory does not rest between two kernels. A kernel lets its successor start once it has itself waited, so that no more
than two are under way and whatever is older has been written.

Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from servewatt.engines.decoder_shape import Activation, DecoderShape, Norm

if TYPE_CHECKING:
    import torch

    from servewatt.engines.decoder_matrix import Matrix
    from servewatt.engines.decoder_weights import NormWeights

_FIRST_WAVE = 528
"""Programs that may be there before the kernel before has ended: four for each of an H200's processors."""
_ACTIVATIONS = {activation: index for index, activation in enumerate(Activation, start=1)}
_NORMS = {Norm.LAYER: 1, Norm.RMS: 2}
_GELU, _GELU_TANH, _SILU, _RELU = (tl.constexpr(_ACTIVATIONS[a]) for a in Activation)
_LAYER_NORM = tl.constexpr(_NORMS[Norm.LAYER])


@triton.jit  # type: ignore[untyped-decorator]
def _activated(x, ACTIVATION: tl.constexpr):  # type: ignore[no-untyped-def]
    if ACTIVATION == _GELU:
        x = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == _GELU_TANH:
        # 1/2 (1 + tanh u) is the logistic function of 2u.
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    elif ACTIVATION == _SILU:
        x = x * tl.sigmoid(x)
    elif ACTIVATION == _RELU:
        x = tl.maximum(x, 0.0)
    return x


@triton.jit
def _number(bits, offset):  # type: ignore[no-untyped-def]
    """fp32 of 2**23 and the integer in the lowest bits of `bits`, less 2**23 and `offset`.

    `bits` is an exponent of 23 and the integer as mantissa: cheaper than a conversion.
    """
    return bits.to(tl.float32, bitcast=True) - (8388608.0 + offset)


@triton.jit  # type: ignore[untyped-decorator]
def _rows(  # type: ignore[no-untyped-def]
    weight, scale, bias, n, real,
    ROWS: tl.constexpr, ROW: tl.constexpr, CHUNK: tl.constexpr, HALF: tl.constexpr, SCALED: tl.constexpr,
    BIASED: tl.constexpr,
):  # fmt: skip
    """Rows `n` of a matrix and their scales (of int4), chunk by chunk, and their biases: nothing but loads."""
    pieces = ()
    for i in tl.static_range((ROW + CHUNK - 1) // CHUNK):
        j = i * CHUNK + tl.arange(0, CHUNK)
        inside = real[:, None] & (j < ROW)[None, :]
        pieces = pieces + (tl.load(weight + n[:, None] * ROW + j[None, :], mask=inside, other=0),)
    scales = ()
    if SCALED and HALF:
        for i in tl.static_range((ROW + CHUNK - 1) // CHUNK):
            g = i * (CHUNK // HALF) + tl.arange(0, CHUNK // HALF)
            inside = real[:, None] & (g < ROW // HALF)[None, :]
            scales = scales + (tl.load(scale + n[:, None] * (ROW // HALF) + g[None, :], mask=inside, other=0.0),)
    elif SCALED:
        scales = (tl.load(scale + n, mask=real, other=0.0),)
    shift = tl.load(bias + n, mask=real, other=0.0).to(tl.float32) if BIASED else tl.zeros([ROWS], tl.float32)
    return pieces, scales, shift


@triton.jit  # type: ignore[untyped-decorator]
def _inputs(x, ROW: tl.constexpr, CHUNK: tl.constexpr, HALF: tl.constexpr, HIGH: tl.constexpr):  # type: ignore[no-untyped-def]
    """A vector chunk by chunk, fp32. Of int4 (HALF > 0) the inputs that the low bits belong to, or the high bits."""
    pieces = ()
    for i in tl.static_range((ROW + CHUNK - 1) // CHUNK):
        j = i * CHUNK + tl.arange(0, CHUNK)
        k = j if HALF == 0 else j // HALF * (2 * HALF) + j % HALF + HIGH * HALF
        pieces = pieces + (tl.load(x + k, mask=j < ROW, other=0.0).to(tl.float32),)
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
def _centred(pieces, mean, ROW: tl.constexpr, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    made = ()
    for i in tl.static_range(len(pieces)):
        inside = i * CHUNK + tl.arange(0, CHUNK) < ROW
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
def _products(rows, low, high, ROWS: tl.constexpr, CHUNK: tl.constexpr, HALF: tl.constexpr, SCALED: tl.constexpr):  # type: ignore[no-untyped-def]
    """What `_rows` loaded times the vector, plus bias: (rows,)."""
    pieces, scales, shift = rows
    WIDE: tl.constexpr = CHUNK if HALF == 0 else CHUNK // HALF
    sums = tl.zeros([ROWS, WIDE], tl.float32)
    for i in tl.static_range(len(pieces)):
        part = pieces[i]
        if HALF:
            bits = part.to(tl.uint32)
            each = _number(bits & 15 | 0x4B000000, 8.0) * low[i][None, :]
            each += _number(bits >> 4 | 0x4B000000, 8.0) * high[i][None, :]
            sums += tl.sum(tl.reshape(each, (ROWS, WIDE, HALF)), 2) * scales[i].to(tl.float32)
        else:
            if part.dtype == tl.int8:
                # Exponent and sign bit at once: what was -128 becomes 0.
                part = _number(part.to(tl.uint8, bitcast=True).to(tl.uint32) ^ 0x4B000080, 128.0)
            sums += part.to(tl.float32) * low[i][None, :]
    made = tl.sum(sums, 1)
    if SCALED and HALF == 0:
        made *= scales[0].to(tl.float32)
    return made + shift


@triton.jit  # type: ignore[untyped-decorator]
def _product_kernel(  # type: ignore[no-untyped-def]
    x, weight, scale, bias, norm_weight, norm_bias, residual, out, active_out, outputs, epsilon,
    INPUTS: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr, HALF: tl.constexpr,
    NORM: tl.constexpr, WEIGHTED: tl.constexpr, SHIFTED: tl.constexpr, SCALED: tl.constexpr, BIASED: tl.constexpr,
    ADDED: tl.constexpr, GATED: tl.constexpr, ACTIVATION: tl.constexpr, FIRST_ACTIVE: tl.constexpr,
    OVERLAPS: tl.constexpr, FIRST_WAVE: tl.constexpr,
):  # fmt: skip
    # Of int4 two inputs share a byte.
    ROW: tl.constexpr = INPUTS if HALF == 0 else INPUTS // 2
    program = tl.program_id(0).to(tl.int64)
    if OVERLAPS and program >= FIRST_WAVE:
        # The kernel before has ended: waiting after asking for the matrix would only put one behind the other.
        gdc_wait()
    n = program * TILES * ROWS + tl.arange(0, ROWS)
    real = n < outputs
    rows = _rows(weight, scale, bias, n, real, ROWS, ROW, CHUNK, HALF, SCALED, BIASED)
    others = rows
    if GATED:
        others = _rows(weight, scale, bias, n + outputs, real, ROWS, ROW, CHUNK, HALF, SCALED, BIASED)
    factors = _inputs(norm_weight, ROW, CHUNK, HALF, 0) if WEIGHTED else ()
    high_factors = _inputs(norm_weight, ROW, CHUNK, HALF, 1) if WEIGHTED and HALF else factors
    shifts = _inputs(norm_bias, ROW, CHUNK, HALF, 0) if SHIFTED else ()
    high_shifts = _inputs(norm_bias, ROW, CHUNK, HALF, 1) if SHIFTED and HALF else shifts
    if OVERLAPS:
        if program < FIRST_WAVE:
            gdc_wait()
        gdc_launch_dependents()
    low = _inputs(x, ROW, CHUNK, HALF, 0)
    high = _inputs(x, ROW, CHUNK, HALF, 1) if HALF else low
    if NORM:
        if NORM == _LAYER_NORM:
            mean = (_total(low + high) if HALF else _total(low)) / INPUTS
            low = _centred(low, mean, ROW, CHUNK)
            high = _centred(high, mean, ROW, CHUNK) if HALF else low
        spread = tl.rsqrt((_total_of_squares(low + high) if HALF else _total_of_squares(low)) / INPUTS + epsilon)
        low = _stretched(low, spread, factors, shifts, WEIGHTED, SHIFTED)
        high = _stretched(high, spread, high_factors, high_shifts, WEIGHTED, SHIFTED) if HALF else low
    for tile in tl.static_range(TILES):
        before = tl.load(residual + n, mask=real, other=0.0).to(tl.float32) if ADDED else tl.zeros([ROWS], tl.float32)
        next_n = n + ROWS
        next_real = next_n < outputs
        next_rows = rows
        next_others = others
        if tile + 1 < TILES:
            next_rows = _rows(weight, scale, bias, next_n, next_real, ROWS, ROW, CHUNK, HALF, SCALED, BIASED)
            if GATED:
                next_others = _rows(
                    weight, scale, bias, next_n + outputs, next_real, ROWS, ROW, CHUNK, HALF, SCALED, BIASED
                )
        made = _products(rows, low, high, ROWS, CHUNK, HALF, SCALED)
        if GATED:
            made = _activated(made, ACTIVATION) * _products(others, low, high, ROWS, CHUNK, HALF, SCALED)
        made += before
        if ACTIVATION and not GATED:
            # Outputs from FIRST_ACTIVE on are activated, and go elsewhere.
            active = n >= FIRST_ACTIVE
            tl.store(out + n, made.to(out.dtype.element_ty), mask=real & ~active)
            made = _activated(made, ACTIVATION).to(out.dtype.element_ty)
            tl.store(active_out + n - FIRST_ACTIVE, made, mask=real & active)
        else:
            tl.store(out + n, made.to(out.dtype.element_ty), mask=real)
        n = next_n
        real = next_real
        rows = next_rows
        others = next_others


class _Division(NamedTuple):
    """How a product is cut."""

    rows: int
    """Of the matrix that a program multiplies at once; of a gated one, pairs of rows."""
    tiles: int
    """How often a program does."""
    chunk: int
    """Items of a row that are loaded by one instruction of the program."""
    warps: int


def _division(outputs: int, row: int, item_size: int, *, pairs: bool) -> _Division:
    """Rows long enough to keep a program's warps busy, programs enough for every processor (tools/tune_one_row.py).

    `row` is the length of a row in items; a pair's rows are multiplied by one program.
    """
    rows = 4 if item_size > 1 else 8
    while rows > 1 and (rows * row * (1 + pairs) > 8192 or outputs < 256 * rows):
        rows //= 2
    warps = 2 if row < 4096 else 4
    chunk = 32 * warps * 16 // item_size
    while chunk > 128 and row % chunk:
        chunk //= 2
    return _Division(rows, 2 if outputs >= 1024 * rows else 1, chunk, warps)


def multiply(
    shape: DecoderShape,
    x: torch.Tensor,
    matrix: Matrix,
    out: torch.Tensor,
    *,
    norm: NormWeights | None = None,
    residual: torch.Tensor | None = None,
    activation: Activation | None = None,
    active_out: torch.Tensor | None = None,
    overlaps: bool = False,
) -> torch.Tensor:
    """`out` (..., outputs) = the matrix times the norm of `x` (..., inputs), one vector, plus bias and residual.

    With `activation` the result is activated; a matrix with twice the outputs of `out` has the gate's first. With
    `active_out` only what goes beyond `out` is activated, and goes there. Sums are in fp32.
    """
    weight, scale, bias = matrix
    rows_of_weight, row = weight.shape[0], weight[0].numel()
    half = weight.shape[2] if weight.dim() == 3 else 0
    gated = activation is not None and active_out is None and rows_of_weight == 2 * out.numel()
    outputs = out.numel() if gated else rows_of_weight
    division = _division(outputs, row, weight.element_size(), pairs=gated)
    norm_weight, norm_bias = (None, None) if norm is None else norm
    _product_kernel[(triton.cdiv(outputs, division.rows * division.tiles),)](
        x, weight, x if scale is None else scale, x if bias is None else bias,
        x if norm_weight is None else norm_weight, x if norm_bias is None else norm_bias,
        x if residual is None else residual, out, out if active_out is None else active_out, outputs, shape.epsilon,
        INPUTS=2 * row if half else row, CHUNK=division.chunk, ROWS=division.rows, TILES=division.tiles, HALF=half,
        NORM=0 if norm is None else _NORMS[shape.norm], WEIGHTED=norm_weight is not None, SHIFTED=norm_bias is not None,
        SCALED=scale is not None, BIASED=bias is not None, ADDED=residual is not None, GATED=gated,
        ACTIVATION=0 if activation is None else _ACTIVATIONS[activation],
        FIRST_ACTIVE=0 if active_out is None else out.numel(), OVERLAPS=overlaps, FIRST_WAVE=_FIRST_WAVE,
        num_warps=division.warps, **({"launch_pdl": True} if overlaps else {}),
    )  # fmt: skip
    return out

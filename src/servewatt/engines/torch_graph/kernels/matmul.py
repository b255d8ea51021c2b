"""Triton kernels for prefill: several rows times a matrix of integers, converted to floats in registers.

Integers are exact in any of the floating types. Tensor cores multiply them with the rows and sum in fp32; scales are
applied to these sums, in int4 for each group. So the matrix is read as it is stored, once for up to 64 or 128 rows, and
no floating copy of it is written. Where a matrix has too few outputs for all processors, its inputs are split among
programs, and a second kernel adds up their sums.

Up to 32 rows the matrix is the left operand, so that tensor cores take it from the registers in which integers became
floats. With more it goes through shared memory, to the faster instructions of Hopper.

Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import triton
import triton.language as tl

from servewatt.engines.torch_graph.model import matrix as decoder_matrix

if TYPE_CHECKING:
    import torch

    from servewatt.engines.torch_graph.model.matrix import Matrix

_LEAST_CHUNK = 32
"""Inputs of int8 that a program multiplies at once, at least."""
_PROGRAMS = 224
"""Fewer leave too many of an H200's 132 processors with one program, or none."""
_MOST_SPLITS = 16


@triton.jit  # type: ignore[untyped-decorator]
def _floats(q, to: tl.constexpr, EMULATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """int8 as type `to`."""
    if EMULATED or to == tl.float32:
        made = q.to(tl.float32).to(to)
    elif to == tl.bfloat16:
        # Behind the byte 0x43 seven bits are 128 more than they say; the eighth makes 256 of 128. So the integer is
        # what its seven bits give less what its eighth gives.
        made = tl.inline_asm_elementwise(
            """{ .reg .b32 p, q, a, b, c, d, minus; mov.b32 minus, 0xBF80BF80;
            prmt.b32 p, $2, 0x43434343, 0x4140; prmt.b32 q, $2, 0x43434343, 0x4342;
            and.b32 a, p, 0xFF7FFF7F; and.b32 b, p, 0xFF80FF80; fma.rn.bf16x2 $0, b, minus, a;
            and.b32 c, q, 0xFF7FFF7F; and.b32 d, q, 0xFF80FF80; fma.rn.bf16x2 $1, d, minus, c; }""",
            "=&r,=r,r", [q], dtype=tl.bfloat16, is_pure=True, pack=4,
        )  # fmt: skip
    else:
        # Behind the byte 0x64 eight bits are 1024 more than they say, and they say 128 more than the integer.
        made = tl.inline_asm_elementwise(
            """{ .reg .b32 p, q, x, more; mov.b32 more, 0x64806480; xor.b32 x, $2, 0x80808080;
            prmt.b32 p, x, 0x64646464, 0x4140; prmt.b32 q, x, 0x64646464, 0x4342;
            sub.f16x2 $0, p, more; sub.f16x2 $1, q, more; }""",
            "=&r,=r,r", [q], dtype=tl.float16, is_pure=True, pack=4,
        )  # fmt: skip
    return made


@triton.jit  # type: ignore[untyped-decorator]
def _halves(q, to: tl.constexpr, EMULATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """The signed integers in the low and in the high four bits, stored with 8 added, as type `to`."""
    if EMULATED or to == tl.float32:
        low = ((q & 15).to(tl.float32) - 8.0).to(to)
        high = ((q >> 4).to(tl.float32) - 8.0).to(to)
    elif to == tl.bfloat16:
        # 0xEA is (a and b) or c: four bits behind 0x430 are 128 more than they say.
        low, high = tl.inline_asm_elementwise(
            """{ .reg .b32 p, q, a, b, c, d, r, s, one, less; mov.b32 one, 0x3F803F80; mov.b32 less, 0xC308C308;
            prmt.b32 p, $4, 0, 0x4140; prmt.b32 q, $4, 0, 0x4342; shr.b32 r, p, 4; shr.b32 s, q, 4;
            lop3.b32 a, p, 0x000F000F, 0x43004300, 0xEA; lop3.b32 b, q, 0x000F000F, 0x43004300, 0xEA;
            lop3.b32 c, r, 0x000F000F, 0x43004300, 0xEA; lop3.b32 d, s, 0x000F000F, 0x43004300, 0xEA;
            fma.rn.bf16x2 $0, a, one, less; fma.rn.bf16x2 $1, b, one, less;
            fma.rn.bf16x2 $2, c, one, less; fma.rn.bf16x2 $3, d, one, less; }""",
            "=&r,=&r,=&r,=&r,r", [q], dtype=(tl.bfloat16, tl.bfloat16), is_pure=True, pack=4,
        )  # fmt: skip
    else:
        # The same behind 0x640: 1024 more.
        low, high = tl.inline_asm_elementwise(
            """{ .reg .b32 p, q, a, b, c, d, r, s, more; mov.b32 more, 0x64086408;
            prmt.b32 p, $4, 0, 0x4140; prmt.b32 q, $4, 0, 0x4342; shr.b32 r, p, 4; shr.b32 s, q, 4;
            lop3.b32 a, p, 0x000F000F, 0x64006400, 0xEA; lop3.b32 b, q, 0x000F000F, 0x64006400, 0xEA;
            lop3.b32 c, r, 0x000F000F, 0x64006400, 0xEA; lop3.b32 d, s, 0x000F000F, 0x64006400, 0xEA;
            sub.f16x2 $0, a, more; sub.f16x2 $1, b, more; sub.f16x2 $2, c, more; sub.f16x2 $3, d, more; }""",
            "=&r,=&r,=&r,=&r,r", [q], dtype=(tl.float16, tl.float16), is_pure=True, pack=4,
        )  # fmt: skip
    return low, high


@triton.jit  # type: ignore[untyped-decorator]
def _dot(weights, x, sums, LEFT: tl.constexpr):  # type: ignore[no-untyped-def]
    """`sums` plus weights (outputs, inputs) times x (rows, inputs): (outputs, rows) with LEFT, else transposed."""
    if LEFT:
        sums = tl.dot(weights, tl.trans(x), sums, input_precision="ieee")
    else:
        sums = tl.dot(x, tl.trans(weights), sums, input_precision="ieee")
    return sums


@triton.jit  # type: ignore[untyped-decorator]
def _matmul_kernel(  # type: ignore[no-untyped-def]
    x, weight, scale, bias, out, rows, outputs, chunks,
    INPUTS: tl.constexpr, HALF: tl.constexpr, GROUPS: tl.constexpr, CHUNK: tl.constexpr, OUTPUTS: tl.constexpr,
    ROWS: tl.constexpr, STAGES: tl.constexpr, LEFT: tl.constexpr, BIASED: tl.constexpr, EMULATED: tl.constexpr,
):  # fmt: skip
    """`chunks` times CHUNK inputs, as part program_id(2) of the inputs, to the same part of `out`.

    Programs of the same outputs stand side by side, so that more than ROWS rows find the matrix in the cache.
    """
    TYPE: tl.constexpr = x.dtype.element_ty
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    n = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    # Indices beyond the last repeat it, so loads need no mask.
    row = tl.minimum(m, rows - 1).to(tl.int64)[:, None] * INPUTS
    output = tl.minimum(n, outputs - 1).to(tl.int64)
    first = tl.program_id(2) * chunks
    last = tl.minimum(first + chunks, INPUTS // CHUNK)
    sums = tl.zeros([OUTPUTS, ROWS], tl.float32) if LEFT else tl.zeros([ROWS, OUTPUTS], tl.float32)
    if HALF:
        byte = tl.arange(0, HALF)[None, :]
        group = tl.arange(0, GROUPS)[None, :]
        for i in tl.range(first, last, num_stages=STAGES):
            scales = tl.load(scale + output[:, None] * (INPUTS // (2 * HALF)) + i * GROUPS + group).to(tl.float32)
            for g in tl.static_range(GROUPS):
                at = (i * GROUPS + g) * HALF
                low, high = _halves(tl.load(weight + output[:, None] * (INPUTS // 2) + at + byte), TYPE, EMULATED)
                each = tl.zeros([OUTPUTS, ROWS], tl.float32) if LEFT else tl.zeros([ROWS, OUTPUTS], tl.float32)
                each = _dot(low, tl.load(x + row + 2 * at + byte), each, LEFT)
                each = _dot(high, tl.load(x + row + 2 * at + HALF + byte), each, LEFT)
                factor = tl.sum(tl.where(group == g, scales, 0.0), 1)
                sums += each * (factor[:, None] if LEFT else factor[None, :])
    else:
        k = tl.arange(0, CHUNK)[None, :]
        for i in tl.range(first, last, num_stages=STAGES):
            weights = _floats(tl.load(weight + output[:, None] * INPUTS + i * CHUNK + k), TYPE, EMULATED)
            sums = _dot(weights, tl.load(x + row + i * CHUNK + k), sums, LEFT)
        factor = tl.load(scale + output).to(tl.float32)
        sums *= factor[:, None] if LEFT else factor[None, :]
    if LEFT:
        sums = tl.trans(sums)
    if BIASED:
        sums += tl.load(bias + output).to(tl.float32)[None, :]
    to = out + (tl.program_id(2) * rows + m).to(tl.int64)[:, None] * outputs + n[None, :]
    tl.store(to, sums.to(out.dtype.element_ty), mask=(m < rows)[:, None] & (n < outputs)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _sum_kernel(parts, bias, out, rows, outputs, SPLITS: tl.constexpr, BLOCK: tl.constexpr, BIASED: tl.constexpr):  # type: ignore[no-untyped-def]
    """`parts` (SPLITS, rows, outputs) added up, plus bias."""
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = n < outputs
    row = tl.program_id(0).to(tl.int64)
    total = tl.load(bias + n, mask=real, other=0.0).to(tl.float32) if BIASED else tl.zeros([BLOCK], tl.float32)
    for split in tl.static_range(SPLITS):
        total += tl.load(parts + (split * rows + row) * outputs + n, mask=real, other=0.0)
    tl.store(out + row * outputs + n, total.to(out.dtype.element_ty), mask=real)


class _Division(NamedTuple):
    """Tiling of a product."""

    rows: int
    """Of `x`, of a program."""
    outputs: int
    """Of a program."""
    chunk: int
    """Inputs that a program multiplies before it goes on to the next."""
    splits: int
    """Programs that share the inputs of the same rows and outputs."""
    stages: int
    """Chunks under way to a program."""
    warps: int
    left: bool
    """Whether the matrix is the left operand."""


def _division(rows: int, outputs: int, inputs: int, group: int, item_size: int) -> _Division:
    """`group` is 0 for int8; `item_size` is of the rows' type, in bytes.

    Chosen so that compiled for sm_90 no program spills registers.
    """
    most_rows, most_inputs = (16, 32) if item_size == 4 else (64, 256) if group else (128, 128)
    tile = min(max(16, triton.next_power_of_2(rows)), most_rows)
    # Half a group of 32 is too short for the layout of a left operand.
    left = tile <= 32 and group != 32
    if group:
        most_inputs = most_inputs if left else min(most_inputs, 128)
        chunk = math.gcd(inputs // group, max(1, most_inputs // group)) * group
    else:
        chunk = math.gcd(inputs, most_inputs)
    of_outputs, warps = (64, 2) if left else (64, 4) if group else (128, 4 if tile == 64 else 8)
    chunks, tiles = inputs // chunk, -(-rows // tile) * -(-outputs // of_outputs)
    splits = 1
    while splits < _MOST_SPLITS and tiles * splits < _PROGRAMS and chunks >= 8 * splits:
        splits *= 2
    return _Division(tile, of_outputs, chunk, splits, 4 if left else 3, warps, left)


def takes(matrix: Matrix) -> bool:
    """Whether a kernel supports the matrix: integers, and a number of inputs that is a multiple of 32."""
    shape = matrix.weight.shape
    inputs = 2 * shape[1] * shape[2] if len(shape) == 3 else shape[1]
    return matrix.scale is not None and inputs % _LEAST_CHUNK == 0


def multiply(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """`x` (..., inputs) times the matrix, plus its bias: (..., outputs) in the type of `x`. Sums are in fp32.

    Matrices without a kernel go to `model.matrix.multiply`; see `takes`.
    """
    if not takes(matrix):
        return decoder_matrix.multiply(x, matrix)
    weight = matrix.weight
    outputs, inputs = weight.shape[0], x.shape[-1]
    half = weight.shape[2] if weight.dim() == 3 else 0
    read = x.reshape(-1, inputs).contiguous()
    rows = read.shape[0]
    cut = _division(rows, outputs, inputs, 2 * half, x.element_size())
    return _run(read, matrix, cut).view(*x.shape[:-1], outputs)


def _run(x: torch.Tensor, matrix: Matrix, cut: _Division) -> torch.Tensor:
    """The product of `x` (rows, inputs) with this tiling."""
    import torch

    weight, scale, bias = matrix
    assert scale is not None
    rows, inputs = x.shape
    outputs, half = weight.shape[0], weight.shape[2] if weight.dim() == 3 else 0
    out = x.new_empty((rows, outputs))
    made = out if cut.splits == 1 else x.new_empty((cut.splits, rows, outputs), dtype=torch.float32)
    chunks = triton.cdiv(inputs // cut.chunk, cut.splits)
    _matmul_kernel[triton.cdiv(rows, cut.rows), triton.cdiv(outputs, cut.outputs), cut.splits](
        x, weight, scale, x if bias is None else bias, made, rows, outputs, chunks,
        INPUTS=inputs, HALF=half, GROUPS=cut.chunk // (2 * half) if half else 1, CHUNK=cut.chunk, OUTPUTS=cut.outputs,
        ROWS=cut.rows, STAGES=cut.stages, LEFT=cut.left, BIASED=bias is not None and cut.splits == 1,
        EMULATED=not x.is_cuda, num_warps=cut.warps,
    )  # fmt: skip
    if cut.splits > 1:
        block = 512
        _sum_kernel[rows, triton.cdiv(outputs, block)](
            made, x if bias is None else bias, out, rows, outputs, SPLITS=cut.splits, BLOCK=block,
            BIASED=bias is not None,
        )  # fmt: skip
    return out

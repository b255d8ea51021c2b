"""Time the products of a decode step of one row, cut in different ways, on a machine with a GPU.

    python tools/tune_one_row.py --out divisions.json
    python tools/tune_one_row.py --shapes 7168x1024 2x5632x2048 --types int8 --seconds 60

For someone who changes `float_matvec` or `integer_matvec` of `servewatt.engines.torch_graph.kernels`, or tunes them for
another device: what `_division` picks in each was chosen so on an H200. A shape is OUTPUTSxINPUTS, with 2x before it
where a gate has as many outputs again. Each is multiplied by a chain of matrices, larger together than the device's
cache, in one CUDA graph. Prints, for each shape and type, the default's microseconds and TB/s and the fastest
divisions: (rows, tiles, items a load, warps) of floating matrices, (rows, tiles, warps) of integers. All weights are
random; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm
from servewatt.engines.torch_graph.model.checkpoint import NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix, quantise_int4, quantise_int8

if TYPE_CHECKING:
    import torch

SHAPES = (
    *("7168x1024", "1024x5120", "3072x1024", "1024x1024", "4096x1024", "1024x4096", "2560x2048", "2048x2048"),
    *("2x5632x2048", "2048x5632", "17920x2560", "2560x12800", "2304x768", "768x3072", "2x16384x2048", "2048x16384"),
)
"""Of the study's twelve models."""
LEAST_BYTES = 300e6
"""Of a chain of matrices, so that none is still in the device's cache when its turn comes again."""
REPLAYS = 7
GROUP = 64


@dataclass(frozen=True)
class Row:
    """One shape in one type, divided in one way."""

    shape: str
    type: str
    division: tuple[int, ...]
    default: bool
    microseconds: float
    terabytes_per_s: float


@dataclass(frozen=True)
class Chain:
    """Matrices of one shape and type, multiplied one after the other."""

    shape: DecoderShape
    gated: bool
    outputs: int
    """Of the product; a gated matrix has twice as many rows."""
    matrices: list[Matrix]
    x: torch.Tensor
    out: torch.Tensor
    norm: NormWeights | None

    def run(self) -> None:
        """Multiply by every matrix. Wide products read a norm, narrow ones add to what was there."""
        from servewatt.engines.torch_graph.kernels.matvec import Product
        from servewatt.engines.torch_graph.model import one_row

        for matrix in self.matrices:
            product = Product(
                self.x,
                matrix,
                self.out,
                norm=self.norm,
                residual=self.out if self.norm is None else None,
                activation=Activation.SILU if self.gated else None,
                overlaps=True,
            )
            one_row.multiply(self.shape, product)


def make_chain(text: str, kind: str) -> Chain:
    """A chain of the shape `text`, of type bf16, int8 or int4."""
    import torch

    *gate, outputs, inputs = (int(part) for part in text.split("x"))
    gated, device, dtype = bool(gate), torch.device("cuda"), torch.bfloat16
    weight = torch.randn(outputs * (2 if gated else 1), inputs, device=device) * inputs**-0.5
    if kind == "int8":
        first = quantise_int8(weight, dtype)
    elif kind == "int4":
        first = quantise_int4(weight, dtype, GROUP)
    else:
        first = Matrix(weight.to(dtype))
    copies = max(3, round(LEAST_BYTES / first.weight.nbytes))
    bias = torch.zeros(weight.shape[0], dtype=dtype, device=device)
    matrices = [
        Matrix(first.weight.clone(), None if first.scale is None else first.scale.clone(), bias) for _ in range(copies)
    ]
    shape = DecoderShape("", 1, 1, inputs, 1, 1, 1, 1, 1, Norm.LAYER, 1e-5, Activation.SILU, True, gated=gated)
    norm = None
    if gated or outputs > inputs:
        norm = NormWeights(
            torch.ones(inputs, dtype=dtype, device=device), torch.zeros(inputs, dtype=dtype, device=device)
        )
    x = torch.randn(1, 1, inputs, device=device).to(dtype)
    return Chain(shape, gated, outputs, matrices, x, torch.zeros(outputs, dtype=dtype, device=device), norm)


def kernel_of(chain: Chain) -> Any:
    """The module of the chain's kernel."""
    from servewatt.engines.torch_graph.kernels import float_matvec, integer_matvec

    return float_matvec if chain.matrices[0].scale is None else integer_matvec


def divisions(chain: Chain) -> Iterator[tuple[int, ...]]:
    """Kernels to cut the product that leave no thread idle and give none too much."""
    matrix = chain.matrices[0]
    row, pair = matrix.weight[0].numel(), 2 if chain.gated else 1
    if matrix.scale is not None:
        inputs = chain.x.numel()
        for warps, rows, tiles in itertools.product((1, 2, 4, 8), (8, 16, 32), (1, 2, 3, 4, 6, 8)):
            held, programs = pair * rows * row / (128 * warps), chain.outputs / rows / tiles
            if held >= 8 and held + inputs / (32 * warps) <= 192 and 96 <= programs <= 1400:
                yield rows, tiles, warps
        return
    for warps, rows, tiles in itertools.product((1, 2, 4), (1, 2, 4, 8), (1, 2, 4)):
        chunk = 32 * warps * 16 // matrix.weight.element_size()
        while chunk > 128 and row % chunk:
            chunk //= 2
        if 16 <= pair * rows * row / (32 * warps) <= 192 and chain.outputs / rows / tiles >= 128:
            yield rows, tiles, chunk, warps


def timed(chain: Chain, division: tuple[int, ...] | None) -> float:
    """Microseconds of one product, median over replays; None is the default division."""
    import torch

    kernel = kernel_of(chain)
    made = kernel._division if division is None else mock.Mock(return_value=kernel._Division(*division))
    with mock.patch.object(kernel, "_division", made):
        chain.run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            chain.run()
    graph.replay()
    times_ms: list[float] = []
    for _ in range(REPLAYS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times_ms.append(start.elapsed_time(end))
    return statistics.median(times_ms) * 1e3 / len(chain.matrices)


def main() -> None:
    """Time what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shapes", nargs="+", default=SHAPES, metavar="SHAPE", help="default: those of the twelve models"
    )
    parser.add_argument("--types", nargs="+", default=["bf16", "int8", "int4"], choices=["bf16", "int8", "int4"])
    parser.add_argument("--seconds", type=float, default=600.0, help="begin nothing after this long (%(default)s)")
    parser.add_argument("--out", type=Path, help="write all rows to this file as JSON")
    given = parser.parse_args()
    end_s = time.monotonic() + given.seconds
    rows: list[Row] = []
    for text, kind in itertools.product(given.shapes, given.types):
        if time.monotonic() > end_s:
            print(f"{text} {kind}: no time left")
            continue
        chain = make_chain(text, kind)
        found = []
        for division in (None, *divisions(chain)):
            microseconds = timed(chain, division)
            speed = chain.matrices[0].weight.nbytes / microseconds / 1e6
            found.append(Row(text, kind, division or (), division is None, microseconds, speed))
        rows += found
        default, best = found[0], sorted(found[1:], key=lambda row: row.microseconds)[:4]
        ways = "  ".join(f"{row.division} {row.microseconds:.2f}" for row in best)
        print(f"{text:>14} {kind:<5} {default.microseconds:7.2f} us {default.terabytes_per_s:5.2f} TB/s   best: {ways}")
    if given.out:
        given.out.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")


if __name__ == "__main__":
    main()

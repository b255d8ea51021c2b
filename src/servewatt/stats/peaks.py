"""What the hardware can do at most: memory bandwidth and arithmetic.

The CPU's bandwidth is measured for every run. For GPUs it is the peak of NVIDIA's data sheets, which no program
reaches (a stream of reads gets some 90 %), so a floor worked out from it is a true floor. Arithmetic is the dense
peak of the tensor cores, without sparsity; for fp32 that of the CUDA cores, as no engine here may use TF32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from servewatt.records import Environment, Precision, Provider

_HALF = frozenset({Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4})
"""Precisions whose products are half precision at the fastest: integers that meet floats are widened first."""


@dataclass(frozen=True)
class Peak:
    """The most that one device can do. None where it is not known."""

    source: str
    """`measured`, or the board whose data sheet it is from."""
    bandwidth_bytes_s: float | None
    cache_bytes: int | None
    """Last-level cache: what fits into it need not be read from memory."""
    fp32_flops: float | None = None
    half_flops: float | None = None
    int8_flops: float | None = None

    def flops(self, precision: Precision, compute_dtype: str = "") -> float | None:
        """Operations a second in the fastest type that products of this precision may be computed in.

        `compute_dtype` is what the engine shows; 4-bit weights may meet activations that are rounded to 8 bits.
        """
        if precision is Precision.W8A8 or compute_dtype == "int8":
            return self.int8_flops
        return self.half_flops if precision in _HALF else self.fp32_flops


@dataclass(frozen=True)
class _Board:
    pattern: str
    """Regular expression for the name that NVML gives."""
    bandwidth_gb_s: float
    l2_mib: int
    tflops: tuple[float, float, float]
    """fp32, half precision (dense tensor cores), int8."""


# NVIDIA's data sheets of each board (of its variants the fastest): memory bandwidth, L2 cache, peaks without sparsity.
_BOARDS = (
    _Board(r"H200 NVL", 4800, 50, (60, 836, 1671)),
    _Board(r"GH200.*144G", 4900, 50, (67, 990, 1979)),
    _Board(r"GH200", 4000, 50, (67, 990, 1979)),
    _Board(r"H200", 4800, 50, (67, 990, 1979)),
    _Board(r"H100 NVL", 3900, 50, (60, 836, 1671)),
    _Board(r"H100 PCIe", 2039, 50, (51, 756, 1513)),
    _Board(r"H100 80GB HBM3", 3350, 50, (67, 990, 1979)),
    _Board(r"A100.*80GB", 2039, 40, (19.5, 312, 624)),
    _Board(r"A100.*40GB", 1555, 40, (19.5, 312, 624)),
    _Board(r"L40S", 864, 96, (91.6, 366, 733)),
    _Board(r"\bL4\b", 300, 48, (30.3, 121, 242)),
    _Board(r"\bA10G?\b", 600, 6, (35, 125, 250)),
    _Board(r"\bT4\b", 320, 4, (8.1, 65, 130)),
    _Board(r"V100", 1134, 6, (16.4, 130, 65.6)),
)


def peak_of(environment: Environment, provider: Provider) -> Peak | None:
    """What the device behind `provider` can do; None for an unknown GPU, for different GPUs, and without a measurement.

    For the CPU no peak of arithmetic is assumed: clocks and vector units differ too much from machine to machine.
    """
    if provider is Provider.CPU:
        bandwidth = environment.memory_bandwidth_bytes_s
        return Peak("measured", bandwidth, environment.cache_bytes) if bandwidth else None
    names = {gpu.name for gpu in environment.gpus}
    if len(names) != 1:
        return None
    (name,) = names
    board = next((b for b in _BOARDS if re.search(b.pattern, name)), None)
    if board is None:
        return None
    fp32, half, int8 = (rate * 1e12 for rate in board.tflops)
    return Peak(f"data sheet of {name}", board.bandwidth_gb_s * 1e9, board.l2_mib * 2**20, fp32, half, int8)

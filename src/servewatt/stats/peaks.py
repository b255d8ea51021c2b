"""Peak memory bandwidth and arithmetic rate of the hardware.

The CPU's bandwidth is measured for every run. For GPUs it is the peak that NVIDIA publishes, which no program reaches
(a stream of reads gets some 90 %), so a floor worked out from it is a true floor. Arithmetic is the dense peak of the
tensor cores: where NVIDIA prints it "with sparsity" only, half of that. For fp32 it is that of the CUDA cores, as no
engine here may use TF32.

Sources stand beside each board. No data sheet gives the L2 cache of H200, H100 NVL, GH200, L4 and A10G: there it is
what users report that CUDA shows (62,914,560 bytes on the first three; H200 NVL is taken to be like them). That of L40S
is its chip's (AD102). The tensor peaks of H100 SXM, H200 and GH200 hold for 1830 MHz, 8 % below their highest clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from servewatt.records import Environment, Precision, Provider

_HALF = frozenset({Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4})
"""Precisions whose products are half precision at the fastest: integers that meet floats are widened first."""


@dataclass(frozen=True)
class Peak:
    """Peak rates of one device. None where unknown."""

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
    tflops: tuple[float | None, float | None, float | None]
    """fp32, half precision (dense tensor cores), int8; None where nothing sound is published."""


# GB/s, MiB, and 10^12 operations a second. The first pattern that fits counts.
_BOARDS = (
    # H200 product page, table of specifications: 4.8TB/s; FP32 67 and 60; BFLOAT16 1,979 and 1,671, INT8 3,958 and
    # 3,341 with sparsity (SXM and NVL). NVL's bandwidth: NVIDIA H200 NVL product brief PB-12128-001, table 2-2.
    # https://www.nvidia.com/en-us/data-center/h200/
    _Board(r"H200 NVL", 4813, 60, (60, 835.5, 1670.5)),
    # GH200 data sheet 2705455, dense and sparse side by side: FP16 990 | 1,979, INT8 1,979 | 3,958; HBM3 4 TB/s,
    # HBM3e 4.9 TB/s.
    # https://nvdam.widen.net/content/tf2prbffgy/original/grace-hopper-superchip-datasheet-nvidia-2705455.pdf
    _Board(r"GH200.*144G", 4900, 60, (67, 990, 1979)),
    _Board(r"GH200", 4000, 60, (67, 990, 1979)),
    _Board(r"H200", 4800, 60, (67, 990, 1979)),
    # H100 data sheet, column NVL, as H200 NVL; bandwidth: H100 NVL product brief PB-11773-001, table 2.
    # https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/h100/PB-11773-001_v01.pdf
    _Board(r"H100 NVL", 3938, 60, (60, 835.5, 1670.5)),
    # NVIDIA H100 Tensor Core GPU Architecture v1.04, tables 1 and 3 (PCIe: BF16 756 | 1513; SXM5: BF16 989.4 | 1978.9;
    # L2 50 MB); bandwidth of SXM and FP32: product page, https://www.nvidia.com/en-us/data-center/h100/
    # https://nvdam.widen.net/s/95bdhpsgrs/nvidia_h100_tensor_core_gpu_architecture_whitepaper_v1.03
    _Board(r"H100 PCIe", 2039, 50, (51, 756, 1513)),
    _Board(r"H100 80GB HBM3", 3350, 50, (67, 990, 1979)),
    # A100 data sheet 1758950 r4: FP32 19.5, BFLOAT16 312 | 624, INT8 624 | 1248; L2: Ampere tuning guide, 1.4.2.2.
    # https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
    _Board(r"A100.*80GB PCIe", 1935, 40, (19.5, 312, 624)),
    _Board(r"A100.*80GB", 2039, 40, (19.5, 312, 624)),
    _Board(r"A100.*40GB", 1555, 40, (19.5, 312, 624)),
    # L40S product page: FP32 91.6, BFLOAT16 362.05 | 733, INT8 733 | 1,466. 362.05 is not half of 733; 142 SMs at
    # 2.52 GHz make 366.4, so half it is. L2 of AD102: Ada tuning guide, 1.4.2.1 (98304 KB).
    # https://www.nvidia.com/en-us/data-center/l40s/ https://docs.nvidia.com/cuda/ada-tuning-guide/
    _Board(r"L40S", 864, 96, (91.6, 366.5, 733)),
    # L4 product page: 300GB/s; FP32 30.3, BFLOAT16 242 and INT8 485 with sparsity.
    # https://www.nvidia.com/en-us/data-center/l4/
    _Board(r"\bL4\b", 300, 48, (30.3, 121, 242.5)),
    # A10G, made for AWS, is not an A10. Its data sheet of 2022-02-17: FP32 35, BF16 70 | 140, INT8 140 dense.
    # https://d1.awsstatic.com/product-marketing/ec2/NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf
    _Board(r"\bA10G\b", 600, 6, (35, 70, 140)),
    # A10 data sheet: FP32 31.2, BFLOAT16 125 | 250, INT8 250 | 500; L2 of GA102: its white paper, table 9.
    # https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a10/pdf/a10-datasheet.pdf
    _Board(r"\bA10\b", 600, 6, (31.2, 125, 250)),
    # T4 product page: FP32 8.1, FP16 65, INT8 130, 320+ GB/s (its data sheet: 300); L2 of TU104: Turing white paper.
    # https://www.nvidia.com/en-us/data-center/tesla-t4/
    _Board(r"\bT4\b", 320, 4, (8.1, 65, 130)),
    # V100 data sheet 1165301 r5; L2: white paper WP-08608-001, table 1. Its tensor cores have no int8.
    # https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf
    _Board(r"V100S-PCIE", 1134, 6, (16.4, 130, None)),
    _Board(r"V100-SXM2", 900, 6, (15.7, 125, None)),
    _Board(r"V100-PCIE", 900, 6, (14, 112, None)),
    # GeForce boards run above the clock that their published arithmetic is for, so only their memory sets a floor.
    # NVIDIA Ada GPU Architecture v2.1, appendix A (1008 GB/sec, 73728 KB); GA102 white paper v2, table 9 (936 GB/sec).
    # https://images.nvidia.com/aem-dam/Solutions/Data-Center/l4/nvidia-ada-gpu-architecture-whitepaper-v2.1.pdf
    # https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf
    _Board(r"RTX 4090$", 1008, 72, (None, None, None)),
    _Board(r"RTX 3090$", 936, 6, (None, None, None)),
)


def peak_of(environment: Environment, provider: Provider) -> Peak | None:
    """Peak rates of the device behind `provider`; None for an unknown GPU, for different GPUs, and without a
    measurement.

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
    fp32, half, int8 = (rate * 1e12 if rate is not None else None for rate in board.tflops)
    return Peak(f"data sheet of {name}", board.bandwidth_gb_s * 1e9, board.l2_mib * 2**20, fp32, half, int8)

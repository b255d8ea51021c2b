"""Peaks of boards against the sheets that name them: dense figures, told apart by NVML's names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.records import Environment, Gpu, Precision, Provider
from servewatt.stats.peaks import Peak, peak_of
from tests.stats.builders import ENVIRONMENT


def machine(*names: str) -> Environment:
    return replace(ENVIRONMENT, gpus=tuple(Gpu(i, name, 2**36, "580") for i, name in enumerate(names)))


def board(name: str) -> Peak:
    peak = peak_of(machine(name), Provider.CUDA)
    assert peak is not None, name
    return peak


@pytest.mark.parametrize(
    ("name", "gb_s"),
    [
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H100 PCIe", 2039),
        ("NVIDIA H100 NVL", 3938),
        ("NVIDIA H200", 4800),
        ("NVIDIA H200 NVL", 4813),
        ("NVIDIA GH200 480GB", 4000),
        ("NVIDIA GH200 144G HBM3e", 4900),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100 80GB PCIe", 1935),
        ("NVIDIA A100-SXM4-40GB", 1555),
        ("NVIDIA A100-PCIE-40GB", 1555),
        ("NVIDIA L4", 300),
        ("NVIDIA L40S", 864),
        ("Tesla T4", 320),
        ("Tesla V100-SXM2-16GB", 900),
        ("Tesla V100S-PCIE-32GB", 1134),
        ("NVIDIA GeForce RTX 4090", 1008),
    ],
)
def test_boards_of_one_family_are_told_apart(name: str, gb_s: int) -> None:
    assert board(name).bandwidth_bytes_s == gb_s * 1e9


@pytest.mark.parametrize(
    ("name", "half_sparse", "int8_sparse"),
    [
        ("NVIDIA H200", 1979, 3958),
        ("NVIDIA H200 NVL", 1671, 3341),
        ("NVIDIA H100 NVL", 1671, 3341),
        ("NVIDIA H100 PCIe", 1513, 3026),
        ("NVIDIA A100 80GB PCIe", 624, 1248),
        ("NVIDIA L40S", 733, 1466),
        ("NVIDIA L4", 242, 485),
        ("NVIDIA A10", 250, 500),
    ],
)
def test_tensor_peaks_are_half_of_what_is_published_with_sparsity(
    name: str, half_sparse: float, int8_sparse: float
) -> None:
    peak = board(name)
    assert peak.flops(Precision.BF16) == pytest.approx(half_sparse / 2 * 1e12, rel=1e-3)
    assert peak.flops(Precision.W8A8) == pytest.approx(int8_sparse / 2 * 1e12, rel=1e-3)


def test_weight_only_integers_are_multiplied_in_half_precision_and_fp32_without_tensor_cores() -> None:
    a100 = board("NVIDIA A100-SXM4-80GB")
    assert [a100.flops(p) for p in (Precision.FP32, Precision.INT4, Precision.W8A8)] == [19.5e12, 312e12, 624e12]


def test_the_board_of_aws_is_not_an_a10() -> None:
    # AWS's data sheet: 35 | 70 | 140; A10: 31.2 | 125 | 250.
    assert [board("NVIDIA A10G").flops(p) for p in (Precision.FP32, Precision.FP16)] == [35e12, 70e12]
    assert [board("NVIDIA A10").flops(p) for p in (Precision.FP32, Precision.FP16)] == [31.2e12, 125e12]


def test_arithmetic_that_is_not_soundly_published_is_not_known() -> None:
    v100, geforce = board("Tesla V100-PCIE-32GB"), board("NVIDIA GeForce RTX 3090")
    assert (v100.flops(Precision.FP16), v100.flops(Precision.W8A8)) == (112e12, None)
    assert geforce.flops(Precision.FP16) is None and geforce.bandwidth_bytes_s == 936e9


@pytest.mark.parametrize(
    "names",
    [(), ("Example GPU",), ("NVIDIA L4", "Tesla T4"), ("NVIDIA GeForce RTX 4090 Laptop GPU",), ("NVIDIA A100X",)],
)
def test_no_peak_without_one_known_kind_of_board(names: tuple[str, ...]) -> None:
    assert peak_of(machine(*names), Provider.CUDA) is None


def test_the_cpu_has_the_bandwidth_that_was_measured_and_no_arithmetic() -> None:
    measured = replace(ENVIRONMENT, memory_bandwidth_bytes_s=20e9, cache_bytes=2**25)
    peak = peak_of(measured, Provider.CPU)
    assert peak == Peak("measured", 20e9, 2**25)
    assert peak.flops(Precision.FP32) is None
    assert peak_of(replace(ENVIRONMENT, memory_bandwidth_bytes_s=None), Provider.CPU) is None

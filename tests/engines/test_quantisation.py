"""Rounding to integers, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from servewatt.engines.shared.quantisation import (
    check_group,
    options_of,
    pack,
    quantise,
    refuse_options,
    writing_safetensors,
)
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Precision


def test_a_group_is_cut_into_equal_steps_around_zero() -> None:
    """-1 to 2 in 15 steps: a step of 0.2, and 0 five steps up."""
    row = np.zeros((1, 32), np.float32)
    row[0, :4] = [-1, 2, 0.39, 0.31]
    groups = quantise(row, 4, 32)
    assert groups.scales[0, 0] == pytest.approx(0.2)
    assert groups.zeros[0, 0] == 5
    assert groups.integers[0, :5].tolist() == [0, 15, 7, 7, 5]
    assert groups.floats()[0, :5] == pytest.approx([-1, 2, 0.4, 0.4, 0])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, 64])
def test_no_weight_moves_more_than_a_step_and_most_half(bits: int, group: int) -> None:
    matrix = np.random.default_rng(1).standard_normal((17, 128)).astype(np.float32)
    groups = quantise(matrix, bits, group)
    steps = np.abs(groups.floats() - matrix) / np.repeat(groups.scales, group, axis=1)
    assert steps.max() < 1.001
    assert (steps < 0.501).mean() > 0.97


def test_a_group_of_one_sign_or_of_zeros_keeps_zero_exact() -> None:
    matrix = np.stack([np.linspace(3, 6, 32), np.zeros(32)]).astype(np.float32)
    groups = quantise(matrix, 8, 32)
    assert groups.zeros.tolist() == [[0], [0]]
    assert groups.scales[0, 0] == pytest.approx(6 / 255)
    assert not groups.floats()[1].any()


def test_two_integers_of_four_bits_share_a_byte_the_first_below() -> None:
    assert pack(np.array([[1, 2, 3]], np.uint8), 4).tolist() == [[0x21, 0x03]]
    assert pack(np.array([[1, 2, 3]], np.uint8), 8).tolist() == [[1, 2, 3]]


def test_a_file_written_in_pieces_is_what_safetensors_reads(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with writing_safetensors(path, {"bytes": ("uint8", (2, 3)), "scales": ("fp32", (2,))}) as file:
        file.write("bytes", 3, np.array([4, 5, 6], np.uint8))
        file.write("scales", 0, np.array([0.5, 2], np.float32))
        file.write("bytes", 0, np.array([1, 2, 3], np.uint8))
    read = load_file(path)
    assert read["bytes"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read["scales"].tolist() == [0.5, 2.0]


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    with pytest.raises(RefusedError, match="groups of 128 do not divide w, whose rows have 320") as caught:
        check_group("w", 320, 128)
    assert caught.value.hint == "use option group=64"
    with pytest.raises(RefusedError, match="int8 has float activations") as caught:
        options_of(Configuration("openvino", precision=Precision.INT8, options=(("activations", "int8"),)))
    assert "w8a8" in caught.value.hint
    with pytest.raises(RefusedError, match="option group is for quantised weights"):
        refuse_options(Configuration("onnx", options=(("group", "32"),)), ("group",))

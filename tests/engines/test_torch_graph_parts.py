"""Integer matrices and the cutting of steps, by hand."""

from __future__ import annotations

import pytest

from servewatt.engines.decoder_matrix import Matrix, look_up, multiply, quantise_int4, quantise_int8
from servewatt.engines.torch_graph_replay import pieces, round_up
from servewatt.errors import RefusedError

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("steps", "most", "cut"),
    [
        (31, 8, [8, 8, 8, 4, 2, 1]),
        (32, 8, [8, 8, 8, 8]),
        (7, 16, [4, 2, 1]),
        (1, 1, [1]),
        (0, 8, []),
        (3, 1, [1, 1, 1]),
    ],
)
def test_steps_are_cut_into_replays(steps: int, most: int, cut: list[int]) -> None:
    assert pieces(steps, most) == cut


def test_lengths_are_rounded_up_to_buckets() -> None:
    assert [round_up(n, 128) for n in (1, 128, 129)] == [128, 128, 256]


def test_int8_by_hand() -> None:
    matrix = quantise_int8(torch.tensor([[1.27, -0.64, 0.004], [0.0, 0.0, 0.0]]), torch.float32)
    assert matrix.weight.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert matrix.scale is not None
    assert matrix.scale.tolist()[0] == pytest.approx(0.01)
    with_bias = Matrix(matrix.weight, matrix.scale, torch.tensor([0.5, 0.25]))
    # 1.27 * 2 - 0.64 * 1 + 0 * 3 + 0.5
    assert multiply(torch.tensor([[2.0, 1.0, 3.0]]), with_bias)[0].tolist() == pytest.approx([2.4, 0.25])
    assert look_up(matrix, torch.tensor([0]), torch.float32)[0].tolist() == pytest.approx([1.27, -0.64, 0.0])


def test_int4_by_hand() -> None:
    # Groups of four: scales 0.1 and 0.5. The first half of a group is in the low bits, 8 stands for 0.
    matrix = quantise_int4(torch.tensor([[0.7, -0.3, 0.1, 0.0, 3.5, -3.5, 1.0, 0.2]]), torch.float32, 4)
    assert matrix.weight.tolist() == [[[15 | 9 << 4, 5 | 8 << 4], [15 | 10 << 4, 1 | 8 << 4]]]
    assert matrix.scale is not None
    assert matrix.scale[0].tolist() == pytest.approx([0.1, 0.5])
    values = [0.7, -0.3, 0.1, 0.0, 3.5, -3.5, 1.0, 0.0]
    assert look_up(matrix, torch.tensor([0]), torch.float32)[0].tolist() == pytest.approx(values)
    inputs = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    product = sum(a * b for a, b in zip(values, inputs, strict=True))
    one = torch.tensor([inputs])
    assert multiply(one, matrix).item() == pytest.approx(product), "a vector, as a reduction"
    assert multiply(torch.cat((one, 2 * one)), matrix).flatten().tolist() == pytest.approx([product, 2 * product])


def test_int4_groups_must_fit() -> None:
    with pytest.raises(RefusedError, match="48 inputs are no multiple of the group of 32"):
        quantise_int4(torch.zeros(2, 48), torch.float32, 32)

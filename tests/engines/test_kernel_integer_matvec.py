"""Products of one row with matrices of integers, in Triton's interpreter, beside the same in float64."""

from __future__ import annotations

from tests.engines.triton_interpreter import MARKS  # isort: split

import math
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import torch

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm
from servewatt.engines.torch_graph.kernels import integer_matvec as kernel
from servewatt.engines.torch_graph.kernels.matvec import Product
from servewatt.engines.torch_graph.model.checkpoint import NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix
from servewatt.engines.torch_graph.model.one_row import finish
from servewatt.engines.torch_graph.model.weights import DecoderWeights
from tests.engines.matrices import GENERATOR, exact, matrix_of, some

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = [
    *MARKS,
    # Of the interpreter too.
    pytest.mark.filterwarnings("ignore:divide by zero encountered"),
    pytest.mark.filterwarnings("ignore:invalid value encountered"),
]

SHAPE = DecoderShape("Some", 64, 256, 64, 192, 1, 2, 2, 32, Norm.LAYER, 1e-5, Activation.GELU, True)
DIVISIONS = [(8, 1, 4), (16, 2, 4), (8, 3, 2), (32, 1, 1), (16, 1, 8)]
KINDS = ["int8", "int4 64", "int4 128"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    GENERATOR.manual_seed(0)


def product_of(matrix: Matrix, x: Tensor) -> Tensor:
    """Without the bias, fp32."""
    out = torch.full((matrix.weight.shape[0],), 7.0)
    return kernel.multiply(SHAPE, Product(x.view(1, 1, -1), matrix._replace(bias=None), out))


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", [128, 640, 1536])
def test_a_product_is_that_of_float64_however_it_is_cut(inputs: int, kind: str, division: tuple[int, int, int]) -> None:
    matrix, x = matrix_of(52, inputs, kind), some(inputs)
    with mock.patch.object(kernel, "_division", return_value=kernel._Division(*division)):
        made = product_of(matrix, x)
    torch.testing.assert_close(made.double(), exact(matrix) @ x.double(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_norm_gate_bias_and_residual_are_those_of_float64(kind: str) -> None:
    matrix, x, residual = matrix_of(2 * 40, 256, kind), some(256), some(40)
    norm = NormWeights(some(256), some(256))
    read = torch.nn.functional.layer_norm(
        x.double(), (256,), *(n.double() for n in (norm.weight, norm.bias) if n is not None), eps=SHAPE.epsilon
    )
    assert matrix.bias is not None
    gate, other = (exact(matrix) @ read + matrix.bias.double()).chunk(2)
    product = Product(
        x.view(1, 1, -1), matrix, torch.empty(40), norm=norm, residual=residual, activation=Activation.GELU
    )
    expected = torch.nn.functional.gelu(gate) * other + residual.double()
    torch.testing.assert_close(kernel.multiply(SHAPE, product).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_large_input_costs_the_others_little(kind: str) -> None:
    matrix, x = matrix_of(24, 256, kind), some(256)
    x[3] = 3000.0
    # The others are rounded to 3000 / 2**22: 256 of them in steps of a thousandth, where bf16 rounds to hundredths.
    expected = exact(matrix) @ x.double()
    torch.testing.assert_close(product_of(matrix, x).double(), expected, rtol=1e-5, atol=2e-3)


def test_the_largest_sums_do_not_overflow() -> None:
    inputs = 16384
    matrix = Matrix(torch.full((8, inputs), -127, dtype=torch.int8), torch.ones(8))
    assert product_of(matrix, torch.full((inputs,), -2.0)).tolist() == [127.0 * 2 * inputs] * 8
    packed = Matrix(torch.zeros((8, inputs // 64, 32), dtype=torch.uint8), torch.ones(8, inputs // 64))
    # The integer in either half of the byte is 0 - 8.
    assert product_of(packed, torch.full((inputs,), 1.0)).tolist() == [-8.0 * inputs] * 8


def test_nothing_comes_of_nothing_and_nan_of_nan() -> None:
    matrix, x = matrix_of(24, 128, "int8"), torch.zeros(128)
    assert product_of(matrix, x).tolist() == [0.0] * 24
    x[5] = math.nan
    assert product_of(matrix, x).isnan().all()


def test_logits_are_the_head_times_the_last_norm() -> None:
    norm, head, x = NormWeights(some(64), some(64)), matrix_of(100, 64, "int8")._replace(bias=None), some(1, 1, 64)
    weights = DecoderWeights(head, None, None, (), norm, head)
    read = torch.nn.functional.layer_norm(x[0, 0], (64,), norm.weight, norm.bias, SHAPE.epsilon)
    expected = exact(head) @ read.double()
    torch.testing.assert_close(finish(SHAPE, weights, x).double(), expected[None], rtol=1e-5, atol=1e-5)


SHAPES = [
    *((7168, 1024, False), (1024, 5120, False), (1536, 6144, False), (2048, 5632, False), (2048, 16384, False)),
    *((17920, 2560, False), (2560, 12800, False), (768, 768, False), (256000, 2048, False), (896, 768, False)),
    *((5632, 2048, True), (16384, 2048, True)),
]


@pytest.mark.parametrize(("outputs", "inputs", "pairs"), SHAPES)
@pytest.mark.parametrize("int4", [False, True])
def test_a_tile_fits_into_registers(outputs: int, inputs: int, pairs: bool, int4: bool) -> None:
    row = inputs // (1 + int4)
    made = kernel._division(outputs, row, int4=int4, pairs=pairs)
    # A thread has 255 registers of four bytes, of which digits take one for each 32 inputs of its warp.
    held = made.rows * (1 + pairs) * row / (32 * made.warps * 4)
    assert held + inputs / (32 * made.warps) <= 192

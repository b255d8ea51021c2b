"""A layer of one row in Triton kernels, in Triton's interpreter, beside the layer in plain torch."""

from __future__ import annotations

from tests.engines.triton_interpreter import MARKS  # isort: split

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm
from servewatt.checkpoints.rotary import Rotary
from servewatt.engines.torch_graph.kernels.matvec import Product
from servewatt.engines.torch_graph.model import matrix as decoder_matrix
from servewatt.engines.torch_graph.model import step as decoder_step
from servewatt.engines.torch_graph.model.checkpoint import NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix, quantise_int4, quantise_int8
from servewatt.engines.torch_graph.model.one_row import layer, multiply
from servewatt.engines.torch_graph.model.positions import Positions, make_tables
from servewatt.engines.torch_graph.model.weights import LayerWeights

if TYPE_CHECKING:
    from torch import Tensor
    from torch import dtype as DType  # noqa: N812

pytestmark = MARKS

LOOKED_AT = 64
POSITION = 37
PADDING = 5
BASE = DecoderShape(
    "Some", 64, 256, 64, 192, 1, 2, 2, 32, Norm.LAYER, 1e-5, Activation.GELU_TANH, True, scaling=32**-0.5
)  # fmt: skip
GENERATOR = torch.Generator()


@pytest.fixture(autouse=True)
def seeded() -> None:
    GENERATOR.manual_seed(0)


def some(*size: int) -> Tensor:
    return torch.randn(size, generator=GENERATOR)


def matrix_of(outputs: int, inputs: int, kind: str, dtype: DType, *, biased: bool) -> Matrix:
    weight = some(outputs, inputs) * inputs**-0.5
    bias = some(outputs).to(dtype) if biased else None
    if kind == "int8":
        return quantise_int8(weight, dtype)._replace(bias=bias)
    if kind == "int4":
        return quantise_int4(weight, dtype, 64)._replace(bias=bias)
    return Matrix(weight.to(dtype), None, bias)


def norm_of(shape: DecoderShape, dtype: DType) -> NormWeights:
    bias = some(shape.hidden).to(dtype) if shape.norm is Norm.LAYER else None
    return NormWeights((1 + 0.1 * some(shape.hidden)).to(dtype), bias)


def weights_of(shape: DecoderShape, kind: str, dtype: DType, *, merged: bool, biased: bool) -> LayerWeights:
    def made(outputs: int, inputs: int) -> Matrix:
        return matrix_of(outputs, inputs, kind, dtype, biased=biased)

    wide = shape.heads * shape.head_size
    if merged:
        into = made(shape.qkv_size + shape.up_size, shape.hidden)
        return LayerWeights(NormWeights(), into, made(shape.hidden, wide + shape.inner), None, None, None)
    second = None if shape.one_norm else norm_of(shape, dtype)
    return LayerWeights(
        norm_of(shape, dtype), made(shape.qkv_size, shape.hidden), made(shape.hidden, wide), second,
        made(shape.up_size, shape.hidden), made(shape.hidden, shape.inner),
    )  # fmt: skip


def place_of(shape: DecoderShape) -> Positions:
    tables = make_tables(shape, torch.device("cpu"))
    columns, keys = torch.tensor([POSITION]), torch.arange(LOOKED_AT)
    bias = torch.zeros(1, 1, 1, 1)
    if tables.slopes is not None:
        bias = (tables.slopes[:, None, None] * (keys - POSITION).float())[None]
    mask = torch.where((keys >= PADDING) & (keys <= POSITION), bias, float("-inf"))
    cosines = sines = None
    if tables.cosines is not None and tables.sines is not None:
        at = POSITION - PADDING
        cosines, sines = tables.cosines[at].view(1, 1, 1, -1), tables.sines[at].view(1, 1, 1, -1)
    return Positions(columns, cosines, sines, tables.partners, mask, torch.tensor([PADDING]), tables.slopes)


LAYERS = {
    "gpt2": (BASE, False, True),
    "gpt-bigcode": (replace(BASE, kv_heads=1), False, True),
    "bloom": (replace(BASE, alibi=True), False, True),
    "gpt-neox": (replace(BASE, activation=Activation.GELU, parallel=True, rotary=Rotary(8)), True, True),
    "gpt-neox-apart": (replace(BASE, parallel=True, rotary=Rotary(8)), False, True),
    "phi": (replace(BASE, parallel=True, one_norm=True, rotary=Rotary(16)), True, True),
    "phi-apart": (replace(BASE, parallel=True, one_norm=True, rotary=Rotary(16)), False, True),
    "llama": (
        replace(BASE, norm=Norm.RMS, activation=Activation.SILU, gated=True, kv_heads=1, rotary=Rotary(32)),
        False,
        False,
    ),
    "gemma": (replace(BASE, norm=Norm.RMS, gated=True, rotary=Rotary(32)), False, False),
    "stablelm": (replace(BASE, activation=Activation.SILU, gated=True, rotary=Rotary(8)), False, True),
    "relu": (replace(BASE, activation=Activation.RELU), False, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["floating", "int8", "int4"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_that_of_plain_torch(name: str, kind: str) -> None:
    shape, merged, biased = LAYERS[name]
    weights = weights_of(shape, kind, torch.float32, merged=merged, biased=biased)
    x = some(1, 1, shape.hidden)
    room = (1, shape.kv_heads, LOOKED_AT, shape.head_size)
    keys, values = some(*room), some(*room)
    plain_keys, plain_values, place = keys.clone(), values.clone(), place_of(shape)
    whole, added = decoder_step.layer(shape, weights, x, torch.zeros_like(x), plain_keys, plain_values, place, "fused")
    made = layer(shape, weights, x, keys, values, place)
    torch.testing.assert_close(made, whole + added, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(keys, plain_keys, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(values, plain_values, rtol=1e-5, atol=1e-5)


def test_half_precision_is_summed_in_single() -> None:
    shape = replace(BASE, hidden=2048)
    matrix = Matrix(torch.full((3, 2048), 2.0**-10, dtype=torch.float16))
    x = torch.ones(1, 1, 2048, dtype=torch.float16)
    # Added up in fp16, 2 + 2**-10 is 2 from the 2048th on; the residual's 2**-9 is half a step of fp16 there.
    out = multiply(
        shape,
        Product(x, matrix, torch.empty(3, dtype=torch.float16), residual=torch.full((3,), 2.0**-9).half()),
    )
    assert out.tolist() == [2.0 + 2.0**-9] * 3


@pytest.mark.parametrize("outputs", [1, 5, 2100])
def test_rows_beyond_the_last_are_not_written(outputs: int) -> None:
    matrix = matrix_of(outputs, 48, "int8", torch.float32, biased=True)
    x = some(1, 1, 48)
    room = torch.full((outputs + 9,), 7.0)
    multiply(BASE, Product(x, matrix, room[:outputs]))
    expected = decoder_matrix.multiply(x, matrix).flatten()
    torch.testing.assert_close(room[:outputs], expected, rtol=1e-4, atol=1e-4)
    assert room[outputs:].tolist() == [7.0] * 9


def test_a_gate_multiplies_what_it_lets_through() -> None:
    shape = replace(BASE, hidden=2, gated=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    x = torch.tensor([[[2.0, 3.0]]])
    out = multiply(shape, Product(x, Matrix(weight), torch.empty(2), activation=Activation.RELU))
    # Gates relu(2), relu(0); others 3, 5.
    assert out.tolist() == [6.0, 0.0]

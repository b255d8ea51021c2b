"""Attention of one token a row by several programs for a row and head, in Triton's interpreter."""

from __future__ import annotations

from tests.engines.triton_interpreter import MARKS  # isort: split

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm
from servewatt.checkpoints.rotary import Rotary
from servewatt.engines.torch_graph.kernels import attention as attention_kernel
from servewatt.engines.torch_graph.kernels.split_attention import attend, splits_of
from servewatt.engines.torch_graph.model.checkpoint import NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix
from servewatt.engines.torch_graph.model.positions import Positions, make_tables
from servewatt.engines.torch_graph.model.program import DecoderProgram, Kernels, make_buffers
from servewatt.engines.torch_graph.model.weights import DecoderWeights, LayerWeights

if TYPE_CHECKING:
    from torch import Tensor
    from torch import dtype as DType  # noqa: N812

pytestmark = MARKS

GENERATOR = torch.Generator()


@pytest.fixture(autouse=True)
def seeded() -> None:
    GENERATOR.manual_seed(0)


def some(*size: int) -> Tensor:
    return torch.randn(size, generator=GENERATOR)


def shape_of(heads: int, kv_heads: int, size: int, *, rotary: int = 0, alibi: bool = False) -> DecoderShape:
    return DecoderShape(
        "Some", 64, 2048, 64, 64, 1, heads, kv_heads, size, Norm.LAYER, 1e-5, Activation.RELU, True,
        rotary=Rotary(rotary) if rotary else None, alibi=alibi, scaling=size**-0.5,
    )  # fmt: skip


def place_of(shape: DecoderShape, at: int, padding: list[int]) -> Positions:
    tables = make_tables(shape, torch.device("cpu"))
    cosines = sines = None
    if tables.cosines is not None and tables.sines is not None:
        positions = torch.tensor([at - columns for columns in padding])
        cosines, sines = tables.cosines[positions][:, None, None], tables.sines[positions][:, None, None]
    unused = torch.zeros(1)
    return Positions(torch.tensor([at]), cosines, sines, tables.partners, unused, torch.tensor(padding), tables.slopes)


def turned(x: Tensor, place: Positions, row: int) -> Tensor:
    """(heads, size), fp64, each component against its partner, rounded as the cache is."""
    if place.cosines is None or place.sines is None or place.partners is None:
        return x.double()
    made = x.double() * place.cosines[row, 0].double() + x.double()[:, place.partners] * place.sines[row, 0].double()
    return made.to(x.dtype).double()


def plain(shape: DecoderShape, qkv: Tensor, keys: Tensor, values: Tensor, place: Positions) -> Tensor:
    """Attention in fp64, head by head; key and value of this step are written to the cache."""
    at, made = int(place.columns), torch.empty(qkv.shape[0], 1, shape.heads, shape.head_size, dtype=torch.float64)
    for row in range(qkv.shape[0]):
        q, k, v = qkv[row, 0].view(-1, shape.head_size).split((shape.heads, shape.kv_heads, shape.kv_heads))
        keys[row, :, at], values[row, :, at] = turned(k, place, row).to(keys.dtype), v
        q, first = turned(q, place, row), int(place.padding[row])
        for head in range(shape.heads):
            kv = head // shape.groups
            scores = keys[row, kv, first : at + 1].double() @ q[head] * shape.scaling
            if place.slopes is not None:
                scores += place.slopes[head].double() * (torch.arange(first, at + 1) - at)
            made[row, 0, head] = scores.softmax(0) @ values[row, kv, first : at + 1].double()
    return made.flatten(2)


SHAPES = {
    "rotary": shape_of(2, 2, 64, rotary=16),
    "odd-size": shape_of(2, 2, 80, rotary=20),
    "alibi": shape_of(3, 3, 64, alibi=True),
    "grouped": shape_of(6, 2, 32, rotary=32),
    "multi-query": shape_of(12, 1, 128),
    "grouped-alibi": shape_of(6, 2, 24, alibi=True),
}


def check(shape: DecoderShape, dtype: DType, kv_length: int, at: int, padding: list[int], splits: int | None) -> None:
    qkv = some(len(padding), 1, shape.qkv_size + 7).to(dtype)[..., : shape.qkv_size]
    room = (len(padding), shape.kv_heads, kv_length + 32, shape.head_size)
    keys, values = some(*room).to(dtype), some(*room).to(dtype)
    # What is padding, or beyond, must not be looked at.
    for row, columns in enumerate(padding):
        for cache in (keys, values):
            cache[row, :, :columns] = cache[row, :, at:] = float("nan")
    place = place_of(shape, at, padding)
    expected_keys, expected_values = keys.clone(), values.clone()
    expected = plain(shape, qkv, expected_keys, expected_values, place)
    made = attend(shape, qkv, keys[:, :, :kv_length], values[:, :, :kv_length], place, splits=splits)
    tolerance = {torch.float32: 2e-5, torch.float16: 5e-3}[dtype]
    assert made.dtype is dtype
    torch.testing.assert_close(made.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(keys, expected_keys, rtol=tolerance, atol=tolerance, equal_nan=True)
    torch.testing.assert_close(values, expected_values, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", SHAPES)
def test_attention_is_that_of_plain_torch(name: str, dtype: DType) -> None:
    # Shares of the second row's first programs are padding.
    check(SHAPES[name], dtype, 1024, 921, [3, 700], 4)


@pytest.mark.parametrize("name", ["rotary", "grouped-alibi"])
@pytest.mark.parametrize("splits", [2, 3, 7, None])
@pytest.mark.parametrize("at", [0, 1, 127, 128, 129, 640, 1407])
def test_every_column_counts_once_wherever_the_shares_end(name: str, splits: int | None, at: int) -> None:
    check(SHAPES[name], torch.float32, 1408, at, [0, at // 2, at], splits)


def test_a_step_before_its_padding_ends_sees_itself() -> None:
    shape = shape_of(2, 2, 64)
    qkv = torch.ones(1, 1, shape.qkv_size)
    cache = torch.full((1, 2, 512, 64), float("nan"))
    made = attend(shape, qkv, cache, cache.clone(), place_of(shape, 300, [310]), splits=4)
    assert made.tolist() == torch.ones(1, 1, 128).tolist()


@pytest.mark.parametrize(
    ("programs", "columns", "splits"),
    [
        # Short, or programs enough.
        (16, 256, 1), (16, 511, 1), (16 * 64, 2048, 1), (133, 2048, 1),
        # Of 264 programs at most, at least 128 columns each.
        (16, 512, 4), (16, 1536, 12), (16, 4096, 16), (132, 4096, 2), (1, 2048, 16), (1, 65536, 64),
    ],
)  # fmt: skip
def test_shares_by_programs_and_columns(programs: int, columns: int, splits: int) -> None:
    assert splits_of(programs, columns) == splits


@pytest.mark.parametrize("kv_length", [256, 1024])
def test_short_contexts_are_left_to_the_kernel_of_one_program(kv_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = []

    def alone(_: DecoderShape, qkv: Tensor, keys: Tensor, *rest: object, **more: object) -> Tensor:
        left.append(keys.shape[2])
        return qkv

    monkeypatch.setattr(attention_kernel, "attend", alone)
    shape = shape_of(2, 2, 64)
    cache = torch.zeros(1, 2, kv_length, 64)
    attend(shape, torch.zeros(1, 1, shape.qkv_size), cache, cache.clone(), place_of(shape, 5, [0]))
    assert left == ([256] if kv_length == 256 else [])


@pytest.mark.parametrize("one_row", ["triton", "compiled"])
@pytest.mark.parametrize("batch", [1, 2])
def test_steps_of_a_program_are_the_same(batch: int, one_row: str) -> None:
    shape = replace(shape_of(4, 2, 16, rotary=16), layers=2)
    norm = NormWeights(torch.ones(64), torch.zeros(64))

    def matrix(outputs: int, inputs: int) -> Matrix:
        return Matrix(some(outputs, inputs) * inputs**-0.5, None, None)

    layers = [
        LayerWeights(norm, matrix(shape.qkv_size, 64), matrix(64, 64), norm, matrix(64, 64), matrix(64, 64))
        for _ in range(shape.layers)
    ]
    weights = DecoderWeights(Matrix(some(64, 64)), None, None, tuple(layers), norm, matrix(64, 64))
    tables = make_tables(shape, torch.device("cpu"))
    room, at = 640, 600
    cache = some(2, shape.layers, batch, shape.kv_heads, room, shape.head_size)
    records = []
    for ways in (Kernels("fused", "compiled"), Kernels("split", one_row)):
        program = DecoderProgram(shape, weights, tables, lambda function: function, ways)
        buffers = make_buffers(shape, batch, room, torch.float32, torch.device("cpu"))
        for index in range(shape.layers):
            buffers.keys[index].copy_(cache[0, index])
            buffers.values[index].copy_(cache[1, index])
        buffers.position.fill_(at)
        buffers.padding.copy_(torch.arange(batch) * 200)
        for _ in range(3):
            program.step(buffers, room)
        program.scoring_step(buffers, room)
        records.append(buffers)
    assert int(records[1].position) == at + 4
    assert records[1].token_ids.tolist() == records[0].token_ids.tolist()
    torch.testing.assert_close(records[1].scores, records[0].scores, rtol=1e-4, atol=1e-4)
    for made, expected in zip(records[1].keys, records[0].keys, strict=True):
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)

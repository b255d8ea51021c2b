"""Several rows times matrices of integers, in Triton's interpreter, beside plain torch and float64."""

from __future__ import annotations

from tests.engines.triton_interpreter import MARKS  # isort: split

import math
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import torch

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm
from servewatt.engines.torch_graph.kernels import matmul as kernel
from servewatt.engines.torch_graph.model import matrix as decoder_matrix
from servewatt.engines.torch_graph.model import program as decoder_program
from servewatt.engines.torch_graph.model.checkpoint import NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix
from servewatt.engines.torch_graph.model.positions import make_tables
from servewatt.engines.torch_graph.model.program import DecoderProgram, Kernels, make_buffers
from servewatt.engines.torch_graph.model.weights import DecoderWeights, LayerWeights
from tests.engines.matrices import GENERATOR, exact, matrix_of, some

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = [
    *MARKS,
    # Of the interpreter too.
    pytest.mark.filterwarnings("ignore:invalid value encountered"),
]

KINDS = ["int8", "int4 32", "int4 64", "int4 128"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    GENERATOR.manual_seed(0)


def exact_product(x: Tensor, matrix: Matrix) -> Tensor:
    """In float64."""
    assert matrix.bias is not None
    return x.double() @ exact(matrix).T + matrix.bias.double()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "outputs", "inputs"),
    [(1, 40, 128), (5, 130, 768), (16, 64, 128), (40, 70, 384), (130, 200, 256), (3, 7, 4096)],
)
def test_a_product_is_that_of_float64(rows: int, outputs: int, inputs: int, kind: str) -> None:
    matrix, x = matrix_of(outputs, inputs, kind), some(1, rows, inputs)
    made = kernel.multiply(x, matrix)
    assert made.shape == (1, rows, outputs)
    torch.testing.assert_close(made.double(), exact_product(x, matrix), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made, decoder_matrix.multiply(x, matrix), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [4, 33, 70, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_rounded_once(kind: str, rows: int) -> None:
    matrix, x = matrix_of(96, 256, kind, torch.float16), some(2, rows, 256).half()
    made = kernel.multiply(x, matrix)
    assert made.dtype == torch.float16
    # Half a step of fp16 and what fp32 adds.
    torch.testing.assert_close(made.double(), exact_product(x, matrix), rtol=5e-4, atol=1e-5)


@pytest.mark.parametrize("inputs", [64, 192, 320])
@pytest.mark.parametrize("kind", ["int8", "int4 32", "int4 64"])
def test_inputs_need_be_no_multiple_of_a_chunk(kind: str, inputs: int) -> None:
    matrix, x = matrix_of(20, inputs, kind), some(2, 9, inputs)
    torch.testing.assert_close(kernel.multiply(x, matrix).double(), exact_product(x, matrix), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("splits", [1, 2, 3, 4])
def test_programs_may_share_the_inputs(kind: str, splits: int) -> None:
    matrix, x = matrix_of(70, 640, kind), some(20, 640)
    group = 0 if kind == "int8" else int(kind.split()[1])
    cut = kernel._division(20, 70, 640, group, 4)._replace(splits=splits, chunk=128)
    torch.testing.assert_close(kernel._run(x, matrix, cut).double(), exact_product(x, matrix), rtol=1e-4, atol=1e-5)


def test_without_bias() -> None:
    matrix, x = matrix_of(33, 4096, "int8"), some(1, 2, 4096)
    assert matrix.bias is not None
    made = kernel.multiply(x, matrix._replace(bias=None)) + matrix.bias
    torch.testing.assert_close(made, kernel.multiply(x, matrix), rtol=1e-5, atol=1e-5)


def test_rows_need_not_lie_side_by_side() -> None:
    matrix, wide = matrix_of(12, 64, "int8"), some(2, 3, 100)
    x = wide[..., 20:84]
    torch.testing.assert_close(kernel.multiply(x, matrix).double(), exact_product(x, matrix), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["int8", "int4 64"])
def test_what_is_no_number_stays_in_its_row(kind: str) -> None:
    matrix, x = matrix_of(20, 128, kind), some(1, 3, 128)
    x[0, 1, 5] = math.nan
    made = kernel.multiply(x, matrix)[0].isnan()
    assert made.all(dim=1).tolist() == [False, True, False]
    assert made.any(dim=1).tolist() == [False, True, False]


def test_what_has_no_kernel_is_multiplied_in_plain_torch() -> None:
    floating, x = Matrix(some(5, 64)), some(1, 4, 64)
    short, y = matrix_of(5, 48, "int8"), some(1, 4, 48)
    with mock.patch.object(kernel, "_run") as run:
        assert torch.equal(kernel.multiply(x, floating), decoder_matrix.multiply(x, floating))
        assert torch.equal(kernel.multiply(y, short), decoder_matrix.multiply(y, short))
    run.assert_not_called()


@pytest.mark.parametrize(("outputs", "splits"), [(50304, 1), (17920, 1), (7168, 2), (2048, 8), (768, 16)])
def test_a_narrow_matrix_is_shared_by_more_programs(outputs: int, splits: int) -> None:
    assert kernel._division(16, outputs, 16384, 0, 2).splits == splits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 16, 32, 33, 64, 100, 1000])
def test_chunks_fill_a_row_of_the_matrix(rows: int, kind: str) -> None:
    group = 0 if kind == "int8" else int(kind.split()[1])
    for inputs in (128, 768, 1024, 2560, 5120, 12800, 16384):
        cut = kernel._division(rows, 2048, inputs, group, 2)
        assert inputs % cut.chunk == 0
        assert group == 0 or cut.chunk % group == 0
        # What is under way at once, and the floating copy of a chunk, must fit into shared memory.
        weights, read = cut.outputs * cut.chunk, 2 * cut.rows * cut.chunk
        stored = weights if group == 0 else weights // 2
        assert cut.stages * (stored + read) + (0 if cut.left else 2 * weights) < 200 * 1024


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize(
    ("products", "columns", "by_kernel"),
    # Two rows of 16 columns are the most that `auto` takes here.
    [("unpacked", 5, False), ("triton", 5, True), ("triton", 17, True), ("auto", 16, True), ("auto", 17, False)],
)
def test_prefill_takes_these_products(
    merged: bool, products: str, columns: int, by_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_program, "_MOST_ROWS", 32)
    shape = shape_of(merged=merged)
    weights = decoder_of(shape, merged=merged)
    ids = torch.randint(64, (columns, 2), generator=GENERATOR)
    found = []
    for asked, launches in (("unpacked", 0), (products, (3 if merged else 5) if by_kernel else 0)):
        program = DecoderProgram(
            shape, weights, make_tables(shape, torch.device("cpu")), lambda f: f, Kernels(prefill_products=asked)
        )
        buffers = make_buffers(shape, 2, 32, torch.float32, torch.device("cpu"))
        buffers.token_ids[:columns] = ids
        with mock.patch.object(kernel, "_run", wraps=kernel._run) as run:
            program.prefill(buffers, columns)
            assert run.call_count == launches
            run.reset_mock()
            program.step(buffers, 32)
            run.assert_not_called()
        found.append(buffers)
    plain, made = found
    assert torch.equal(plain.token_ids, made.token_ids)
    torch.testing.assert_close(made.keys[0], plain.keys[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.values[0], plain.values[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("merged", [True, False])
def test_a_step_takes_these_products_if_asked(merged: bool) -> None:
    shape = shape_of(merged=merged)
    weights = decoder_of(shape, merged=merged)
    ids = torch.randint(64, (5, 2), generator=GENERATOR)
    found = []
    for products, launches in (("unpacked", 0), ("triton", 3 if merged else 5)):
        program = DecoderProgram(
            shape, weights, make_tables(shape, torch.device("cpu")), lambda f: f, Kernels(step_products=products)
        )
        buffers = make_buffers(shape, 2, 32, torch.float32, torch.device("cpu"))
        buffers.token_ids[:5] = ids
        with mock.patch.object(kernel, "_run", wraps=kernel._run) as run:
            program.prefill(buffers, 5)
            run.assert_not_called()
            program.step(buffers, 32)
            assert run.call_count == launches
            buffers.position.fill_(5)
            program.scoring_step(buffers, 32)
            assert run.call_count == 2 * launches
        found.append(buffers)
    plain, made = found
    assert torch.equal(plain.token_ids, made.token_ids)
    torch.testing.assert_close(made.keys[0], plain.keys[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.scores, plain.scores, rtol=1e-4, atol=1e-5)


def shape_of(*, merged: bool) -> DecoderShape:
    return DecoderShape(
        "Some", 64, 256, 64, 192, 1, 2, 2, 32, Norm.LAYER, 1e-5, Activation.GELU, True, parallel=merged,
        one_norm=merged, scaling=32**-0.5,
    )  # fmt: skip


def decoder_of(shape: DecoderShape, *, merged: bool) -> DecoderWeights:
    def norm() -> NormWeights:
        return NormWeights(1 + 0.1 * some(64), some(64))

    if merged:
        out = matrix_of(64, 64 + 192, "int4 64")
        layer = LayerWeights(norm(), matrix_of(shape.qkv_size + 192, 64, "int8"), out, None, None, None)
    else:
        layer = LayerWeights(
            norm(), matrix_of(shape.qkv_size, 64, "int8"), matrix_of(64, 64, "int4 64"), norm(),
            matrix_of(192, 64, "int4 32"), matrix_of(64, 192, "int8"),
        )  # fmt: skip
    head = matrix_of(256, 64, "int8")
    return DecoderWeights(Matrix(head.weight, head.scale), None, None, (layer,), norm(), head)

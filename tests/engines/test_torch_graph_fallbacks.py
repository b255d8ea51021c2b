"""Facts name what runs in the place of kernels that were asked for."""

from __future__ import annotations

from tests.engines.triton_interpreter import MARKS  # isort: split

from dataclasses import replace

import pytest
import torch

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm
from servewatt.engines.torch_graph import fallbacks
from servewatt.engines.torch_graph.choices import Choices
from servewatt.engines.torch_graph.model import program as decoder_program
from servewatt.engines.torch_graph.model.checkpoint import NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix
from servewatt.engines.torch_graph.model.positions import make_tables
from servewatt.engines.torch_graph.model.program import DecoderProgram, Kernels, make_buffers
from servewatt.engines.torch_graph.model.weights import DecoderWeights, LayerWeights
from servewatt.records import Configuration, Precision, Provider
from tests.engines.matrices import matrix_of, some

pytestmark = MARKS

CPU = torch.device("cpu")
SHAPE = DecoderShape(
    "Some", 64, 256, 64, 80, 1, 2, 2, 32, Norm.LAYER, 1e-5, Activation.GELU, True, scaling=32**-0.5
)  # fmt: skip


def choices(precision: Precision, batch: int = 1, **options: str) -> Choices:
    return Choices.of(Configuration("torch-graph", Provider.CUDA, precision, batch, options=tuple(options.items())))


def weights() -> DecoderWeights:
    """int8; the last product of the layer has 80 inputs."""
    norm, head = NormWeights(some(64), some(64)), matrix_of(64, 64, "int8")
    layer = LayerWeights(
        norm, matrix_of(192, 64, "int8"), matrix_of(64, 64, "int8"), norm, matrix_of(80, 64, "int8"),
        matrix_of(64, 80, "int8"),
    )  # fmt: skip
    return DecoderWeights(Matrix(head.weight, head.scale), None, None, (layer,), norm, head)


def test_matrices_without_a_kernel_are_counted() -> None:
    """80 inputs are no multiple of 32; of the five matrices that is one."""
    assert fallbacks.plain_products(choices(Precision.INT8), weights()) == (("plain_products", "1 of 5 matrices"),)
    unpacked = choices(Precision.INT8, prefill_products="unpacked")
    assert fallbacks.plain_products(unpacked, weights()) == ()
    small = weights()
    fitting = small._replace(layers=(small.layers[0]._replace(down=matrix_of(64, 96, "int8")),))
    assert fallbacks.plain_products(choices(Precision.INT8), fitting) == ()


def test_what_auto_has_come_to_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefill of more rows than `auto` multiplies as they are stored, here 8, unpacks them."""
    monkeypatch.setattr(decoder_program, "_MOST_ROWS", 8)
    auto = choices(Precision.INT8)
    program = DecoderProgram(SHAPE, weights(), make_tables(SHAPE, CPU), lambda f: f, Kernels(prefill_products="auto"))
    buffers = make_buffers(SHAPE, 2, 32, torch.float32, CPU)
    shown = [fallbacks.prefill_products(auto, program)]
    for columns in (4, 5):
        program.prefill(buffers, columns)
        shown.append(fallbacks.prefill_products(auto, program))
    assert shown == ["auto", "auto: triton", "auto: triton, unpacked"]
    assert fallbacks.prefill_products(replace(auto, prefill_products="triton"), program) == "triton"


def test_columns_too_few_to_be_shared_out_are_told() -> None:
    """Of 16 heads 128 columns each are seen by one program. 4096 are by min(264 / 16, 4096 / 128) = 16."""
    shape = replace(SHAPE, heads=16, kv_heads=16, head_size=64)
    split = choices(Precision.BF16, attention="split")
    assert fallbacks.attention_splits(split, shape, [(1, 128)]) == (("attention_splits", "1"),)
    assert fallbacks.attention_splits(split, shape, [(1, 128), (1, 4096)]) == (("attention_splits", "1, 16"),)
    assert fallbacks.attention_splits(split, shape, []) == ()
    assert fallbacks.attention_splits(choices(Precision.BF16), shape, [(1, 128)]) == ()

"""Surgery on graphs, by itself: nothing is exported and nothing of CUDA is needed."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from servewatt.engines.onnx.graph import CUDA_KERNELS, even_concats, matrix_products, widen
from servewatt.records import Precision

HALVES = {Precision.BF16: TensorProto.BFLOAT16, Precision.FP16: TensorProto.FLOAT16}


def graph_of(nodes: list[onnx.NodeProto], half: int, outputs: dict[str, int]) -> onnx.ModelProto:
    """A model of one half-precision input `x` of three numbers."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", half, [3])],
        [helper.make_tensor_value_info(name, kind, [3]) for name, kind in outputs.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def widened(model: onnx.ModelProto, kernels: set[str]) -> tuple[onnx.ModelProto, int]:
    graph = onnx_ir.from_proto(model)
    count = widen(graph, frozenset(kernels))
    return onnx_ir.to_proto(graph), count


def checked(model: onnx.ModelProto) -> dict[str, int]:
    """Element types of all values, inferred anew; the checker must be content."""
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    del bare.graph.value_info[:]
    onnx.checker.check_model(bare, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=True, check_type=True).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


def run(model: onnx.ModelProto, x: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    outputs: list[npt.NDArray[Any]] = ReferenceEvaluator(model).run(None, {"x": x})
    return outputs


@pytest.mark.parametrize("half", HALVES.values())
def test_an_operator_without_a_kernel_computes_in_fp32(half: int) -> None:
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"], name="add"),
        helper.make_node("Cos", ["twice"], ["cosine"], name="cos"),
        helper.make_node("Mul", ["cosine", "x"], ["y"], name="mul"),
    ]
    model, count = widened(graph_of(nodes, half, {"y": half}), {"Add", "Mul", "Cast"})
    assert count == 1
    assert [node.op_type for node in model.graph.node] == ["Add", "Cast", "Cos", "Cast", "Mul"]
    types = checked(model)
    cosine = next(node for node in model.graph.node if node.op_type == "Cos")
    assert types[cosine.input[0]] == types[cosine.output[0]] == TensorProto.FLOAT
    assert types["twice"] == types["cosine"] == types["y"] == half


def test_the_result_is_rounded_as_without_it() -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["power"], name="exp"),
        helper.make_node("Add", ["power", "x"], ["y"], name="add"),
    ]
    model, _ = widened(graph_of(nodes, TensorProto.FLOAT16, {"y": TensorProto.FLOAT16}), {"Add"})
    x = np.array([0.1, 1.0, -2.0], np.float16)
    power = np.exp(x.astype(np.float32)).astype(np.float16)
    (y,) = run(model, x)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, power + x)


def test_a_value_is_cast_once_and_integers_are_left_alone() -> None:
    half = TensorProto.BFLOAT16
    nodes = [
        helper.make_node("Cos", ["x"], ["a"], name="cos"),
        helper.make_node("Sin", ["x"], ["b"], name="sin"),
        helper.make_node("ArgMax", ["x"], ["place"], name="argmax", axis=0, keepdims=1),
        helper.make_node("Add", ["a", "b"], ["y"], name="add"),
    ]
    made = graph_of(nodes, half, {"y": half})
    made.graph.output.append(helper.make_tensor_value_info("place", TensorProto.INT64, [1]))
    model, count = widened(made, {"Add"})
    assert count == 3
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert [cast.input[0] for cast in casts].count("x") == 1
    assert len(casts) == 3, "one in, and one back for each of the two floating results"
    assert checked(model)["place"] == TensorProto.INT64


def test_a_result_that_is_an_output_keeps_its_name_and_type() -> None:
    half = TensorProto.FLOAT16
    nodes = [
        helper.make_node("Softplus", ["x"], ["y"], name="softplus"),
        helper.make_node("Neg", ["y"], ["z"], name="neg"),
    ]
    model, _ = widened(graph_of(nodes, half, {"y": half, "z": half}), {"Neg"})
    assert [(o.name, o.type.tensor_type.elem_type) for o in model.graph.output] == [("y", half), ("z", half)]
    checked(model)
    y, z = run(model, np.array([-1, 0, 1], np.float16))
    np.testing.assert_array_equal(y, -z)


def test_fp32_is_left_alone() -> None:
    nodes = [helper.make_node("Cos", ["x"], ["y"], name="cos")]
    model, count = widened(graph_of(nodes, TensorProto.FLOAT, {"y": TensorProto.FLOAT}), set())
    assert (count, len(model.graph.node)) == (0, 1)


def test_products_are_counted_by_type() -> None:
    matrix = helper.make_tensor("w", TensorProto.BFLOAT16, [3, 3], np.ones(9, ml_dtypes.bfloat16).tobytes(), raw=True)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Cast", ["a"], ["b"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["b", "b"], ["y"], name="second"),
    ]
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 3])],
        [matrix],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert matrix_products(onnx_ir.from_proto(inferred)) == {"bf16": 1, "fp32": 1}


def test_bf16_lacks_on_cuda_what_fp16_has() -> None:
    """ArgMax, the mean of RMS norms, sine and cosine of rotary tables: their fp32 forms must stay fp32."""
    lacking = CUDA_KERNELS[Precision.FP16] - CUDA_KERNELS[Precision.BF16]
    assert {"ArgMax", "ReduceMean", "Reciprocal", "Sin", "Cos"} <= lacking
    assert CUDA_KERNELS[Precision.BF16] < CUDA_KERNELS[Precision.FP16]


def test_uneven_pieces_are_joined_as_even_ones() -> None:
    """Of 4, 2 and 6 columns: pieces of 2."""
    kind = TensorProto.FLOAT
    nodes = [
        helper.make_node("Abs", ["x"], ["a"], name="abs"),
        helper.make_node("Concat", ["a", "y", "z"], ["joined"], name="join", axis=-1),
        helper.make_node("Concat", ["y", "y"], ["even"], name="even", axis=-1),
    ]
    sizes = {"x": 4, "y": 2, "z": 6, "joined": 12, "even": 4}
    values = {name: helper.make_tensor_value_info(name, kind, ["rows", size]) for name, size in sizes.items()}
    made = helper.make_graph(
        nodes, "test", [values[name] for name in ("x", "y", "z")], [values["joined"], values["even"]]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    graph = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=True))
    assert even_concats(graph) == 1
    changed = onnx_ir.to_proto(graph)
    checked(changed)
    assert [node.op_type for node in changed.graph.node] == ["Abs", "Split", "Split", "Concat", "Concat"]
    (joined,) = (node for node in changed.graph.node if "joined" in node.output)
    assert len(joined.input) == 6
    given = {name: -np.arange(2 * sizes[name], dtype=np.float32).reshape(2, -1) for name in ("x", "y", "z")}
    got, even = ReferenceEvaluator(changed).run(None, given)
    np.testing.assert_array_equal(got, np.hstack([np.abs(given["x"]), given["y"], given["z"]]))
    np.testing.assert_array_equal(even, np.hstack([given["y"], given["y"]]))

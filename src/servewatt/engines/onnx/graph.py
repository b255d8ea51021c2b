"""Rewrites an exported graph before it is saved: simplifies it and, for CUDA, replaces operators without a kernel."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from servewatt.records import Precision

INLINE_BYTES = 4096
"""Constants up to this size live in the graph."""
PRODUCTS = frozenset({"MatMul", "Gemm", "FusedMatMul"})
"""Operators that multiply matrices."""
_MICROSOFT = "com.microsoft"
_BY_VALUE = 32
"""Most inputs of a Concat or outputs of a Split that ONNX Runtime's CUDA kernels are told of by value."""
_TYPE_NAMES = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16"}

_BF16_NAMES = """
    Abs Add Cast Compress Concat ConstantOfShape Div Dropout Erf Exp Expand Flatten Gather GatherElements GatherND
    Gelu Gemm Identity IsInf IsNaN LayerNormalization MatMul Max Min Mod Mul Neg Pow RMSNormalization ReduceSum Relu
    Reshape RotaryEmbedding ScatterElements ScatterND Shape Sigmoid Sign Size Slice Softmax Split Sqrt Squeeze Sub Sum
    Tanh Tile Transpose Trilu Unsqueeze Where FusedMatMul
"""
_FP16_NAMES = """
    ArgMax ArgMin Ceil Clip Cos CumSum Einsum Elu Equal Floor Greater GreaterOrEqual InstanceNormalization LeakyRelu
    Less LessOrEqual Log LogSoftmax Pad Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSumSquare Round Selu Sin Softplus Softsign TopK
"""
CUDA_KERNELS: dict[Precision, frozenset[str]] = {
    Precision.BF16: frozenset(_BF16_NAMES.split()),
    Precision.FP16: frozenset(_BF16_NAMES.split() + _FP16_NAMES.split()),
}
"""Operators for which ONNX Runtime has a CUDA kernel in a half-precision type, at the opset that torch exports.

From docs/OperatorKernels.md of https://github.com/microsoft/onnxruntime. An operator that is missing here is computed
in fp32, which costs two casts and is never wrong.
"""


def simplify(graph: Any) -> Any:
    """Fold small constants and give products with a transposed weight their transposition as an attribute.

    ONNX Runtime would otherwise compute each transposed weight at load, a second copy of them all.
    """
    import onnx_ir
    import onnxscript.optimizer

    fused = False
    for node in list(graph.graph):
        if node.op_type != "MatMul":
            continue
        left, right = node.inputs
        transpose = right.producer()
        if transpose is None or transpose.op_type != "Transpose" or not transpose.inputs[0].is_initializer():
            continue
        product = onnx_ir.node(
            "FusedMatMul", [left, transpose.inputs[0]], {"transB": 1}, domain=_MICROSOFT, num_outputs=1
        )
        product.outputs[0].name = node.outputs[0].name
        product.outputs[0].shape = node.outputs[0].shape
        product.outputs[0].type = node.outputs[0].type or left.type
        onnx_ir.convenience.replace_nodes_and_values(
            graph.graph, node, [node], [product], node.outputs, product.outputs
        )
        if not transpose.outputs[0].uses():
            graph.graph.remove(transpose, safe=True)
        fused = True
    if fused:
        graph.graph.opset_imports[_MICROSOFT] = 1
    # Last, because it would fold the transposed weights themselves.
    onnxscript.optimizer.optimize_ir(graph, input_size_limit=INLINE_BYTES, output_size_limit=INLINE_BYTES)
    return graph


def even_concats(graph: Any) -> int:
    """Let every Concat of floats join pieces of one size, cut from its inputs where need be; how many were changed.

    The sizes of uneven pieces go to the device by a copy from the host's memory, which a CUDA graph repeats when
    something else may lie there; those of even ones are arguments of the kernel. Dimensions that are not fixed, and
    inputs that would make too many pieces, are left alone. https://github.com/microsoft/onnxruntime/pull/32121
    """
    import onnx_ir

    count = 0
    for node in list(graph.graph):
        if node.op_type != "Concat" or not node.inputs[0].dtype.is_floating_point():
            continue
        axis = node.attributes["axis"].as_int()
        sizes = [value.shape[axis] for value in node.inputs]
        if not all(isinstance(size, int) for size in sizes) or len(set(sizes)) == 1:
            continue
        piece = math.gcd(*sizes)
        if sum(sizes) // piece > _BY_VALUE:
            continue
        pieces: list[Any] = []
        for index, (value, size) in enumerate(zip(node.inputs, sizes, strict=True)):
            if size == piece:
                pieces.append(value)
                continue
            split = _split(value, axis, size // piece, f"{node.name}.{index}")
            graph.graph.insert_before(node, split)
            pieces += split.outputs
        joined = onnx_ir.node("Concat", pieces, {"axis": axis}, num_outputs=1, name=f"{node.name}.even")
        output, former = joined.outputs[0], node.outputs[0]
        output.name, output.shape, output.type = former.name, former.shape, former.type
        onnx_ir.convenience.replace_nodes_and_values(graph.graph, node, [node], [joined], [former], [output])
        count += 1
    return count


def _split(value: Any, axis: int, parts: int, name: str) -> Any:
    import onnx_ir

    attributes = {"axis": axis, "num_outputs": parts}
    node = onnx_ir.node("Split", [value], attributes, num_outputs=parts, name=name)
    shape = list(value.shape)
    shape[axis] //= parts
    for index, output in enumerate(node.outputs):
        output.name, output.shape, output.type = f"{name}.{index}", onnx_ir.Shape(shape), value.type
    return node


def widen(graph: Any, kernels: frozenset[str]) -> int:
    """Compute in fp32 what has no kernel in half precision: cast to fp32, the operator, cast back; how many.

    `kernels` are the operators that may take half-precision inputs. Values between operators keep their type, so
    each result is rounded as it would be without this. Every value of `graph` must have a type.
    """
    import onnx_ir

    halves = {onnx_ir.DataType.FLOAT16, onnx_ir.DataType.BFLOAT16}
    wide = onnx_ir.DataType.FLOAT
    widened: dict[Any, Any] = {}
    count = 0
    for node in list(graph.graph):
        if node.op_type in kernels or not any(v is not None and v.dtype in halves for v in node.inputs):
            continue
        count += 1
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype not in halves:
                continue
            if value not in widened:
                cast = _cast(value, wide, f"{value.name}.fp32")
                graph.graph.insert_before(node, cast)
                widened[value] = cast.outputs[0]
            node.replace_input_with(index, widened[value])
        for value in node.outputs:
            if value.dtype in halves:
                _narrow_after(graph.graph, node, value)
    return count


def _cast(value: Any, dtype: Any, name: str) -> Any:
    import onnx_ir

    node = onnx_ir.node("Cast", [value], {"to": int(dtype)}, num_outputs=1, name=f"cast.{name}")
    output = node.outputs[0]
    output.name, output.shape, output.type = name, value.shape, onnx_ir.TensorType(dtype)
    return node


def _narrow_after(graph: Any, node: Any, value: Any) -> None:
    """Let `node` yield `value` in fp32, and everything that used it a copy cast back to its type."""
    import onnx_ir

    name, dtype = value.name, value.dtype
    readers = list(value.uses())
    outputs = [index for index, output in enumerate(graph.outputs) if output is value]
    value.name, value.type = f"{name}.wide", onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    cast = _cast(value, dtype, name)
    graph.insert_after(node, cast)
    for reader, index in readers:
        reader.replace_input_with(index, cast.outputs[0])
    for index in outputs:
        graph.outputs[index] = cast.outputs[0]


def shape_nodes(graph: Any) -> frozenset[str]:
    """Names of the nodes whose outputs are all integers (or truth values) of at most one dimension."""

    def is_shape(value: Any) -> bool:
        typed = value.dtype is not None and not value.dtype.is_floating_point()
        return typed and value.shape is not None and len(value.shape) <= 1

    return frozenset(node.name for node in graph.graph if all(is_shape(value) for value in node.outputs))


def matrix_products(graph: Any) -> dict[str, int]:
    """How many products of matrices the graph computes in each type (`fp32`, `bf16` ...)."""
    types = [n.inputs[0].dtype for n in graph.graph if n.op_type in PRODUCTS]
    names = ["unknown" if t is None else _TYPE_NAMES.get(t.name, t.name.lower()) for t in types]
    return dict(sorted(Counter(names).items()))

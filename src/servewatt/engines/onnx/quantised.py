"""From an exported graph to one that multiplies with 8-bit or 4-bit weights (operator MatMulNBits).

The artefact holds `graph.onnx` (its own name for each way to treat activations, see `graph_file`), `graph.json` as
an export does, and `weights.safetensors` with the packed weights, written a few rows at a time. What is not a matrix
of a product (embeddings, norms, biases) stays floating and where the export has it: the embedding's table is only
looked up in, so the output projection is quantised also where it is tied to that table.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.onnx.export import GraphDescription
from servewatt.engines.onnx.graph import PRODUCTS
from servewatt.engines.shared.quantisation import (
    check_group,
    pack,
    probe_weights,
    probed_type,
    quantise,
    slabs,
    writing_safetensors,
)
from servewatt.engines.shared.weights import numpy_dtype
from servewatt.records import Model

QUANTISED_FORMAT = "1"
"""Changes when this file would build another graph or other weights from the same export."""
QUANTISED_PRODUCT = "MatMulNBits"
ACCURACY_LEVELS = {"float": 1, "int8": 4}
"""Least type, in ONNX Runtime's terms, to which a CPU kernel may round activations: 1 is fp32, 4 is int8."""
_MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class _Matrix:
    """A weight of products, as its operator multiplies with it."""

    name: str
    transposed: bool
    """Stored with a row for each input."""
    rows: int
    columns: int

    def tensors(self, bits: int, group: int, scale_dtype: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name, type and shape of its three initialisers."""
        groups = self.columns // group
        return {
            f"{self.name}.values": ("uint8", (self.rows, groups, group * bits // 8)),
            f"{self.name}.scales": (scale_dtype, (self.rows, groups)),
            f"{self.name}.zeros": ("uint8", (self.rows, -(-groups * bits // 8))),
        }


def graph_file(activations: str) -> str:
    """Name of the graph in the artefact that treats activations as `float` or `int8`."""
    return f"graph-{activations}.onnx"


def quantise_graph(export: Path, model: Model, folder: Path, bits: int, group: int) -> None:
    """Write the artefact made from the artefact `export` into `folder`.

    Peak memory is that of a few rows of a matrix, whatever the model's size. RefusedError if `group` does not divide
    the rows of a matrix.
    """
    import onnx_ir

    description = GraphDescription.read(export)
    matrices: dict[str, _Matrix] = {}
    for activations, level in ACCURACY_LEVELS.items():
        graph = onnx_ir.load(export / "graph.onnx")
        matrices = _replace_products(graph, bits, group, level)
        onnx_ir.save(graph, folder / graph_file(activations))
    held = {name for name, value in graph.graph.initializers.items() if value.uses()}
    tensors = {k: v for m in matrices.values() for k, v in m.tensors(bits, group, description.dtype).items()}
    converted = [name for name in description.converted if name in held]
    _write(export, model, folder, description, list(matrices.values()), converted, bits, group)
    replace(
        description,
        in_checkpoint={name: held_as for name, held_as in description.in_checkpoint.items() if name in held},
        converted=(*converted, *tensors),
        initialiser_dtypes={
            **{name: dtype for name, dtype in description.initialiser_dtypes.items() if name in held},
            **{name: dtype for name, (dtype, _) in tensors.items() if dtype != description.dtype},
        },
        quantised={name: f"int{bits}" for name, (dtype, _) in tensors.items() if dtype == "uint8"},
        matrix_products=_floating_products(graph, description.dtype),
        quantised_products=sum(node.op_type == QUANTISED_PRODUCT for node in graph.graph),
        floating_matrices=tuple(sorted(_floating_matrices(graph))),
        group=group,
    ).write(folder)


def _replace_products(graph: Any, bits: int, group: int, level: int) -> dict[str, _Matrix]:
    """Put MatMulNBits in the place of each product with a weight; the weights by name."""
    import onnx_ir

    matrices: dict[str, _Matrix] = {}
    inputs: dict[str, list[Any]] = {}
    for node in list(graph.graph):
        matrix = _matrix_of(node)
        if matrix is None:
            continue
        check_group(matrix.name, matrix.columns, group)
        if matrix.name not in matrices:
            matrices[matrix.name] = matrix
            dtype = node.inputs[0].dtype or onnx_ir.DataType.FLOAT
            inputs[matrix.name] = _initialisers(graph.graph, matrix, bits, group, dtype)
        _replace(graph.graph, node, inputs[matrix.name], matrix, bits, group, level)
    for name in matrices:
        if not graph.graph.initializers[name].uses():
            del graph.graph.initializers[name]
    graph.graph.opset_imports[_MICROSOFT] = 1
    return matrices


def _matrix_of(node: Any) -> _Matrix | None:
    """The weight that `node` multiplies activations with, None if it does something else."""
    if node.op_type not in PRODUCTS or not node.inputs[1].is_initializer() or len(node.inputs[1].shape) != 2:
        return None
    weight = node.inputs[1]
    flags = {name: attribute.value for name, attribute in node.attributes.items()}
    if flags.get("transA") or flags.get("alpha", 1.0) != 1.0 or flags.get("beta", 1.0) != 1.0:
        return None
    first, second = (int(n) for n in weight.shape)
    transposed = not flags.get("transB", 0)
    return _Matrix(weight.name, transposed, *((second, first) if transposed else (first, second)))


def _initialisers(graph: Any, matrix: _Matrix, bits: int, group: int, dtype: Any) -> list[Any]:
    """The three inputs that stand for `matrix`, without data; those of MatMulNBits are flat but for the first."""
    import onnx_ir

    values = []
    for name, (kind, shape) in matrix.tensors(bits, group, "float").items():
        held = onnx_ir.DataType.UINT8 if kind == "uint8" else dtype
        size = int(np.prod(shape)) * held.itemsize
        tensor = onnx_ir.ExternalTensor(
            location="bound-at-load", offset=0, length=int(size), dtype=held, shape=onnx_ir.Shape(shape), name=name
        )
        value = onnx_ir.Value(name=name, shape=onnx_ir.Shape(shape), type=onnx_ir.TensorType(held), const_value=tensor)
        graph.register_initializer(value)
        values.append(value)
    return values


def _replace(graph: Any, node: Any, weight: list[Any], matrix: _Matrix, bits: int, group: int, level: int) -> None:
    import onnx_ir

    attributes = {"K": matrix.columns, "N": matrix.rows, "bits": bits, "block_size": group, "accuracy_level": level}
    product = onnx_ir.node(
        QUANTISED_PRODUCT, [node.inputs[0], *weight], attributes, domain=_MICROSOFT, num_outputs=1, name=node.name
    )
    made = [product]
    if len(node.inputs) > 2 and node.inputs[2] is not None:  # Gemm's bias
        made.append(onnx_ir.node("Add", [product.outputs[0], node.inputs[2]], num_outputs=1))
    for each in made:
        each.outputs[0].shape, each.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    product.outputs[0].name = f"{node.outputs[0].name}.product"
    made[-1].outputs[0].name = node.outputs[0].name
    onnx_ir.convenience.replace_nodes_and_values(graph, node, [node], made, node.outputs, made[-1].outputs)


def _floating_matrices(graph: Any) -> set[str]:
    """Weights of products that were left as they are."""
    return {n.inputs[1].name for n in graph.graph if n.op_type in PRODUCTS and n.inputs[1].is_initializer()}


def _floating_products(graph: Any, dtype: str) -> Mapping[str, int]:
    return {dtype: sum(node.op_type in PRODUCTS for node in graph.graph)}


def _write(
    export: Path,
    model: Model,
    folder: Path,
    description: GraphDescription,
    matrices: list[_Matrix],
    converted: list[str],
    bits: int,
    group: int,
) -> None:
    """Quantise `matrices` into weights.safetensors, and put what the export had converted beside them."""
    import onnx_ir

    mapped, names = description.weights(export, model)
    inline = onnx_ir.load(export / "graph.onnx").graph.initializers
    dtype = description.dtype
    tensors = {name: shape for matrix in matrices for name, shape in matrix.tensors(bits, group, dtype).items()}
    kept: dict[str, npt.NDArray[Any]] = {}
    for name in converted:
        kept[name] = mapped.array(names[name])
        tensors[name] = (mapped.dtype(names[name]), kept[name].shape)
    with writing_safetensors(folder / "weights.safetensors", tensors) as file:
        for name, array in kept.items():
            file.write(name, 0, array)
        for matrix in matrices:
            name = matrix.name  # a very small matrix lies in the graph itself
            held: Any = inline[name].const_value
            stored = mapped.array(names[name]) if name in names else held.numpy()
            weights = stored.T if matrix.transposed else stored
            positions = dict.fromkeys(("values", "scales", "zeros"), 0)
            for rows in slabs(weights):
                groups = quantise(weights[rows], bits, group, dtype)
                pieces = {
                    "values": pack(groups.integers, bits),
                    "scales": groups.scales.astype(numpy_dtype(dtype)),
                    "zeros": pack(groups.zeros, bits),
                }
                for kind, piece in pieces.items():
                    file.write(f"{matrix.name}.{kind}", positions[kind], piece)
                    positions[kind] += piece.nbytes


def product_type(bits: int, group: int, activations: str) -> str:
    """As what the CPU's kernel multiplies activations with such weights, found by one product: `fp32` or `int8`.

    ONNX Runtime does not tell which kernel it chose.
    """
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    groups, inputs = probe_weights(bits, group)
    rows, columns = groups.integers.shape
    tensors = {
        "values": pack(groups.integers, bits).reshape(rows, columns // group, -1),
        "scales": groups.scales,
        "zeros": pack(groups.zeros, bits),
    }
    product = helper.make_node(
        QUANTISED_PRODUCT,
        ["inputs", *tensors],
        ["product"],
        domain=_MICROSOFT,
        **{"K": columns, "N": rows, "bits": bits, "block_size": group, "accuracy_level": ACCURACY_LEVELS[activations]},
    )
    graph = helper.make_graph(
        [product],
        "probe",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, inputs.shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, (1, rows))],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(_MICROSOFT, 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return probed_type(session.run(None, {"inputs": inputs})[0], group, "fp32")

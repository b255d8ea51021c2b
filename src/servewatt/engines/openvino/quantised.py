"""From a converted graph to one that multiplies with 8-bit or 4-bit weights.

Each matrix of a product becomes `(integers - zeros) x scales`, written as operators in the form that the CPU plugin
recognises as compressed weights and computes inside its matrix product. The integers are those of engine onnx: see
`servewatt.engines.shared.quantisation`. The embedding's table stays floating, also where the output projection is tied
to it.
https://docs.openvino.ai/2025/openvino-workflow/model-optimization-guide/weight-compression.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.shared.quantisation import Groups, check_group, pack, probe_weights, probed_type, quantise, slabs

QUANTISED_FORMAT = "1"
"""Changes when this file would build another graph from the same converted one."""
_TYPES = {8: "u8", 4: "u4"}


def quantise_graph(converted: Path, folder: Path, bits: int, group: int) -> None:
    """Write the artefact made from the artefact `converted` into `folder`.

    Peak memory is that of the quantised weights. RefusedError if `group` does not divide the rows of a matrix.
    """
    import openvino

    with dropping_file_pages(".bin"):
        graph = openvino.Core().read_model(converted / "graph.xml")
        made: dict[str, Any] = {}
        for product in graph.get_ordered_ops():
            weight = _weight_of(product)
            if weight is None:
                continue
            name = weight.get_friendly_name()
            if name not in made:
                made[name] = _quantised(weight, bits, group)
            product.input(1).replace_source_output(made[name].output(0))
        graph.validate_nodes_and_infer_types()
        openvino.save_model(graph, folder / "graph.xml", compress_to_fp16=False)


def _weight_of(product: Any) -> Any:
    """The constant matrix that `product` multiplies activations with, None if it does something else."""
    if product.get_type_name() != "MatMul":
        return None
    weight = product.input_value(1).get_node()
    constant = weight.get_type_name() == "Constant" and len(weight.get_output_shape(0)) == 2
    return weight if constant and product.get_attributes()["transpose_b"] else None


def _quantised(weight: Any, bits: int, group: int) -> Any:
    """Operators that yield the matrix of constant `weight` (rows, columns) from integers, in fp32."""
    name, matrix = weight.get_friendly_name(), weight.data
    rows, columns = matrix.shape
    check_group(name, columns, group)
    integers = np.empty(rows * columns * bits // 8, np.uint8)
    scales = np.empty((rows, columns // group), np.float32)
    zeros = np.empty((rows, columns // group), np.uint8)
    for piece in slabs(matrix):
        groups = quantise(matrix[piece], bits, group)
        first = piece.start * columns * bits // 8
        packed = pack(groups.integers, bits).ravel()
        integers[first : first + packed.size] = packed
        scales[piece], zeros[piece] = groups.scales, groups.zeros
    made = _floats(integers, scales, zeros, columns, bits)
    made.set_friendly_name(f"{name}/quantised")
    return made


def _floats(
    integers: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.float32],
    zeros: npt.NDArray[np.uint8],
    columns: int,
    bits: int,
) -> Any:
    """`(integers - zeros) x scales` as operators; `integers` are packed, the others (rows, groups)."""
    import openvino.opset13 as ops

    rows, groups = scales.shape
    packed_zeros = pack(zeros.reshape(1, -1), bits).ravel()
    held = ops.convert(_constant(integers, (rows, groups, columns // groups), bits), np.float32)
    centred = ops.subtract(held, ops.convert(_constant(packed_zeros, (rows, groups, 1), bits), np.float32))
    scaled = ops.multiply(centred, ops.constant(scales[..., None]))
    return ops.reshape(scaled, ops.constant(np.array([rows, columns])), False)


def _constant(packed: npt.NDArray[np.uint8], shape: tuple[int, ...], bits: int) -> Any:
    """A constant of unsigned integers with a copy of `packed`."""
    import openvino
    import openvino.opset13 as ops

    tensor = openvino.Tensor(packed, openvino.Shape(shape), getattr(openvino.Type, _TYPES[bits]))
    return ops.constant(tensor, shared_memory=False)


def product_type(bits: int, group: int, settings: dict[str, str], floating: str) -> str:
    """As what the CPU multiplies activations with such weights, found by one product: `floating` or `int8`.

    The compiled model tells how weights are held, but not whether activations are rounded on the way.
    """
    import openvino
    import openvino.opset13 as ops

    weights, inputs = probe_weights(bits, group)
    matrix = _probe_matrix(weights, bits)
    activations = ops.parameter([-1, -1, inputs.shape[1]], np.float32)
    model = openvino.Model([ops.matmul(activations, matrix, False, True)], [activations])
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    product = compiled([inputs[None]])[0]
    return probed_type(product, group, floating)


def _probe_matrix(weights: Groups, bits: int) -> Any:
    integers = pack(weights.integers, bits).ravel()
    return _floats(integers, weights.scales, weights.zeros, weights.integers.shape[1], bits)

"""From a model folder to OpenVINO's format (graph.xml and graph.bin), with the KV cache as state of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from servewatt.engines.shared.causal_graph import (
    CacheShape,
    example_inputs,
    probe_cache,
    register_attention,
    trace_graph,
)
from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.shared.host import metadata_version
from servewatt.engines.shared.torch_model import load_module
from servewatt.records import Model, Precision

GRAPH_FORMAT = "2"
"""Changes when this file would build another graph from the same versions of everything else."""


def convert_key(model: Model) -> tuple[str, ...]:
    """Everything the converted graph depends on."""
    packages = ("openvino", "torch", "transformers")
    return (model.revision, GRAPH_FORMAT, *(f"{package} {metadata_version(package)}" for package in packages))


def convert(model: Model, folder: Path) -> None:
    """Write `graph.xml` and `graph.bin`, weights in fp32, into `folder`.

    Until they are written the graph's weights are the checkpoint's mapped pages.
    """
    import openvino
    import torch

    with dropping_file_pages(".safetensors"):
        module = load_module(model, Precision.FP32, torch.device("cpu"), register_attention())
        cache = probe_cache(module)
        traced = trace_graph(module, cache)
        graph = openvino.convert_model(traced, example_input=example_inputs(module, cache))
        _name(graph, cache)
        _make_stateful(graph, cache)
        openvino.save_model(graph, folder / "graph.xml", compress_to_fp16=False)


def _name(graph: Any, cache: CacheShape) -> None:
    """Give inputs and outputs their names and shapes; drop `next_ids`, whose rule for ties OpenVINO leaves open."""
    import openvino

    shapes = ([-1, -1], [-1], *([-1, heads, -1, size] for heads, size in cache.flat))
    for port, name, shape in zip(graph.inputs, ("ids", "padding", *cache.input_names), shapes, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
    for port, name in zip(graph.outputs, ("logits", "next_ids", *cache.output_names), strict=True):
        port.get_tensor().set_names({name})
    graph.remove_result(graph.output("next_ids").get_node())
    graph.validate_nodes_and_infer_types()


def _make_stateful(graph: Any, cache: CacheShape) -> None:
    """Turn the cache's inputs and outputs into state, in the form that the CPU fuses with attention.

    That form selects the rows of the state by an input `beam_idx` (always 0, 1, 2 ... here) and starts each state
    as an empty tensor of the batch's size. Where attention is not one operator nothing fuses, and selecting would
    only copy.
    """
    import numpy as np
    import openvino.opset13 as ops
    from openvino.passes import MakeStateful, Manager

    passes = Manager()
    passes.register_pass(MakeStateful(dict(zip(cache.input_names, cache.output_names, strict=True))))
    passes.run_passes(graph)
    operators = graph.get_ordered_ops()
    fusible = any(op.get_type_name() == "ScaledDotProductAttention" for op in operators)
    axis = ops.constant(np.int64(0))
    batch = ops.gather(ops.shape_of(graph.input("ids"), "i64"), ops.constant(np.array([0])), axis)
    rows = ops.parameter([-1], np.int32, name="beam_idx")
    if fusible:
        rows.output(0).get_tensor().set_names({"beam_idx"})
        graph.add_parameters([rows])
    for state in operators:
        if state.get_type_name() != "ReadValue":
            continue
        readers = list(state.output(0).get_target_inputs())
        _, heads, _, size = state.get_output_partial_shape(0)
        shape = ops.concat([batch, ops.constant(np.array([heads.get_length(), 0, size.get_length()]))], 0)
        state.set_arguments([ops.broadcast(ops.constant(np.float32(0)), shape)])
        if fusible:
            selected = ops.gather(state, rows, axis)
            for reader in readers:
                reader.replace_source_output(selected.output(0))
    graph.validate_nodes_and_infer_types()

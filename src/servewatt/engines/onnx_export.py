"""From a model folder to an ONNX graph whose weights stay in the checkpoint.

The artefact holds `graph.onnx` (megabytes, whatever the model's size), `graph.json` (cache shape, and where each
weight lies) and, only for weights that the checkpoint does not hold as fp32, `weights.safetensors` with their fp32
values.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from servewatt.engines.causal_graph import (
    CacheShape,
    build_causal_graph,
    example_inputs,
    probe_cache,
    register_attention,
)
from servewatt.engines.torch_model import load_module, metadata_version
from servewatt.engines.weights import MappedWeights, StoredTensor, stored_tensors
from servewatt.records import Model, Precision

GRAPH_FORMAT = "3"
"""Changes when this file would build another graph from the same versions of everything else."""
INLINE_BYTES = 4096
"""Constants up to this size live in the graph."""


@dataclass(frozen=True)
class GraphDescription:
    """What graph.json holds."""

    cache: CacheShape
    in_checkpoint: Mapping[str, str]
    """Initialiser -> tensor of the model folder's safetensors."""
    converted: Sequence[str]
    """Initialisers whose values are in the artefact's own weights.safetensors."""
    shape_nodes: frozenset[str]
    """Names of nodes that compute shapes: integers of at most one dimension."""

    def write(self, folder: Path) -> None:
        (folder / "graph.json").write_text(json.dumps(asdict(self), indent=1, default=sorted), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> GraphDescription:
        fields = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
        pairs = {kind: tuple((h, s) for h, s in fields["cache"][kind]) for kind in ("keys", "values")}
        converted, shape_nodes = tuple(fields["converted"]), frozenset(fields["shape_nodes"])
        return cls(CacheShape(**pairs), fields["in_checkpoint"], converted, shape_nodes)

    def weights(self, artefact: Path, model: Model) -> tuple[MappedWeights, dict[str, str]]:
        """The mapped tensors, and the name among them of each initialiser."""
        tensors: dict[str, StoredTensor] = {}
        names: dict[str, str] = {}
        if self.in_checkpoint:
            tensors.update({f"checkpoint/{name}": t for name, t in stored_tensors(model.folder).items()})
            names.update({initialiser: f"checkpoint/{name}" for initialiser, name in self.in_checkpoint.items()})
        if self.converted:
            tensors.update({f"artefact/{name}": t for name, t in stored_tensors(artefact).items()})
            names.update({name: f"artefact/{name}" for name in self.converted})
        return MappedWeights(tensors), names


def export_key(model: Model) -> tuple[str, ...]:
    """Everything the exported graph depends on."""
    packages = ("torch", "transformers", "onnx", "onnxscript")
    return (model.revision, GRAPH_FORMAT, *(f"{package} {metadata_version(package)}" for package in packages))


def export(model: Model, folder: Path) -> None:
    """Write the artefact of `model` into `folder`. Peak memory stays near one copy of the weights."""
    import torch

    with torch.no_grad():
        module = load_module(model, Precision.FP32, torch.device("cpu"), register_attention())
        cache = probe_cache(module)
        graph = _export_graph(module, cache)
        graph = _simplify(graph)
        weights = _detach_weights(graph)
        import onnx_ir

        onnx_ir.save(graph, folder / "graph.onnx")
        in_checkpoint, converted = _locate(weights, model, module)
        if converted:
            from safetensors.torch import save_file

            save_file({name: tensor.contiguous() for name, tensor in converted.items()}, folder / "weights.safetensors")
    GraphDescription(cache, in_checkpoint, tuple(converted), _shape_nodes(graph)).write(folder)


def _export_graph(module: Any, cache: CacheShape) -> Any:
    import torch

    batch, new, past = (torch.export.Dim(name) for name in ("batch", "new", "past"))
    with _exporter_noise_accepted():
        program = torch.onnx.export(
            build_causal_graph(module),
            example_inputs(module, cache),
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=["ids", "padding", *cache.input_names],
            output_names=["logits", "next_ids", *cache.output_names],
            dynamic_shapes={
                "ids": {0: batch, 1: new},
                "padding": {0: batch},
                "past": tuple({0: batch, 2: past} for _ in cache.flat),
            },
        )
    assert program is not None
    return program.model


@contextmanager
def _exporter_noise_accepted() -> Iterator[None]:
    """What torch's exporter says of itself on every export."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*The axis name: .* will not be used")
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _simplify(graph: Any) -> Any:
    """Fold small constants and give products with a transposed weight their transposition as an attribute.

    ONNX Runtime would otherwise compute each transposed weight at load, a second copy of them all.
    """
    import onnx_ir
    import onnxscript.optimizer

    microsoft = "com.microsoft"
    fused = False
    for node in list(graph.graph):
        if node.op_type != "MatMul":
            continue
        left, right = node.inputs
        transpose = right.producer()
        if transpose is None or transpose.op_type != "Transpose" or not transpose.inputs[0].is_initializer():
            continue
        product = onnx_ir.node(
            "FusedMatMul", [left, transpose.inputs[0]], {"transB": 1}, domain=microsoft, num_outputs=1
        )
        product.outputs[0].name = node.outputs[0].name
        product.outputs[0].shape, product.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
        onnx_ir.convenience.replace_nodes_and_values(
            graph.graph, node, [node], [product], node.outputs, product.outputs
        )
        if not transpose.outputs[0].uses():
            graph.graph.remove(transpose, safe=True)
        fused = True
    if fused:
        graph.graph.opset_imports[microsoft] = 1
    # Last, because it would fold the transposed weights themselves.
    onnxscript.optimizer.optimize_ir(graph, input_size_limit=INLINE_BYTES, output_size_limit=INLINE_BYTES)
    return graph


def _shape_nodes(graph: Any) -> frozenset[str]:
    """Names of the nodes whose outputs are all integers (or truth values) of at most one dimension."""

    def is_shape(value: Any) -> bool:
        typed = value.dtype is not None and not value.dtype.is_floating_point()
        return typed and value.shape is not None and len(value.shape) <= 1

    return frozenset(node.name for node in graph.graph if all(is_shape(value) for value in node.outputs))


def _detach_weights(graph: Any) -> dict[str, Any]:
    """Replace large initialisers by references to data outside the graph; their torch tensors by name."""
    import onnx_ir
    import torch

    weights = {}
    for name, value in graph.graph.initializers.items():
        constant = value.const_value
        if constant is None or constant.nbytes <= INLINE_BYTES:
            continue
        raw = getattr(constant, "raw", None)
        weights[name] = raw if isinstance(raw, torch.Tensor) else torch.from_numpy(constant.numpy())
        value.const_value = onnx_ir.ExternalTensor(
            location="bound-at-load",
            offset=0,
            length=constant.nbytes,
            dtype=constant.dtype,
            shape=constant.shape,
            name=name,
        )
    return weights


def _locate(weights: Mapping[str, Any], model: Model, module: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Split weights into those the checkpoint holds, byte for byte, and those it does not."""
    stored = stored_tensors(model.folder)
    mapped = MappedWeights(stored)
    names_at: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names_at.setdefault(parameter.data_ptr(), []).append(name)
    prefix = f"{module.base_model_prefix}."
    in_checkpoint: dict[str, str] = {}
    converted: dict[str, Any] = {}
    for initialiser, tensor in weights.items():
        names = names_at.get(tensor.data_ptr(), [])
        candidates = [c for name in names for c in (name, name.removeprefix(prefix), prefix + name)]
        for candidate in candidates:
            found = stored.get(candidate)
            if found is None or found.dtype != "fp32" or found.shape != tuple(tensor.shape):
                continue
            if np.array_equal(mapped.array(candidate), tensor.numpy()):
                in_checkpoint[initialiser] = candidate
                break
        else:
            converted[initialiser] = tensor
    return in_checkpoint, converted

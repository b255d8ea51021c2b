"""From a model folder to an ONNX graph whose weights stay in the checkpoint.

The artefact holds `graph.onnx` (megabytes, whatever the model's size), `graph.json` (cache shape, and where each
weight lies) and, only for weights that the checkpoint does not hold or holds in a smaller type, `weights.safetensors`
with their values. Weights that the checkpoint holds in a larger type are rounded when the graph is loaded.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from servewatt.engines.onnx.graph import (
    CUDA_KERNELS,
    INLINE_BYTES,
    even_concats,
    matrix_products,
    shape_nodes,
    simplify,
    widen,
)
from servewatt.engines.onnx.static_graph import (
    OWN_INPUTS,
    OWN_OUTPUTS,
    build_static_graph,
    static_example_inputs,
)
from servewatt.engines.shared.causal_graph import (
    CacheShape,
    build_causal_graph,
    example_inputs,
    probe_cache,
    register_attention,
)
from servewatt.engines.shared.file_pages import drop_file_pages
from servewatt.engines.shared.host import metadata_version
from servewatt.engines.shared.torch_model import dtype_name, load_module, torch_dtype
from servewatt.engines.shared.weights import MappedWeights, StoredTensor, numpy_dtype, stored_tensors, tensors_of
from servewatt.records import Model, Precision

WEIGHTS_FILE = "weights.safetensors"
GRAPH_FORMAT = "4"
"""Changes when an export would make another graph from the same versions of everything else."""
STATIC_FORMAT = "1"
"""The same for what concerns graphs of fixed capacity only."""


@dataclass(frozen=True)
class GraphDescription:
    """Contents of graph.json."""

    cache: CacheShape
    dtype: str
    """Type of weights, cache and products: `fp32`, `bf16` or `fp16`."""
    in_checkpoint: Mapping[str, str]
    """Initialiser -> tensor of the model folder's safetensors, perhaps in a larger type."""
    converted: Sequence[str]
    """Initialisers whose values are in the artefact's own weights.safetensors."""
    initialiser_dtypes: Mapping[str, str]
    """Types of those initialisers that are not of type `dtype`."""
    shape_nodes: frozenset[str]
    """Names of nodes that compute shapes: integers of at most one dimension."""
    matrix_products: Mapping[str, int]
    """Type -> number of matrix products computed in it."""
    widened: int
    """Operators computed in fp32 between casts, for want of a kernel."""
    quantised: Mapping[str, str] = field(default_factory=dict)
    """Initialiser -> type (`int8` or `int4`) of the numbers packed into its bytes."""
    quantised_products: int = 0
    """Products with such weights."""
    floating_matrices: Sequence[str] = ()
    """Weights of products that a quantised graph leaves floating."""
    group: int = 0
    """Weights that share a scale; 0 where nothing is quantised."""

    def write(self, folder: Path) -> None:
        (folder / "graph.json").write_text(json.dumps(asdict(self), indent=1, default=sorted), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> GraphDescription:
        fields = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
        pairs = {kind: tuple((h, s) for h, s in fields["cache"][kind]) for kind in ("keys", "values")}
        fields |= {"cache": CacheShape(**pairs), "shape_nodes": frozenset(fields["shape_nodes"])}
        return cls(**fields | {"converted": tuple(fields["converted"])})

    def dtype_of(self, initialiser: str) -> str:
        return self.initialiser_dtypes.get(initialiser, self.dtype)

    def weights(self, artefact: Path, model: Model) -> tuple[MappedWeights, dict[str, str]]:
        """The mapped tensors, and the name among them of each initialiser."""
        tensors: dict[str, StoredTensor] = {}
        names: dict[str, str] = {}
        if self.in_checkpoint:
            tensors.update({f"checkpoint/{name}": t for name, t in stored_tensors(model.folder).items()})
            names.update({initialiser: f"checkpoint/{name}" for initialiser, name in self.in_checkpoint.items()})
        if self.converted:
            tensors.update({f"artefact/{name}": t for name, t in tensors_of((artefact / WEIGHTS_FILE,)).items()})
            names.update({name: f"artefact/{name}" for name in self.converted})
        return MappedWeights(tensors), names


def export_key(model: Model, precision: Precision, *, static: bool = False) -> tuple[str, ...]:
    """Everything the exported graph depends on."""
    packages = ("torch", "transformers", "onnx", "onnxscript")
    versions = (f"{package} {metadata_version(package)}" for package in packages)
    form = (f"static {STATIC_FORMAT}",) if static else ()
    return (model.revision, GRAPH_FORMAT, precision.value, *versions, *form)


def export(
    model: Model, folder: Path, precision: Precision, kernels: frozenset[str] | None = None, *, static: bool = False
) -> None:
    """Write the artefact of `model`, computing in `precision`, into `folder`.

    In half precision, operators that are not among `kernels` (by default those that CUDA has) are computed in fp32.
    `static` takes the graph whose cache has a fixed capacity (`static_graph`), not the one whose cache grows.
    Peak memory stays near one copy of the weights.
    """
    import torch

    with torch.no_grad():
        module = load_module(model, precision, torch.device("cpu"), register_attention())
        cache = probe_cache(module)
        graph = simplify(_export_static_graph(module, cache) if static else _export_graph(module, cache))
        if static:
            even_concats(graph)
        drop_file_pages(".safetensors")
        if kernels is None:
            kernels = CUDA_KERNELS.get(precision)
        widened = widen(graph, kernels) if kernels is not None else 0
        weights = _detach_weights(graph)
        import onnx_ir

        onnx_ir.save(graph, folder / "graph.onnx")
        in_checkpoint, converted = _locate(weights, model, module)
        if converted:
            from safetensors.torch import save_file

            save_file({name: tensor.contiguous() for name, tensor in converted.items()}, folder / WEIGHTS_FILE)
    dtype = dtype_name(torch_dtype(precision))
    dtypes = {name: dtype_name(tensor.dtype) for name, tensor in weights.items()}
    GraphDescription(
        cache=cache,
        dtype=dtype,
        in_checkpoint=in_checkpoint,
        converted=tuple(converted),
        initialiser_dtypes={name: other for name, other in dtypes.items() if other != dtype},
        shape_nodes=shape_nodes(graph),
        matrix_products=matrix_products(graph),
        widened=widened,
    ).write(folder)


def _export_graph(module: Any, cache: CacheShape) -> Any:
    import torch

    batch, new, past = (torch.export.Dim(name) for name in ("batch", "new", "past"))
    return _exported(
        build_causal_graph(module),
        example_inputs(module, cache),
        (["ids", "padding", *cache.input_names], ["logits", "next_ids", *cache.output_names]),
        {"ids": {0: batch, 1: new}, "padding": {0: batch}, "past": tuple({0: batch, 2: past} for _ in cache.flat)},
    )


def _export_static_graph(module: Any, cache: CacheShape) -> Any:
    import torch

    batch, new, capacity = (torch.export.Dim(name) for name in ("batch", "new", "capacity"))
    return _exported(
        build_static_graph(module),
        static_example_inputs(module, cache),
        ([*OWN_INPUTS, *cache.input_names], [*OWN_OUTPUTS, *cache.output_names]),
        {
            "ids": {0: batch, 1: new},
            "padding": {0: batch},
            "places": {0: new},
            "columns": {0: capacity},
            "past": tuple({0: batch, 2: capacity} for _ in cache.flat),
        },
    )


def _exported(module: Any, examples: Any, names: tuple[list[str], list[str]], dynamic_shapes: Any) -> Any:
    """`module` as a graph; `names` are those of its inputs and outputs."""
    import torch

    with _exporter_noise_accepted():
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=names[0],
            output_names=names[1],
            dynamic_shapes=dynamic_shapes,
        )
    assert program is not None
    return program.model


@contextmanager
def _exporter_noise_accepted() -> Iterator[None]:
    """Messages of torch's exporter on every export."""
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
    """Split weights into those that the checkpoint holds, or gives by rounding, and those that it does not."""
    stored = stored_tensors(model.folder)
    mapped = MappedWeights(stored)
    names_at: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names_at.setdefault(parameter.data_ptr(), []).append(name)
    prefix = f"{module.base_model_prefix}."

    def spellings(names: Iterable[str]) -> list[str]:
        return [c for name in names for c in (name, name.removeprefix(prefix), prefix + name)]

    # Some checkpoints have a name for the output projection that transformers renames.
    renamed = sorted(stored.keys() - set(spellings(name for names in names_at.values() for name in names)))
    in_checkpoint: dict[str, str] = {}
    converted: dict[str, Any] = {}
    for initialiser, tensor in weights.items():
        candidates = [*spellings(names_at.get(tensor.data_ptr(), [])), *renamed]
        held = next((c for c in candidates if c in stored and _gives(mapped, stored[c], c, tensor)), None)
        if held is None:
            converted[initialiser] = tensor
        else:
            in_checkpoint[initialiser] = held
        # Both the module and this comparison read the checkpoint's pages; two copies of them need not stay.
        drop_file_pages(".safetensors")
    return in_checkpoint, converted


def _gives(mapped: MappedWeights, stored: StoredTensor, name: str, tensor: Any) -> bool:
    """Whether the stored tensor, rounded if its type is larger, is `tensor` bit for bit."""
    import torch

    dtype = dtype_name(tensor.dtype)
    floating = {"fp32", "fp16", "bf16"}
    if stored.shape != tuple(tensor.shape) or not {dtype, stored.dtype} <= floating:
        return False
    if numpy_dtype(stored.dtype).itemsize < tensor.element_size():
        return False
    bits = {4: torch.int32, 2: torch.int16}[tensor.element_size()]
    found = mapped.array_as(name, dtype).view(np.dtype(f"i{tensor.element_size()}"))
    return np.array_equal(found, tensor.contiguous().view(bits).numpy())

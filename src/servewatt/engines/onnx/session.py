"""A session of ONNX Runtime over a graph whose cache grows: ids and cache stay on the device between steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.onnx.export import GraphDescription
from servewatt.engines.onnx.graph import PRODUCTS
from servewatt.engines.shared.causal_graph import empty_cache
from servewatt.engines.shared.decode import GraphSession
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.host import library_versions
from servewatt.records import Configuration, Facts, Provider

_DTYPES = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16"}
ELEMENT_TYPES = {"fp32": 1, "fp16": 10, "bf16": 16}
"""Numbers of onnx.TensorProto.DataType."""


@dataclass(frozen=True)
class LoadedGraph:
    """A session of ONNX Runtime with the objects that it depends on."""

    session: Any
    options: Any
    description: GraphDescription
    weights: dict[str, Any]
    """The value bound to each initialiser, which must outlive the session."""
    weight_bytes: tuple[tuple[str, int], ...]
    """Bytes of the weights by type."""
    quantised_type: str
    """As what activations meet quantised weights, `fp32` or `int8`; empty where nothing is quantised."""
    threads_started: int
    """Threads of this process that came into being with the session."""


def type_name(kind: str) -> str:
    """`fp32`, `fp16` or `bf16` for what ONNX Runtime calls the type of a tensor."""
    return _DTYPES.get(kind, kind)


@dataclass
class BoundState:
    """State of a generation between steps; all of it on the device."""

    padding: Any
    cache: list[Any]


@dataclass(frozen=True)
class StepOutput:
    """Outputs of the graph besides the cache."""

    logits: Any
    next_ids: Any


class OnnxSession(GraphSession[Any, StepOutput, Any]):
    """A session of ONNX Runtime, run by I/O binding: ids and cache never leave the device between steps."""

    def __init__(self, graph: LoadedGraph, configuration: Configuration) -> None:
        self._graph = graph
        self._session = graph.session
        self._on_cuda = configuration.provider is Provider.CUDA
        self._device = "cuda" if self._on_cuda else "cpu"
        self._cache_names = graph.description.cache.input_names
        self._output_names = ("logits", "next_ids", *graph.description.cache.output_names)
        self._proof: DecodeProof | None = None

    def _value(self, array: npt.NDArray[Any]) -> Any:
        import onnxruntime

        return onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device, 0)

    def _empty(self, shape: tuple[int, ...]) -> Any:
        import onnxruntime

        element = ELEMENT_TYPES[self._graph.description.dtype]
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, element, self._device, 0)

    def start(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int) -> tuple[Any, Any]:
        padding = ids.shape[1] - mask.sum(axis=1)
        cache = empty_cache(self._graph.description.cache, len(ids), self._empty)
        return self._value(ids), BoundState(self._value(padding), list(cache))

    def step(self, ids: Any, state: Any) -> tuple[StepOutput, Any]:
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("ids", ids)
        binding.bind_ortvalue_input("padding", state.padding)
        for name, value in zip(self._cache_names, state.cache, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name in self._output_names:
            binding.bind_output(name, self._device)
        self._session.run_with_iobinding(binding)
        logits, next_ids, *cache = binding.get_outputs()
        if self._proof is None and (before := state.cache[0].shape()[2]):
            self._proof = DecodeProof(ids.shape()[1], before, cache[0].shape()[2], type_name(cache[0].data_type()))
        state.cache = cache
        return StepOutput(logits, next_ids), state

    def argmax(self, logits: StepOutput) -> Any:
        return logits.next_ids

    def to_host(self, ids: Any) -> list[int]:
        tokens: list[int] = ids.numpy().ravel().tolist()
        return tokens

    def from_host(self, ids: npt.NDArray[np.int64]) -> Any:
        return self._value(np.ascontiguousarray(ids))

    def logits_to_host(self, logits: StepOutput) -> npt.NDArray[np.floating[Any]]:
        array: npt.NDArray[np.floating[Any]] = logits.logits.numpy()
        return array

    def synchronize(self) -> None:
        """Nothing to do: a run returns when its outputs are complete."""

    def peak_device_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._session = None
        del self._graph

    def facts(self) -> Facts:
        import onnxruntime

        options = self._session.get_session_options()
        products = self._products()
        proof = self._proof
        return Facts(
            engine_version=onnxruntime.__version__,
            libraries=library_versions(
                ("onnxruntime", "onnxruntime-gpu", "onnx", "onnxscript", "torch", "transformers", "numpy")
            ),
            devices=self._placement(),
            weight_dtypes=self._graph.weight_bytes,
            compute_dtype=products.most_common(1)[0][0] if products else "",
            kv_cache=proof is not None and proof.reuses_cache,
            kv_cache_dtype=proof.cache_dtype if proof is not None else "",
            threads=options.intra_op_num_threads,
            group=self._graph.description.group or None,
            tf32=self._tf32(),
            detail=(
                ("attention", "decomposed"),
                ("matrix_products", ", ".join(f"{n} {name}" for name, n in sorted(products.items()))),
                ("widened_operators", str(self._graph.description.widened)),
                ("providers", ", ".join(self._session.get_providers())),
                ("graph_optimization", str(options.graph_optimization_level).rpartition(".")[2]),
                ("spinning", options.get_session_config_entry("session.intra_op.allow_spinning")),
                ("threads_started", str(self._graph.threads_started)),
                *self._quantised_detail(),
                *self._cuda_detail(),
            ),
        )

    def _products(self) -> Counter[str]:
        """Matrix products by the type they are computed in; on the CPU, ONNX Runtime casts halves to fp32 for them."""
        products = Counter(self._graph.description.matrix_products)
        if quantised := self._graph.description.quantised_products:
            products[self._graph.quantised_type or "unknown"] += quantised
        if (dtype := self._graph.description.dtype) != "fp32":
            on_cpu = sum(device == "cpu" and node.op_type in PRODUCTS for device, node in self._assigned())
            products += Counter({"fp32": on_cpu})
            products -= Counter({dtype: on_cpu})
        return products

    def _assigned(self) -> Iterator[tuple[str, Any]]:
        """Each operator and its device, as ONNX Runtime assigned them."""
        for group in self._session.get_provider_graph_assignment_info():
            for node in group.get_nodes():
                yield group.ep_name.removesuffix("ExecutionProvider").lower(), node

    def _placement(self) -> tuple[tuple[str, int], ...]:
        """Operators by device, as ONNX Runtime assigned them.

        It computes shapes (integers of at most one dimension) on the CPU whatever the provider, because memory is
        allocated there; in a CUDA session those count as `cpu-shapes`, so that `cpu` is what ought not to be there.
        """
        devices: Counter[str] = Counter()
        for device, node in self._assigned():
            shapes = self._on_cuda and device == "cpu" and node.name in self._graph.description.shape_nodes
            devices["cpu-shapes" if shapes else device] += 1
        return tuple(sorted(devices.items()))

    def _quantised_detail(self) -> tuple[tuple[str, str], ...]:
        description = self._graph.description
        if not description.group:
            return ()
        left = ", ".join(description.floating_matrices)
        return (
            ("group", str(description.group)),
            ("quantised_products", str(description.quantised_products)),
            ("floating_matrices", left or "none"),
        )

    def _tf32(self) -> tuple[str, ...]:
        options = self._session.get_provider_options().get("CUDAExecutionProvider", {"use_tf32": "0"})
        return () if options.get("use_tf32") == "0" else ("use_tf32",)

    def _cuda_detail(self) -> tuple[tuple[str, str], ...]:
        options = self._session.get_provider_options().get("CUDAExecutionProvider")
        if options is None:
            return ()
        graph = "on" if options.get("enable_cuda_graph") == "1" else "off"
        return ("use_tf32", options.get("use_tf32", "unknown")), ("cuda_graph", graph)

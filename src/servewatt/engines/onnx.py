"""ONNX Runtime: an exported graph whose weights are bound from the checkpoint's pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines import check_options
from servewatt.engines.base import Artefacts, Session
from servewatt.engines.causal_graph import empty_cache
from servewatt.engines.decode import GraphSession
from servewatt.engines.file_pages import dropping_file_pages
from servewatt.engines.onnx_export import GraphDescription, export, export_key
from servewatt.engines.onnx_graph import PRODUCTS
from servewatt.engines.onnx_quantised import QUANTISED_FORMAT, graph_file, product_type, quantise_graph
from servewatt.engines.proof import DecodeProof
from servewatt.engines.quantisation import BITS, options_of, refuse_options
from servewatt.engines.torch_model import cpu_threads, library_versions
from servewatt.engines.weights import numpy_dtype
from servewatt.errors import RefusedError, UnavailableError
from servewatt.records import Configuration, Facts, Model, Precision, Provider

_DTYPES = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16"}
_FLOATING = frozenset({Precision.FP32, Precision.BF16, Precision.FP16})
_ELEMENT_TYPES = {"fp32": 1, "fp16": 10, "bf16": 16}
"""Numbers of onnx.TensorProto.DataType."""


class OnnxEngine:
    """Exports a model once, then loads the graph over the checkpoint's weights."""

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        _artefact(model, configuration, artefacts)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        providers = _providers(configuration)
        artefact = _artefact(model, configuration, artefacts)
        return OnnxSession(create_graph(artefact, model, configuration, providers), configuration)


def _artefact(model: Model, configuration: Configuration, artefacts: Artefacts) -> Path:
    """The folder of the graph: exported or, for quantised weights, made from an export."""
    _check(configuration)
    floating = _floating(configuration)
    key = export_key(model, floating)
    exported = artefacts.get_or_build("onnx", key, lambda folder: export(model, folder, floating))
    if configuration.precision in _FLOATING:
        return exported
    bits, group = BITS[configuration.precision], int(options_of(configuration)["group"])
    key = (*key, "quantised", QUANTISED_FORMAT, f"int{bits}", f"group {group}")
    return artefacts.get_or_build("onnx", key, lambda folder: quantise_graph(exported, model, folder, bits, group))


def _check(configuration: Configuration) -> None:
    """RefusedError for what ONNX Runtime has no kernels for."""
    check_options(configuration)
    precision, provider, key = configuration.precision, configuration.provider, configuration.key
    if precision in _FLOATING:
        refuse_options(configuration, ("group", "activations", "compute"))
        if precision is not Precision.FP32 and provider is Provider.CPU:
            raise RefusedError(
                f"{key}: on the CPU, ONNX Runtime casts half precision to fp32 and computes in that",
                "use precision fp32, or provider cuda",
            )
        return
    if precision is Precision.INT8 and provider is Provider.CPU:
        raise RefusedError(
            f"{key}: ONNX Runtime has no CPU kernel for floats times 8-bit weights; it would unpack them at every step",
            "use precision w8a8 or int4",
        )
    options = options_of(configuration)
    if provider is Provider.CUDA and (precision is Precision.W8A8 or options["activations"] == "int8"):
        raise RefusedError(
            f"{key}: on CUDA, ONNX Runtime multiplies quantised weights with floats only", "use int8 or int4"
        )
    if provider is Provider.CPU and options.get("compute", "fp32") != "fp32":
        raise RefusedError(f"{key}: on the CPU, ONNX Runtime computes in fp32", "leave out compute, or use cuda")


def _floating(configuration: Configuration) -> Precision:
    """The type of everything that is not quantised, and of the products with what is."""
    if configuration.precision in _FLOATING:
        return configuration.precision
    default = "fp32" if configuration.provider is Provider.CPU else "fp16"
    return Precision(dict(configuration.options).get("compute", default))


def _providers(configuration: Configuration) -> list[tuple[str, dict[str, str]]]:
    """ONNX Runtime's execution providers for the configuration; UnavailableError if this build lacks them."""
    import onnxruntime

    cpu: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})
    if configuration.provider is Provider.CPU:
        return [cpu]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise UnavailableError(
            f"{configuration.key}: this onnxruntime ({onnxruntime.__version__}) has no CUDAExecutionProvider",
            "pip uninstall onnxruntime; pip install 'servewatt[onnx-gpu]'; or use provider cpu",
        )
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    # TF32 off: fp32 means fp32.
    return [("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0"}), cpu]


@dataclass(frozen=True)
class LoadedGraph:
    """A session of ONNX Runtime and what it stands on."""

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


def create_graph(
    artefact: Path, model: Model, configuration: Configuration, providers: list[tuple[str, dict[str, str]]]
) -> LoadedGraph:
    """A session of ONNX Runtime over an exported graph and the model's weights."""
    import onnxruntime

    description = GraphDescription.read(artefact)
    mapped, names = description.weights(artefact, model)
    weights, weight_bytes = {}, Counter[str]()
    for initialiser, name in names.items():
        array = mapped.array_as(name, description.dtype_of(initialiser))
        weights[initialiser] = _bound(array)
        dtype = description.quantised.get(initialiser) or _type_name(weights[initialiser])
        weight_bytes[dtype] += array.nbytes
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads(configuration)
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_external_initializers(list(weights), list(weights.values()))
    activations = options_of(configuration)["activations"] if description.group else ""
    path = str(artefact / (graph_file(activations) if activations else "graph.onnx"))
    threads_before = _thread_count()
    # Weights are packed or copied to the device; what is still needed comes back from the page cache.
    with dropping_file_pages(".safetensors"):
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    threads_started = _thread_count() - threads_before
    got = session.get_providers()
    if providers[0][0] not in got:
        raise UnavailableError(
            f"{configuration.key}: ONNX Runtime could not start {providers[0][0]}, it offers {', '.join(got)}",
            "check that the CUDA and cuDNN libraries it was built for are installed",
        )
    quantised_type = ""
    if activations:
        on_cpu = configuration.provider is Provider.CPU
        bits = BITS[configuration.precision]
        quantised_type = product_type(bits, description.group, activations) if on_cpu else description.dtype
    held = tuple(sorted(weight_bytes.items()))
    return LoadedGraph(session, options, description, weights, held, quantised_type, threads_started)


def _bound(array: npt.NDArray[Any]) -> Any:
    """The array as a value of ONNX Runtime, over the same memory."""
    from onnxruntime import OrtValue

    if array.dtype == numpy_dtype("bf16"):  # which numpy itself does not know
        return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _ELEMENT_TYPES["bf16"])
    return OrtValue.ortvalue_from_numpy(array)


def _type_name(value: Any) -> str:
    kind: str = value.data_type()
    return _DTYPES.get(kind, kind)


def _thread_count() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@dataclass
class BoundState:
    """What one generation carries from step to step; all of it on the device."""

    padding: Any
    cache: list[Any]


@dataclass(frozen=True)
class StepOutput:
    """What the graph yields besides the cache."""

    logits: Any
    next_ids: Any


class OnnxSession(GraphSession[Any, StepOutput, BoundState]):
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

        element = _ELEMENT_TYPES[self._graph.description.dtype]
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, element, self._device, 0)

    def start(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int
    ) -> tuple[Any, BoundState]:
        padding = ids.shape[1] - mask.sum(axis=1)
        cache = empty_cache(self._graph.description.cache, len(ids), self._empty)
        return self._value(ids), BoundState(self._value(padding), list(cache))

    def step(self, ids: Any, state: BoundState) -> tuple[StepOutput, BoundState]:
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
            self._proof = DecodeProof(ids.shape()[1], before, cache[0].shape()[2], _type_name(cache[0]))
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

    def _cuda_detail(self) -> tuple[tuple[str, str], ...]:
        options = self._session.get_provider_options().get("CUDAExecutionProvider")
        return () if options is None else (("use_tf32", options.get("use_tf32", "unknown")),)

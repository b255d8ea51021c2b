"""ONNX Runtime: an exported graph whose weights are bound from the checkpoint's pages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.onnx.entry import ENTRY
from servewatt.engines.onnx.export import GraphDescription, export, export_key
from servewatt.engines.onnx.quantised import QUANTISED_FORMAT, graph_file, product_type, quantise_graph
from servewatt.engines.onnx.replay import ReplaySession
from servewatt.engines.onnx.session import ELEMENT_TYPES, LoadedGraph, OnnxSession, type_name
from servewatt.engines.shared.exportable import check_exportable
from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.shared.host import cpu_threads, thread_count
from servewatt.engines.shared.quantisation import options_of, refuse_options
from servewatt.engines.shared.weights import numpy_dtype
from servewatt.errors import RefusedError, UnavailableError
from servewatt.records import Configuration, Model, Precision, Provider


class OnnxEngine:
    """Exports a model once, then loads the graph over the checkpoint's weights."""

    def check(self, model: Model, configuration: Configuration) -> None:
        _check(configuration)
        check_exportable(model)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        _artefact(model, configuration, artefacts)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        providers = _providers(configuration)
        artefact = _artefact(model, configuration, artefacts)
        graph = create_graph(artefact, model, configuration, providers)
        return (ReplaySession if _replays(configuration) else OnnxSession)(graph, configuration)


def _artefact(model: Model, configuration: Configuration, artefacts: Artefacts) -> Path:
    """The folder of the graph: exported or, for quantised weights, made from an export."""
    _check(configuration)
    check_exportable(model)
    floating = _floating(configuration)
    static = _replays(configuration)
    key = export_key(model, floating, static=static)
    exported = artefacts.get_or_build("onnx", key, lambda folder: export(model, folder, floating, static=static))
    if configuration.precision.is_floating:
        return exported
    bits, group = configuration.precision.bits, int(options_of(configuration)["group"])
    key = (*key, "quantised", QUANTISED_FORMAT, f"int{bits}", f"group {group}")
    return artefacts.get_or_build("onnx", key, lambda folder: quantise_graph(exported, model, folder, bits, group))


def _check(configuration: Configuration) -> None:
    """RefusedError for what ONNX Runtime has no kernels for."""
    ENTRY.check_options(configuration)
    precision, provider, key = configuration.precision, configuration.provider, configuration.key
    if _replays(configuration) and provider is Provider.CPU:
        raise RefusedError(f"{key}: graphs=on records steps in CUDA graphs", "leave out graphs, or use provider cuda")
    if precision.is_floating:
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


def _replays(configuration: Configuration) -> bool:
    """Whether decode steps are recorded in a CUDA graph and replayed."""
    return dict(configuration.options).get("graphs") == "on"


def _floating(configuration: Configuration) -> Precision:
    """The type of everything that is not quantised, and of the products with what is."""
    if configuration.precision.is_floating:
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
    options = {"device_id": "0", "use_tf32": "0", "enable_cuda_graph": "1" if _replays(configuration) else "0"}
    return [("CUDAExecutionProvider", options), cpu]


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
        dtype = description.quantised.get(initialiser) or type_name(weights[initialiser].data_type())
        if array.dtype != np.bool_:  # a mask, as GPT-Neo stores them
            weight_bytes[dtype] += array.nbytes
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads(configuration)
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # A block for each new shape of prompt could be asked for while a step is recorded, when no memory can be allocated.
    options.enable_mem_pattern = not _replays(configuration)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_external_initializers(list(weights), list(weights.values()))
    activations = options_of(configuration)["activations"] if description.group else ""
    path = str(artefact / (graph_file(activations) if activations else "graph.onnx"))
    threads_before = thread_count()
    # Weights are packed or copied to the device; what is still needed comes back from the page cache.
    with dropping_file_pages(".safetensors"):
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    threads_started = thread_count() - threads_before
    got = session.get_providers()
    if providers[0][0] not in got:
        raise UnavailableError(
            f"{configuration.key}: ONNX Runtime could not start {providers[0][0]}, it offers {', '.join(got)}",
            "check that the CUDA and cuDNN libraries it was built for are installed",
        )
    quantised_type = ""
    if activations:
        on_cpu = configuration.provider is Provider.CPU
        bits = configuration.precision.bits
        quantised_type = product_type(bits, description.group, activations) if on_cpu else description.dtype
    held = tuple(sorted(weight_bytes.items()))
    return LoadedGraph(session, options, description, weights, held, quantised_type, threads_started)


def _bound(array: npt.NDArray[Any]) -> Any:
    """The array as a value of ONNX Runtime, over the same memory."""
    from onnxruntime import OrtValue

    if array.dtype == numpy_dtype("bf16"):  # which numpy itself does not know
        return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), ELEMENT_TYPES["bf16"])
    return OrtValue.ortvalue_from_numpy(array)

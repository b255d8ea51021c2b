"""ONNX Runtime GenAI: graphs of its own model builder, decoded by its generator."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.onnxruntime_genai.entry import ENTRY
from servewatt.engines.onnxruntime_genai.export import GraphDescription, GraphType, check_model, export, export_key
from servewatt.engines.onnxruntime_genai.library import NO_TELEMETRY, quiet_library
from servewatt.engines.onnxruntime_genai.session import Graph, OnnxRuntimeGenAISession
from servewatt.engines.shared.cuda_libraries import load_libraries
from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.shared.host import cpu_threads, metadata_version, thread_count
from servewatt.engines.shared.quantisation import options_of, refuse_options
from servewatt.errors import RefusedError, UnavailableError
from servewatt.records import Configuration, Model, Precision, Provider

_CAN_RUN = {
    Provider.CPU: (Precision.FP32, Precision.INT4, Precision.W8A8),
    Provider.CUDA: (Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4),
}

_CUDA_LIBRARIES = ("libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcufft.so.12")
"""Libraries that onnxruntime-genai-cuda and ONNX Runtime's provider are linked to, in order of dependency."""


class OnnxRuntimeGenAIEngine:
    """Builds a model's graph once, then loads it."""

    def check(self, model: Model, configuration: Configuration) -> None:
        _graph_type(configuration)
        check_model(model)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        _artefact(model, configuration, artefacts)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        kind = _graph_type(configuration)
        check_model(model)
        _check_device(configuration)
        folder = _artefact(model, configuration, artefacts)
        threads_before = thread_count()
        with dropping_file_pages(".onnx.data"):
            loaded = _open(folder, configuration)
        # The thread that asks computes too. A GPU's driver starts threads of its own.
        threads = 1 + thread_count() - threads_before if configuration.provider is Provider.CPU else None
        return OnnxRuntimeGenAISession(
            loaded, Graph(GraphDescription.read(folder), kind, model.vocabulary_size, model.context_length, threads)
        )


def _graph_type(configuration: Configuration) -> GraphType:
    """The graph that a configuration runs; RefusedError for what the builder or the kernels do not have."""
    ENTRY.check_options(configuration)
    precision, provider = configuration.precision, configuration.provider
    if precision not in _CAN_RUN[provider]:
        able = ", ".join(p.value for p in _CAN_RUN[provider])
        raise RefusedError(
            f"{configuration.key}: no graphs with kernels for {precision.value} on {provider.value}", f"use {able}"
        )
    _check_threads(configuration)
    if precision.is_floating:
        refuse_options(configuration, ("group", "activations"))
        return GraphType(provider.value, precision)
    options = options_of(configuration)
    if provider is Provider.CUDA and options["activations"] == "int8":
        raise RefusedError(
            f"{configuration.key}: on CUDA, ONNX Runtime multiplies quantised weights with floats only",
            "leave out activations",
        )
    return GraphType(provider.value, precision, int(options["group"]), options["activations"])


def _check_threads(configuration: Configuration) -> None:
    """RefusedError for a number of threads beside a GPU: nothing shows there how many the library has started."""
    if configuration.provider is Provider.CUDA and configuration.threads is not None:
        raise RefusedError(
            f"{configuration.key}: onnxruntime-genai does not show how many CPU threads it has on CUDA",
            "leave out the number of threads (--threads)",
        )


def _artefact(model: Model, configuration: Configuration, artefacts: Artefacts) -> Path:
    """The folder of the built graph."""
    kind = _graph_type(configuration)
    check_model(model)
    os.environ[NO_TELEMETRY] = "1"
    return artefacts.get_or_build(
        "onnxruntime-genai", export_key(model, kind), lambda folder: export(model, kind, folder)
    )


def _check_device(configuration: Configuration) -> None:
    """UnavailableError where the installed library lacks the provider, or the libraries that the provider needs."""
    if configuration.provider is Provider.CPU:
        return
    key = configuration.key
    if metadata_version("onnxruntime-genai-cuda") is None:
        raise UnavailableError(
            f"{key}: this onnxruntime-genai is built without CUDA",
            "install onnxruntime-genai-cuda in its place, beside servewatt; or use provider cpu",
        )
    load_libraries(_CUDA_LIBRARIES, f"{key}: onnxruntime-genai-cuda", "pip install 'servewatt[onnx-gpu]'")
    if not quiet_library().is_cuda_available():
        raise UnavailableError(f"{key}: onnxruntime-genai finds no CUDA", "check `nvidia-smi`, or use provider cpu")


def _open(folder: Path, configuration: Configuration) -> Any:
    library = quiet_library()
    config = library.Config(str(folder))
    session = {"intra_op_num_threads": cpu_threads(configuration), "inter_op_num_threads": 1, "log_severity_level": 3}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    return library.Model(config)

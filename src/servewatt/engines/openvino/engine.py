"""OpenVINO: the traced model converted to a stateful graph that keeps the KV cache inside the runtime."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.openvino.entry import ENTRY
from servewatt.engines.openvino.export import convert, convert_key
from servewatt.engines.openvino.quantised import QUANTISED_FORMAT, product_type, quantise_graph
from servewatt.engines.shared.decode import GraphSession
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.exportable import check_exportable
from servewatt.engines.shared.file_pages import drop_file_pages, dropping_file_pages
from servewatt.engines.shared.host import cpu_threads, library_versions, text_of
from servewatt.engines.shared.quantisation import options_of, refuse_options
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Facts, Model, Precision, Provider

_TYPES = {Precision.FP32: "f32", Precision.BF16: "bf16"}
_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4"}
_CACHE_TYPES = {"fp32": "f32", "bf16": "bf16", "int8": "u8"}
_BITS = {"f32": 32, "f16": 16, "bf16": 16, "i8": 8, "u8": 8, "i4": 4, "u4": 4}
WEIGHTS_FILE = "graph.bin"
"""File of the artefact that holds the weights."""
PROPERTIES = (
    "EXECUTION_DEVICES",
    "INFERENCE_NUM_THREADS",
    "NUM_STREAMS",
    "INFERENCE_PRECISION_HINT",
    "KV_CACHE_PRECISION",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
)
"""Properties of a compiled model that say how it computes."""
_FUSED = frozenset({"LLMMLP", "QKVProjection"})
"""Layers of several matrices that OpenVINO makes of fully connected ones on CPUs with AMX."""
_LEAST_WEIGHT = 16
"""Smaller constants are the graph's own numbers, not weights."""


class OpenVinoEngine:
    """Converts a model once, then compiles it for the CPU."""

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)
        check_configuration(configuration)
        check_exportable(model)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        self.check(model, configuration)
        graph_folder(model, configuration, artefacts)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        import openvino

        self.check(model, configuration)
        artefact = graph_folder(model, configuration, artefacts)
        settings = plugin_settings(configuration)
        check_threads(settings)
        core = openvino.Core()
        graph = core.read_model(artefact / "graph.xml")
        masks = frozenset(op.get_friendly_name() for op in graph.get_ops() if _is_boolean(op))
        # The runtime maps the weights and packs what it reads.
        with dropping_file_pages(WEIGHTS_FILE):
            compiled = core.compile_model(graph, "CPU", settings)
        bits = configuration.precision.bits
        if configuration.precision.is_floating:
            return OpenVinoSession(compiled, masks)
        group = int(options_of(configuration)["group"])
        floating = _NAMES[settings["INFERENCE_PRECISION_HINT"]]
        return OpenVinoSession(compiled, masks, group, product_type(bits, group, settings, floating))


def graph_folder(model: Model, configuration: Configuration, artefacts: Artefacts) -> Path:
    """The folder of graph.xml and graph.bin: converted or, for quantised weights, made from a converted one.

    RefusedError for what OpenVINO does not run.
    """
    check_configuration(configuration)
    key = convert_key(model)
    converted = artefacts.get_or_build("openvino", key, lambda folder: convert(model, folder))
    if configuration.precision.is_floating:
        return converted
    bits = configuration.precision.bits
    group = int(options_of(configuration)["group"])
    key = (*key, "quantised", QUANTISED_FORMAT, f"int{bits}", f"group {group}")
    return artefacts.get_or_build("openvino", key, lambda folder: quantise_graph(converted, folder, bits, group))


def check_configuration(configuration: Configuration) -> None:
    """RefusedError for what OpenVINO does not run."""
    if configuration.provider is not Provider.CPU or configuration.precision is Precision.FP16:
        raise RefusedError(
            f"{configuration.key}: {configuration.engine} runs fp32, bf16, int8, int4 and w8a8 on the CPU",
            "use one of them",
        )
    if configuration.precision in _TYPES:
        refuse_options(configuration, ("group", "activations", "compute"))
    else:
        options = options_of(configuration)
        if options["activations"] == "int8" and "compute" in options:
            raise RefusedError(
                f"{configuration.key}: activations are int8, so is what is computed", "leave out compute"
            )
    if plugin_settings(configuration)["INFERENCE_PRECISION_HINT"] == "bf16" and not computes_bf16():
        raise RefusedError(
            f"{configuration.key}: OpenVINO computes in fp32 on a CPU without AVX-512, AMX or AVX-NE-CONVERT",
            "use fp32, int8 or int4 on this machine",
        )


_BF16_FLAGS = {"avx512f", "amx_bf16", "avx_ne_convert"}


def computes_bf16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether OpenVINO may compute in bf16 on this CPU: on x86 it needs one of three instruction sets.

    True where the CPU does not tell. What a loaded graph really computes in is in its facts all the same.
    """
    flags = re.search(r"^flags\s*:(.*)$", text_of(cpu_info), re.MULTILINE)
    return flags is None or not _BF16_FLAGS.isdisjoint(flags[1].split())


def check_threads(settings: Mapping[str, str], cpu_info: Path = Path("/proc/cpuinfo")) -> None:
    """RefusedError for one thread in bf16 on a CPU with AMX.

    OpenVINO 2026.4 fuses projections there, splits them between pairs of threads, and divides by how many pairs there
    are: the process dies by SIGFPE while it compiles.
    """
    if (settings["INFERENCE_PRECISION_HINT"], settings["INFERENCE_NUM_THREADS"]) != ("bf16", "1"):
        return
    if "amx_bf16" in cpu_info.read_text():
        raise RefusedError("OpenVINO crashes with one thread in bf16 on CPUs with AMX", "use two threads, or fp32")


def plugin_settings(configuration: Configuration) -> dict[str, str]:
    """How the plugin is to compute."""
    options = dict(configuration.options)
    quantised = None if configuration.precision.is_floating else options_of(configuration)
    floating = _TYPES.get(configuration.precision) or _CACHE_TYPES[options.get("compute", "fp32")]
    rounding = quantised is not None and quantised["activations"] == "int8"
    return {
        # The CPU computes fp32 models in bf16 and keeps the KV cache in 8 bits unless told otherwise.
        "INFERENCE_PRECISION_HINT": floating,
        "KV_CACHE_PRECISION": _CACHE_TYPES[options["cache"]] if "cache" in options else floating,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(cpu_threads(configuration)),
        # Weights that share a scale share inputs that do.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": quantised["group"] if quantised and rounding else "0",
    }


class OpenVinoSession(GraphSession[npt.NDArray[np.int64], npt.NDArray[np.float32], None]):
    """A compiled stateful model: its request holds the cache and the inputs that stay the same from step to step."""

    def __init__(self, compiled: Any, masks: frozenset[str], group: int = 0, quantised_type: str = "") -> None:
        """`masks`: names of operators whose result is boolean in the graph that was compiled.

        `quantised_type`: as what activations meet quantised weights, which share scales in groups of `group`.
        """
        self._compiled, self._masks = compiled, masks
        self._group, self._quantised_type = group, quantised_type
        self._request = compiled.create_infer_request()
        self._input_names = {name for port in compiled.inputs for name in port.get_names()}
        self._ids: npt.NDArray[Any] = np.empty(0, np.int64)
        """The request's input."""
        self._proof: DecodeProof | None = None

    def start(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int
    ) -> tuple[npt.NDArray[np.int64], None]:
        self._request.reset_state()
        self._set("padding", ids.shape[1] - mask.sum(axis=1))
        if "beam_idx" in self._input_names:
            self._set("beam_idx", np.arange(len(ids), dtype=np.int32))
        return ids, None

    def _set(self, name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Make a copy of `values` an input of the request; returns the copy."""
        import openvino

        tensor = openvino.Tensor(values)
        self._request.set_tensor(name, tensor)
        copy: npt.NDArray[Any] = tensor.data
        return copy

    def step(self, ids: npt.NDArray[np.int64], state: None) -> tuple[npt.NDArray[np.float32], None]:
        proving = self._proof is None and ids.shape[1] == 1
        before = self._cached_tokens() if proving else 0
        # `infer` with a dictionary of all inputs would make tensors of them at every step.
        if self._ids.shape == ids.shape:
            self._ids[...] = ids
        else:
            self._ids = self._set("ids", ids)
        self._request.start_async()
        self._request.wait()
        if proving and before:
            self._proof = DecodeProof(ids.shape[1], before, self._cached_tokens(), self._cache_dtype())
            # Some weights are packed when they are first used.
            drop_file_pages(WEIGHTS_FILE)
        logits: npt.NDArray[np.float32] = self._request.get_output_tensor().data
        return logits, None

    def properties(self) -> dict[str, str]:
        """The values of `PROPERTIES` for this compiled model."""
        values = ((name, self._compiled.get_property(name)) for name in PROPERTIES)
        return {name: _text(value) for name, value in values}

    def _cached_tokens(self) -> int:
        return int(self._request.query_state()[0].state.shape[2])

    def _cache_dtype(self) -> str:
        """Type of the cache inside the runtime, which packs it only where attention is one operator."""
        operators = self._compiled.get_runtime_model().get_ordered_ops()
        packed = any(_info(operator, "layerType") == "ScaledDotProductAttention" for operator in operators)
        setting = "KV_CACHE_PRECISION" if packed else "INFERENCE_PRECISION_HINT"
        plain = str(self._compiled.get_property(setting).to_string())
        return _NAMES.get(plain, plain)

    def argmax(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        ids: npt.NDArray[np.int64] = logits.argmax(axis=-1, keepdims=True)
        return ids

    def to_host(self, ids: npt.NDArray[np.int64]) -> list[int]:
        tokens: list[int] = ids.ravel().tolist()
        return tokens

    def from_host(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.ascontiguousarray(ids)

    def logits_to_host(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
        return logits

    def synchronize(self) -> None:
        """Nothing to do: inference returns when it is complete."""

    def peak_device_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        del self._request, self._compiled

    def facts(self) -> Facts:
        import openvino

        operators = self._compiled.get_runtime_model().get_ordered_ops()
        kinds = [_info(op, "layerType") for op in operators]
        running = [kind for kind in kinds if kind not in {"Const", "Input", "Output"}]
        products = Counter(
            self._product_type(op)
            for op, kind in zip(operators, kinds, strict=True)
            if kind in {"FullyConnected", "MatMul", *_FUSED}
        )
        proof = self._proof
        return Facts(
            engine_version=openvino.__version__,
            libraries=library_versions(("openvino", "torch", "transformers", "numpy")),
            devices=tuple((d.lower(), len(running)) for d in self._compiled.get_property("EXECUTION_DEVICES")),
            weight_dtypes=_held_weights(operators, self._masks),
            lookup_dtypes=_held_weights(operators, self._masks | _computed_with(operators)),
            compute_dtype=products.most_common(1)[0][0] if products else "",
            kv_cache=proof is not None and proof.reuses_cache,
            kv_cache_dtype=proof.cache_dtype if proof is not None else "",
            threads=int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            group=self._group or None,
            detail=(
                ("attention", "sdpa" if "ScaledDotProductAttention" in running else "decomposed"),
                ("matrix_products", ", ".join(f"{n} {name}" for name, n in sorted(products.items()))),
                ("inference_precision", type_name(self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string())),
                ("streams", str(self._compiled.get_property("NUM_STREAMS"))),
                *self._quantised_detail(operators),
            ),
        )

    def _product_type(self, operator: Any) -> str:
        """Type in which a product is computed; for quantised weights the runtime notes only how they are held."""
        noted = type_name(_info(operator, "runtimePrecision"))
        return (self._quantised_type or "unknown") if noted in {"int8", "int4"} else noted

    def _quantised_detail(self, operators: list[Any]) -> tuple[tuple[str, str], ...]:
        if not self._group:
            return ()
        noted = [
            type_name(_info(op, "runtimePrecision")) for op in operators if _info(op, "layerType") == "FullyConnected"
        ]
        rounding = self._compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
        return (
            ("group", str(self._group)),
            ("quantised_products", str(sum(name in {"int8", "int4"} for name in noted))),
            ("floating_matrices", str(sum(name not in {"int8", "int4"} for name in noted))),
            ("dynamic_quantization_group_size", str(rounding)),
        )


def _info(operator: Any, key: str) -> str:
    """What the runtime model notes of an operator."""
    text: str = operator.get_rt_info()[key].astype(str)
    return text


def _text(value: Any) -> str:
    """A property's value as OpenVINO prints it."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value.to_string() if hasattr(value, "to_string") else value)


def type_name(openvino_type: str) -> str:
    """`fp32` for f32, and so on; OpenVINO's own name for the rest."""
    return _NAMES.get(openvino_type, openvino_type)


def _is_boolean(operator: Any) -> bool:
    outputs = operator.outputs()
    return len(outputs) == 1 and outputs[0].get_element_type().to_string() == "boolean"


def _computed_with(operators: list[Any]) -> frozenset[str]:
    """Names of what operators read otherwise than by looking rows up in it, as Gather does with its first input."""
    names: set[str] = set()
    for operator in operators:
        sources = [port.get_node().get_friendly_name() for port in operator.input_values()]
        names.update(sources[1:] if _info(operator, "layerType") == "Gather" else sources)
    return frozenset(names)


def _stored(operator: Any) -> str:
    """Name of the constant that an operator passes on, in another type or order."""
    while _info(operator, "layerType") in {"Reorder", "Convert"}:
        operator = operator.input_value(0).get_node()
    name: str = operator.get_friendly_name()
    return name


def _held_weights(operators: list[Any], masks: frozenset[str]) -> tuple[tuple[str, int], ...]:
    """(dtype, bytes) of the constants of the runtime model but `masks`, which it holds as 8-bit integers.

    The runtime packs the weights of fully connected layers into the type their kernel computes in, which the last
    part of the kernel's name tells (`brgemm_avx512_bf16`); the constant itself stays as stored and is not read again.
    So it does with those of layers that it fuses on CPUs with AMX, once they are reordered.
    """
    packed_as: dict[str, str] = {}
    for operator in operators:
        if _info(operator, "layerType") in _FUSED:
            for port in operator.input_values()[1:]:
                packed_as[_stored(port.get_node())] = _info(operator, "primitiveType").rpartition("_")[2]
        if _info(operator, "layerType") == "FullyConnected":
            source = operator.input_value(1).get_node().get_friendly_name()
            stored = operator.input_value(1).get_element_type().to_string()
            if type_name(stored) not in {"int8", "int4"}:
                packed_as[source] = _info(operator, "primitiveType").rpartition("_")[2]
    sizes: Counter[str] = Counter()
    for operator in operators:
        if _info(operator, "layerType") != "Const" or operator.get_output_partial_shape(0).is_dynamic:
            continue
        stored = operator.get_output_element_type(0).to_string()
        name = operator.get_friendly_name()
        if name in masks:
            continue
        dtype = packed_as.get(name, stored)
        elements = math.prod(operator.get_output_shape(0))
        if elements >= _LEAST_WEIGHT and dtype in _BITS:
            sizes[type_name(dtype)] += elements * _BITS[dtype] // 8
    return tuple(sorted(sizes.items()))

"""From a model folder to a graph of ONNX Runtime GenAI, by the library's own model builder.

The builder's classes are driven here rather than its command line, which wants a tokenizer and loads weights that are
missing from the checkpoint as random numbers. https://onnxruntime.ai/docs/genai/howto/build-model.html
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servewatt.checkpoints.decoder import Feature
from servewatt.checkpoints.rotary import DEFAULT
from servewatt.engines.onnx.quantised import ACCURACY_LEVELS
from servewatt.engines.shared.decoder import decoder_of, refuse_missing
from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.shared.host import metadata_version
from servewatt.engines.shared.torch_model import load_module
from servewatt.engines.shared.weights import stored_tensors
from servewatt.errors import RefusedError
from servewatt.records import Model, Precision

EXPORT_FORMAT = "2"
"""Changes when this file would write another graph from the same versions of everything else."""
GRAPH_FILE = "model.onnx"
DESCRIPTION_FILE = "graph.json"
PAD_ID = -1
"""Stands for no token: the library masks it, and the embedding's lookup, which counts from the end, finds a row."""
ARCHITECTURES = {
    "GemmaForCausalLM": "GemmaModel",
    "LlamaForCausalLM": "LlamaModel",
    "PhiForCausalLM": "PhiModel",
    "Qwen2ForCausalLM": "QwenModel",
    "Qwen3ForCausalLM": "Qwen3Model",
}
"""Those of the builder's that servewatt knows -> the builder's class."""
_ABLE = frozenset({Feature.ROTARY_PARTIAL, Feature.ROTARY_LLAMA3})
_BUILT_BY = ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime", "onnxruntime-gpu", "onnx-ir", "transformers")
_BUILDER_BITS = {Precision.INT4: "int4", Precision.INT8: "int8", Precision.W8A8: "int8"}
_ROTATED_TOGETHER = 16
"""Of which GroupQueryAttention wants the rotated part of a head to be a multiple."""
_TABLES = ("cos_cache", "sin_cache")
"""Initialisers that are not weights: angles of the rotary embedding."""


@dataclass(frozen=True)
class GraphType:
    """The request to the builder."""

    provider: str
    """cpu or cuda."""
    precision: Precision
    group: int | None = None
    """Weights that share a scale; None where nothing is quantised."""
    activations: str = ""
    """float or int8; empty where nothing is quantised."""

    @property
    def builder_precision(self) -> str:
        return _BUILDER_BITS.get(self.precision, self.precision.value)


@dataclass(frozen=True)
class GraphDescription:
    """Contents of a built graph, read from the graph itself."""

    weight_dtypes: tuple[tuple[str, int], ...]
    """(dtype, bytes)."""
    weights: int
    """Number of them."""
    products: tuple[tuple[str, int], ...]
    """(dtype of the weight, number of products with one)."""
    floating: str
    """Type of what is not quantised, the KV cache included."""
    attention: str
    """Name of the operator."""

    @classmethod
    def read(cls, folder: Path) -> GraphDescription:
        found: dict[str, Any] = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        for name in ("weight_dtypes", "products"):
            found[name] = tuple((dtype, count) for dtype, count in found[name])
        return cls(**found)


def check_model(model: Model) -> None:
    """RefusedError for an architecture, or a part of one, that the builder does not have or leaves out unsaid."""
    if model.architecture not in ARCHITECTURES:
        raise RefusedError(
            f"{model.name}: the model builder of ONNX Runtime GenAI does not build {model.architecture}",
            f"this engine runs {', '.join(ARCHITECTURES)}; engine onnx runs the others",
        )
    shape = decoder_of(model)
    known = (DEFAULT, "llama3") if model.architecture == "LlamaForCausalLM" else (DEFAULT,)
    for rotary in shape.rotaries:
        if rotary.kind not in known:
            raise RefusedError(f"{model.name}: no rotary embeddings of type {rotary.kind!r}", "use engine onnx")
        if rotary.size % _ROTATED_TOGETHER:
            raise RefusedError(
                f"{model.name}: it rotates {rotary.size} numbers of a head, ONNX Runtime a multiple of "
                f"{_ROTATED_TOGETHER}",
                "use engine onnx",
            )
    able = _ABLE | ({Feature.QUERY_KEY_NORM_HEAD} if model.architecture == "Qwen3ForCausalLM" else set())
    refuse_missing(shape, model.name, "the model builder of ONNX Runtime GenAI leaves out", able, "use engine onnx")


def export_key(model: Model, kind: GraphType) -> tuple[str, ...]:
    """Everything the built graph depends on."""
    versions = (f"{package} {metadata_version(package)}" for package in _BUILT_BY)
    asked = (kind.provider, kind.precision.value, f"group {kind.group}", f"activations {kind.activations}")
    return (model.revision, *asked, EXPORT_FORMAT, *versions)


def export(model: Model, kind: GraphType, folder: Path) -> None:
    """Write the graph, its weights, the library's configuration and a GraphDescription into `folder`.

    Holds the whole model in memory, in fp32 where weights are to be quantised. RefusedError for what the builder
    cannot build, InputError for broken or incomplete weights.
    """
    check_model(model)
    stored_tensors(model.folder)
    with _quiet(), dropping_file_pages(".safetensors"):
        try:
            _build(model, kind, folder)
        except NotImplementedError as error:
            raise RefusedError(f"{model.name}: the model builder refuses: {error}", "use engine onnx") from error
    _settle_tokens(folder / "genai_config.json", model)
    text = json.dumps(asdict(_describe(folder / GRAPH_FILE)))
    (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def _build(model: Model, kind: GraphType, folder: Path) -> None:
    import torch
    from onnxruntime_genai.models import builder
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model.folder, local_files_only=True, trust_remote_code=False)
    # transformers computes with hidden_act; the builder would prefer this one.
    config.hidden_activation = None
    config.tie_word_embeddings = decoder_of(model).tied
    options = _options(kind, tied=config.tie_word_embeddings)
    quantised = kind.group is not None
    precision = Precision.FP32 if quantised else kind.precision
    made = _builder_class(
        getattr(builder, ARCHITECTURES[model.architecture]),
        lambda: load_module(model, precision, torch.device("cpu"), "eager"),
    )(
        config,
        builder.set_io_dtype(kind.builder_precision, kind.provider, options),
        builder.set_onnx_dtype(kind.builder_precision, options),
        kind.provider,
        str(folder / "temporary"),
        options,
    )
    if model.architecture == "GemmaForCausalLM":
        # The builder rounds it to two decimals, which is all that bf16 would keep.
        made.embed_attrs["scale"] = math.sqrt(config.hidden_size)
    with torch.no_grad():
        made.make_model(model.folder)
        made.save_model(str(folder))
        made.make_genai_config(config, {}, str(folder))


def _builder_class(base: Any, load: Callable[[], Any]) -> Any:
    """The builder's class, with weights from `load` and without a tokenizer."""
    return type(
        base.__name__,
        (base,),
        {
            "load_weights": lambda self, input_path: load(),
            "resolve_special_token_ids": lambda self, config, extra_kwargs: (0, 0, 0),
        },
    )


def _options(kind: GraphType, *, tied: bool) -> dict[str, Any]:
    """The builder's extra options.

    An embedding that is tied to the output projection shares its 4-bit weights. Any other keeps a table of its own:
    ONNX Runtime would make one from a floating projection when it loads the graph.
    """
    if kind.group is None:
        return {"shared_embeddings": False}
    shared = tied and kind.precision is Precision.INT4
    options: dict[str, Any] = {"shared_embeddings": shared, "block_size": kind.group}
    options["op_types_to_quantize"] = ("MatMul", "Gather") if shared else ("MatMul",)
    if kind.provider == "cpu":
        options["accuracy_level"] = ACCURACY_LEVELS[kind.activations]
    return options


def _settle_tokens(path: Path, model: Model) -> None:
    """No token is special but one, which the library insists on; see `servewatt.engines.onnxruntime_genai.session`."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"] |= {"eos_token_id": model.vocabulary_size - 1, "pad_token_id": PAD_ID}
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")


def _describe(path: Path) -> GraphDescription:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    held = {i.name: i for i in graph.initializer if i.dims and i.name not in _TABLES}
    quantised = dict(_quantised(graph))
    names = {i: quantised.get(i) or _dtype_name(held[i].data_type) for i in held}
    sizes = Counter[str]()
    for name, tensor in held.items():
        item_bytes = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        sizes[names[name]] += math.prod(tensor.dims) * item_bytes
    operators = [node for node in graph.node if node.op_type in ("MatMul", "Gemm", "MatMulNBits")]
    products = Counter(names[node.input[1]] for node in operators if node.input[1] in names)
    cache = next(value for value in graph.output if value.name == "present.0.key")
    attention = next(node.op_type for node in graph.node if node.op_type.endswith("Attention"))
    return GraphDescription(
        tuple(sorted(sizes.items())),
        len(held),
        tuple(products.most_common()),
        _dtype_name(cache.type.tensor_type.elem_type),
        attention,
    )


def _quantised(graph: Any) -> Iterator[tuple[str, str]]:
    """(initialiser, type of the numbers packed in its bytes)."""
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            attributes: Mapping[str, Any] = {attribute.name: attribute for attribute in node.attribute}
            yield node.input[1], f"int{attributes['bits'].i}"


def _dtype_name(element_type: int) -> str:
    import onnx

    names = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16"}
    name: str = onnx.TensorProto.DataType.Name(element_type)
    return names.get(name, name.lower())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the builder's progress output."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

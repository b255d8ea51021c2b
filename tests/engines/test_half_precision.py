"""Half precision in ONNX, which is for CUDA, checked on the CPU: there ONNX Runtime casts, so only numbers can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from servewatt.engines import Session
from servewatt.engines.onnx.engine import create_graph
from servewatt.engines.onnx.export import GraphDescription, export
from servewatt.engines.onnx.graph import CUDA_KERNELS
from servewatt.engines.onnx.session import OnnxSession
from servewatt.engines.proof import violations
from servewatt.engines.shared.causal_graph import example_inputs, probe_cache, register_attention, trace_graph
from servewatt.engines.shared.decode import GraphSession, left_pad
from servewatt.engines.shared.torch_model import load_module
from servewatt.engines.shared.weights import MappedWeights, stored_tensors
from servewatt.records import Configuration, Model, Precision
from tests.engines.tiny import SIZES, FolderArtefacts, model_of, random_prompts, session_generate

pytestmark = pytest.mark.engine

HALF_TYPES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
Load = Callable[[Model, Configuration], Session]
Exported = Callable[[str, Precision], Path]


@pytest.fixture(scope="module")
def exported(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The artefact for CUDA of a tiny model."""

    @cache
    def make(kind: str, precision: Precision) -> Path:
        folder = tmp_path_factory.mktemp(f"{kind}-{precision.value}")
        export(model_of(folder_of(kind)), folder, precision)
        return folder

    return make


def on_cpu(artefact: Path, model: Model, precision: Precision) -> OnnxSession:
    configuration = Configuration("onnx", precision=precision, threads=1)
    return OnnxSession(create_graph(artefact, model, configuration, [("CPUExecutionProvider", {})]), configuration)


def prefill_logits(session: Session) -> npt.NDArray[np.float32]:
    """Logits after four padded prompts."""
    assert isinstance(session, GraphSession)
    ids, state = session.start(*left_pad(random_prompts(4)), 1)
    out: Any = session.step(ids, state)[0]
    logits = out.float() if isinstance(out, torch.Tensor) else out.logits
    return np.asarray(logits.numpy())


@pytest.mark.parametrize("kind", SIZES)
def test_fp16_is_as_close_to_fp32_as_torch_in_fp16(
    kind: str, exported: Exported, folder_of: Callable[[str], Path], load: Load
) -> None:
    model = model_of(folder_of(kind))
    session = on_cpu(exported(kind, Precision.FP16), model, Precision.FP16)
    torch_fp16 = load(model, Configuration("torch", precision=Precision.FP16, threads=1))
    exact = prefill_logits(load(model, Configuration("torch", threads=1)))

    ours, theirs = np.abs(prefill_logits(session) - exact).max(), np.abs(prefill_logits(torch_fp16) - exact).max()
    assert 0 < ours < 3 * theirs
    got, expected = (np.array(session_generate(s, random_prompts(4), 8, 4)) for s in (session, torch_fp16))
    assert (got == expected).mean() > 0.7

    facts = session.facts()
    assert dict(facts.weight_dtypes).keys() == {"fp16"}
    assert 0.9 < 2 * dict(facts.weight_dtypes)["fp16"] / model.weight_bytes < 1
    assert (facts.kv_cache, facts.kv_cache_dtype) == (True, "fp16")
    assert facts.compute_dtype == "fp32", "on the CPU, products are cast to fp32, and that must show"
    assert violations(Configuration("onnx", precision=Precision.FP16, threads=1), facts) != ()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom"])
def test_bf16_is_as_close_to_fp32_as_torch_in_bf16(
    kind: str, folder_of: Callable[[str], Path], load: Load, tmp_path: Path
) -> None:
    model = model_of(folder_of(kind))
    # The CPU has next to no kernel for bf16, so everything is widened: values between operators are still bf16.
    export(model, tmp_path, Precision.BF16, frozenset({"Cast", "Shape"}))
    session = on_cpu(tmp_path, model, Precision.BF16)
    torch_bf16 = load(model, Configuration("torch", precision=Precision.BF16, threads=1))
    exact = prefill_logits(load(model, Configuration("torch", threads=1)))
    ours, theirs = np.abs(prefill_logits(session) - exact).max(), np.abs(prefill_logits(torch_bf16) - exact).max()
    assert 0 < ours < 3 * theirs
    list(session.generate(random_prompts(2), 3))
    facts = session.facts()
    assert dict(facts.weight_dtypes).keys() == {"bf16"}
    assert facts.kv_cache_dtype == "bf16"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom", "phi"])
def test_the_graph_for_cuda_has_a_kernel_for_every_operator(kind: str, exported: Exported) -> None:
    for precision in (Precision.BF16, Precision.FP16):
        artefact = exported(kind, precision)
        model = onnx.load(artefact / "graph.onnx", load_external_data=False)
        types = {i.name: i.data_type for i in model.graph.initializer}
        for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
            types[value.name] = value.type.tensor_type.elem_type
        halves = {n.op_type for n in model.graph.node if any(types.get(name) in HALF_TYPES for name in n.input)}
        assert halves <= CUDA_KERNELS[precision]
        assert all(name in types for n in model.graph.node for name in n.input if name), "a value without a type"
        (argmax,) = (n for n in model.graph.node if n.op_type == "ArgMax")
        assert types[argmax.input[0]] == onnx.TensorProto.FLOAT
        cache = {types[i.name] for i in model.graph.input if i.name.startswith(("key", "value"))}
        assert {onnx.TensorProto.DataType.Name(t) for t in cache} == {
            "BFLOAT16" if precision is Precision.BF16 else "FLOAT16"
        }
        description = GraphDescription.read(artefact)
        assert set(description.matrix_products) == {precision.value}
        assert not description.converted, "the checkpoint gives every weight by rounding"
        for initialiser in [i for i in model.graph.initializer if i.data_location == onnx.TensorProto.EXTERNAL]:
            shape = onnx.helper.make_tensor_value_info(initialiser.name, initialiser.data_type, initialiser.dims)
            model.graph.input.append(shape)
            model.graph.initializer.remove(initialiser)
        onnx.checker.check_model(model)


def test_weights_are_rounded_to_nearest_when_loaded(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("llama")
    mapped = MappedWeights(stored_tensors(folder))
    for name, tensor in load_file(folder / "model.safetensors").items():
        for dtype, torch_type in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
            ours = mapped.array_as(name, dtype).view(np.int16)
            np.testing.assert_array_equal(ours, tensor.to(torch_type).view(torch.int16).numpy())


def test_a_checkpoint_in_bf16_is_bound_in_bf16_and_widened_once_for_fp32(
    folder_of: Callable[[str], Path], tmp_path: Path, load: Load
) -> None:
    source, folder = folder_of("llama"), tmp_path / "stored-bf16"
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    stored = {name: tensor.bfloat16() for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    model = model_of(folder)

    half = tmp_path / "half"
    half.mkdir()
    export(model, half, Precision.BF16)
    assert {path.name for path in half.iterdir()} == {"graph.onnx", "graph.json"}

    artefacts = FolderArtefacts(tmp_path / "artefacts")
    configuration = Configuration("onnx", threads=1)
    from servewatt.engines.onnx.engine import OnnxEngine

    session = OnnxEngine().load(model, configuration, artefacts)
    assert list(tmp_path.glob("artefacts/*/weights.safetensors"))
    expected = session_generate(load(model, Configuration("torch", threads=1)), random_prompts(4), 16, 4)
    assert session_generate(session, random_prompts(4), 16, 4) == expected
    assert violations(configuration, session.facts()) == ()


@pytest.mark.parametrize("kind", SIZES)
def test_a_trace_bakes_in_no_tensor_of_another_device(kind: str, folder_of: Callable[[str], Path]) -> None:
    """Traced on a device that is not the CPU, only single numbers may be on the CPU: PyTorch takes those anywhere."""
    module = load_module(model_of(folder_of(kind)), Precision.BF16, torch.device("cpu"), register_attention())
    shape = probe_cache(module)
    traced = trace_graph(module.to("meta"), shape)
    graph = traced.inlined_graph
    constants = [n for n in graph.findAllNodes("prim::Constant") if n.hasAttribute("value")]
    tensors = [n.t("value") for n in constants if n.kindOf("value") == "t"]
    assert [t.shape for t in tensors if t.device.type == "cpu" and t.dim() > 0] == []
    assert "cpu" not in {n.s("value") for n in constants if n.kindOf("value") == "s"}
    assert {out.dtype for out in example_inputs(module, shape)[2:]} == {torch.bfloat16}


def test_scores_of_padding_do_not_overflow_in_fp16() -> None:
    """A query of padding may look nowhere; with scores of -100 its masked scores must stay finite."""
    from servewatt.engines.shared.causal_graph import _additive_mask

    mask = _additive_mask(
        1,
        2,
        2,
        mask_function=lambda _rows, _heads, queries, keys: keys <= queries,
        attention_mask=torch.tensor([[0, 1]]),
        dtype=torch.float16,
        device=torch.device("cpu"),
    )
    scores = torch.full((1, 1, 2, 2), -100, dtype=torch.float16) + mask
    assert torch.isfinite(scores).all()
    weights = scores.softmax(-1)
    assert weights[0, 0, 1].tolist() == [0, 1]
    assert weights[0, 0, 0].tolist() == [0.5, 0.5]

"""The engine onnxruntime-genai: tokens, what it shows, what it refuses. Skipped where the library is not installed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servewatt.engines import Session
from servewatt.engines.onnxruntime_genai.engine import OnnxRuntimeGenAIEngine
from servewatt.engines.proof import violations
from servewatt.engines.shared.host import metadata_version
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.conftest import NEW_TOKENS
from tests.engines.libraries import imported_with, require, with_session
from tests.engines.tiny import (
    FolderArtefacts,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    transformers_log_probabilities,
    write_model,
)

require("onnxruntime-genai")
pytestmark = pytest.mark.engine

FP32 = Configuration("onnxruntime-genai", threads=1)
INT4 = replace(FP32, precision=Precision.INT4)
W8A8 = replace(FP32, precision=Precision.W8A8)
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 5000.0,
}
Load = Callable[[Model, Configuration], Session]


def model_in(folder: Path) -> Model:
    """The record of a model whose configuration counts in its revision too."""
    model = model_of(folder)
    return replace(model, revision=model.revision + (folder / "config.json").read_text())


def detail(session: Session) -> dict[str, str]:
    return dict(session.facts().detail)


@pytest.mark.parametrize("kind", ["llama", "gemma", "bundled"])
def test_same_tokens_as_transformers(
    kind: str,
    folder_of: Callable[[str], Path],
    check_tokens: Callable[[Session, str], None],
    load: Load,
) -> None:
    session = load(replace(model_in(folder_of(kind)), context_length=512), FP32)
    check_tokens(session, kind)
    session.close()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("phi", {"hidden_size": 128}),
        ("phi", {"partial_rotary_factor": 1.0, "tie_word_embeddings": True}),
        ("gemma", {"hidden_size": 80, "attention_bias": True}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"head_dim": 32, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ],
)
def test_same_tokens_for_variants(kind: str, changes: dict[str, Any], tmp_path: Path, load: Load) -> None:
    folder = write_model(tmp_path / kind, kind, **changes)
    session = load(model_in(folder), FP32)
    prompts = random_prompts(8)
    for batch in (1, 4):
        assert session_generate(session, prompts, 32, batch) == transformers_generate(folder, prompts, 32, batch)
    session.close()


@pytest.mark.parametrize("batch", [1, 3])
def test_the_token_that_ends_rows_for_the_library_ends_none(
    batch: int, model: Model, folder_of: Callable[[str], Path], load: Load
) -> None:
    prompts = [[310, 5], [7, 310, 9, 310, 310, 11], [0], *random_prompts(12, seed=1)]
    exact = transformers_generate(folder_of("llama"), prompts, NEW_TOKENS, batch)
    assert any(310 in row[:-1] for row in exact), "the case is not tried"
    session = load(model, FP32)
    assert session_generate(session, prompts, NEW_TOKENS, batch) == exact
    shown = detail(session)
    assert shown["end_id"] == "310"
    if batch == 1:
        assert int(shown["given_again"]) == sum(row[:-1].count(310) for row in exact)
    assert session.facts().kv_cache
    session.close()


def test_generation_ends_when_every_row_has_stopped(
    model: Model, check_stops: Callable[[Session], None], load: Load
) -> None:
    session = load(model, FP32)
    check_stops(session)
    session.close()


def test_a_generation_that_was_left_does_not_show_in_the_next(model: Model, load: Load) -> None:
    session = load(model, FP32)
    whole = session_generate(session, [[5, 6, 7]], 12, 1)
    left = session.generate([[9, 10]], 8)
    next(left)
    next(left)
    assert session_generate(session, [[5, 6, 7]], 12, 1) == whole
    session.close()


def test_fp32_shows_what_runs(model: Model, load: Load) -> None:
    session = load(model, FP32)
    assert not session.facts().kv_cache, "no decode step has been seen yet"
    list(session.generate(random_prompts(2), 4))
    facts = session.facts()
    # 64 wide, 4 heads of 16 over 2, 128 in the middle; 2 layers with 2 norms, and 1 after them; 311 tokens twice.
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64
    assert facts.weight_dtypes == (("fp32", 4 * (2 * layer + 64 + 2 * 311 * 64)),)
    assert (facts.compute_dtype, facts.kv_cache, facts.kv_cache_dtype, facts.threads) == ("fp32", True, "fp32", 1)
    assert facts.devices[0][0] == "cpu"
    assert detail(session)["attention"] == "GroupQueryAttention"
    assert "group" not in detail(session)
    assert violations(FP32, facts) == ()
    assert violations(INT4, facts) != ()
    session.close()


def test_a_product_that_cannot_be_tried_is_a_reason(
    folder_of: Callable[[str], Path], load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No other test takes this group, whose answer would be known already.
    options = (("activations", "int8"), ("group", "32"))
    session = load(model_of(folder_of("llama")), replace(FP32, precision=Precision.W8A8, options=options))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(UnavailableError, match="ended with exit code 1") as caught:
        session.facts()
    assert "doctor" in caught.value.hint
    session.close()


def test_threads_are_those_that_were_started(model: Model, load: Load) -> None:
    session = load(model, replace(FP32, threads=2))
    assert session.facts().threads == 2
    session.close()


def test_threads_beside_a_gpu_are_refused_before_anything_is_built(model: Model, tmp_path: Path) -> None:
    asked = Configuration("onnxruntime-genai", Provider.CUDA, Precision.FP16, threads=2)
    artefacts = FolderArtefacts(tmp_path)
    for act in (OnnxRuntimeGenAIEngine().prepare, OnnxRuntimeGenAIEngine().load):
        with pytest.raises(RefusedError, match="does not show how many CPU threads it has on CUDA") as caught:
            act(model, asked, artefacts)
        assert "--threads" in caught.value.hint
    assert artefacts.built == []


@pytest.mark.parametrize(("activations", "compute"), [("float", "fp32"), ("int8", "int8")])
def test_int4(activations: str, compute: str, folder_of: Callable[[str], Path], load: Load) -> None:
    configuration = replace(INT4, options=(("group", "64"), ("activations", activations)))
    session = load(model_in(folder_of("bundled")), configuration)
    prompts = [[1, 2, 3, 4], [9, 8]]
    assert len(session_generate(session, prompts, 4, 2)[1]) == 4
    facts = session.facts()
    # 320 wide, 768 in the middle, 8 layers, 4096 tokens tied: half a byte a number of the matrices.
    matrices = (4096 * 320 + 8 * (4 * 320 * 320 + 3 * 320 * 768)) // 2
    # A scale for 64 of a row, and 17 norms.
    scales = 4096 * 5 + 8 * (960 * 5 + 320 * 5 + 2 * 768 * 5 + 320 * 12)
    assert dict(facts.weight_dtypes) == {"int4": matrices, "fp32": 4 * (scales + 17 * 320)}
    assert (facts.compute_dtype, facts.kv_cache_dtype) == (compute, "fp32")
    assert violations(configuration, facts) == ()
    session.close()


def test_w8a8_is_closer_to_fp32_than_int4(folder_of: Callable[[str], Path], load: Load) -> None:
    rows = [[token * 13 for token in row] for row in random_prompts(2, seed=4)]
    scores = {}
    for configuration in (FP32, W8A8, INT4):
        session = load(model_in(folder_of("bundled")), configuration)
        scores[configuration.precision] = np.concatenate(session.log_probabilities(rows))
        if configuration is W8A8:
            list(session.generate(rows, 3))
            assert violations(W8A8, session.facts()) == ()
            assert session.facts().compute_dtype == "int8"
        session.close()
    errors = {p: np.abs(scores[p] - scores[Precision.FP32]).mean() for p in (Precision.W8A8, Precision.INT4)}
    assert 0 < errors[Precision.W8A8] < errors[Precision.INT4] < 1


@pytest.mark.parametrize(("kind", "width"), [("llama", 64), ("gemma", 80)])
def test_log_probabilities_are_those_of_transformers(kind: str, width: int, tmp_path: Path, load: Load) -> None:
    # The root of 80 is not a short number: Gemma multiplies its embeddings by it.
    folder = write_model(tmp_path / kind, kind, hidden_size=width)
    rows = [[5], [310, 4, 310, 310, 7], *random_prompts(3, seed=3)]
    session = load(model_in(folder), FP32)
    exact = transformers_log_probabilities(folder, rows)
    for ours, theirs in zip(session.log_probabilities(rows), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    session.close()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("gpt2", "GPT2LMHeadModel"),
        ("gpt_bigcode", "GPTBigCodeForCausalLM"),
        ("gpt_neox", "GPTNeoXForCausalLM"),
        ("bloom", "BloomForCausalLM"),
    ],
)
def test_architectures_that_the_builder_lacks(
    kind: str, name: str, folder_of: Callable[[str], Path], load: Load
) -> None:
    with pytest.raises(RefusedError, match=f"does not build {name}"):
        load(model_of(folder_of(kind)), FP32)


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("phi", {}, "it rotates 8 numbers of a head, ONNX Runtime a multiple of 16"),
        ("phi", {"hidden_size": 128, "qk_layernorm": True}, "norms of queries and keys"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}}, "type 'linear'"),
        ("llama", {"hidden_act": "mish"}, "mish"),
    ],
)
def test_parts_that_the_builder_lacks(
    kind: str, changes: dict[str, Any], sentence: str, tmp_path: Path, load: Load
) -> None:
    with pytest.raises(RefusedError, match=sentence):
        load(model_in(write_model(tmp_path / kind, kind, **changes)), FP32)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": Precision.BF16},
        {"precision": Precision.FP16},
        {"precision": Precision.INT8},
        {"options": (("group", "32"),)},
        {"precision": Precision.W8A8, "options": (("activations", "float"),)},
        {"provider": Provider.CUDA},
        {"provider": Provider.CUDA, "precision": Precision.INT4, "options": (("activations", "int8"),)},
    ],
)
def test_configurations_without_kernels(changes: dict[str, Any], model: Model, load: Load) -> None:
    with pytest.raises(RefusedError):
        load(model, replace(FP32, **changes))


def test_cuda_that_is_not_there(model: Model, load: Load) -> None:
    if metadata_version("onnxruntime-genai-cuda") is not None:
        pytest.skip("there is CUDA here")
    with pytest.raises(UnavailableError, match="built without CUDA"):
        load(model, Configuration("onnxruntime-genai", Provider.CUDA, Precision.FP16))


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16, Precision.INT4])
def test_graphs_for_cuda_are_built_without_a_gpu(precision: Precision, model: Model, tmp_path: Path) -> None:
    from servewatt.engines.onnxruntime_genai.export import GraphDescription, GraphType, export

    group = 32 if precision is Precision.INT4 else None
    export(model, GraphType("cuda", precision, group), tmp_path)
    described = GraphDescription.read(tmp_path)
    floating = "fp16" if group else precision.value
    assert (described.attention, described.floating) == ("GroupQueryAttention", floating)
    assert described.products == ((precision.value, 11),)
    assert {dtype for dtype, _ in described.weight_dtypes} == {floating, precision.value}


def test_weights_of_another_model(folder_of: Callable[[str], Path], tmp_path: Path, load: Load) -> None:
    folder = Path(shutil.copytree(folder_of("llama"), tmp_path / "changed"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(InputError, match="weights are missing"):
        load(model_in(folder), FP32)


def test_more_tokens_than_positions(model: Model, load: Load) -> None:
    session = load(model, FP32)
    with pytest.raises(InputError, match="257 tokens, the model has 256 positions"):
        next(session.generate([[5, 6]], 255))
    session.close()


def test_a_graph_is_built_once_a_kind(model: Model, tmp_path: Path) -> None:
    artefacts = FolderArtefacts(tmp_path)
    for configuration in (FP32, replace(FP32, threads=2), INT4, INT4):
        OnnxRuntimeGenAIEngine().prepare(model, configuration, artefacts)
    assert artefacts.built == ["onnxruntime-genai"] * 2
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"model.onnx", "model.onnx.data", "genai_config.json", "graph.json"}
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_process_that_leaves_a_session_open_ends_well(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Objects that outlive the library abort the process."""
    done = with_session(
        "print(len(list(session.generate([[5, 6]], 3))))", replace(FP32, threads=2), folder_of("llama"), tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def test_importing_it_imports_nothing_heavy() -> None:
    assert imported_with("onnxruntime-genai", "torch", "transformers", "onnx", "onnxruntime_genai") == []

"""The engine openvino-genai: what it says, what it shows, what it refuses. Skipped where it is not installed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.openvino.engine import OpenVinoEngine
from servewatt.engines.openvino_genai import engine
from servewatt.engines.proof import violations
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.libraries import imported_with, require, with_session
from tests.engines.tiny import (
    SIZES,
    FolderArtefacts,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    transformers_log_probabilities,
)

require("openvino-genai")
pytestmark = pytest.mark.engine

FP32 = Configuration("openvino-genai", threads=1)
CONTINUOUS = replace(FP32, options=(("batching", "continuous"),))
INT4 = replace(FP32, precision=Precision.INT4)
Load = Callable[[Model, Configuration], Session]


@pytest.mark.parametrize("configuration", [FP32, CONTINUOUS], ids=["static", "continuous"])
@pytest.mark.parametrize("kind", [*(kind for kind in SIZES if kind != "bloom"), "bundled"])
def test_same_tokens_as_transformers(
    kind: str,
    configuration: Configuration,
    folder_of: Callable[[str], Path],
    check_tokens: Callable[[Session, str], None],
    load: Load,
) -> None:
    session = load(model_of(folder_of(kind)), configuration)
    check_tokens(session, kind)
    session.close()


@pytest.mark.parametrize("configuration", [FP32, CONTINUOUS], ids=["static", "continuous"])
def test_generation_ends_when_every_row_has_stopped(
    configuration: Configuration, model: Model, check_stops: Callable[[Session], None], load: Load
) -> None:
    session = load(model, configuration)
    check_stops(session)
    session.close()


@pytest.mark.parametrize("configuration", [FP32, CONTINUOUS], ids=["static", "continuous"])
def test_lengths_are_exact_and_times_are_of_the_same_clock(
    configuration: Configuration, model: Model, load: Load
) -> None:
    session = load(model, configuration)
    for length in (1, 7):
        begin_s = time.monotonic()
        times_s = [step.time_s for step in session.generate([[5], [7, 8, 9]], length)]
        end_s = time.monotonic()
        assert len(times_s) == length
        assert [begin_s, *times_s, end_s] == sorted([begin_s, *times_s, end_s])
    session.close()


def test_prompts_of_one_token_and_of_many_in_one_batch(
    model: Model, folder_of: Callable[[str], Path], load: Load
) -> None:
    prompts = [[5], [7, 8, 9, 10, 11], [6, 5]]
    session = load(model, FP32)
    assert session_generate(session, prompts, 12, 3) == transformers_generate(folder_of("llama"), prompts, 12, 3)
    session.close()


@pytest.mark.parametrize("configuration", [FP32, CONTINUOUS], ids=["static", "continuous"])
def test_fp32_shows_what_runs(configuration: Configuration, model: Model, load: Load) -> None:
    session = load(model, configuration)
    assert not session.facts().kv_cache, "no decode step has been seen yet"
    list(session.generate(random_prompts(2), 4))
    facts = session.facts()
    ((dtype, held),) = facts.weight_dtypes
    assert dtype == "fp32"
    assert 0.95 * model.weight_bytes < held <= 1.05 * model.weight_bytes
    assert (facts.compute_dtype, facts.kv_cache, facts.kv_cache_dtype, facts.threads) == ("fp32", True, "fp32", 1)
    assert facts.devices[0][0] == "cpu"
    assert facts.devices[0][1] > 0
    assert dict(facts.detail)["unlike_the_graph_compiled_again"] == "nothing"
    assert violations(configuration, facts) == ()
    session.close()


@pytest.mark.parametrize(
    ("configuration", "weights", "computed"),
    [
        (replace(FP32, precision=Precision.INT8), "int8", "fp32"),
        (replace(FP32, precision=Precision.W8A8), "int8", "int8"),
        (INT4, "int4", "fp32"),
        (replace(INT4, options=(("activations", "int8"), ("cache", "int8"))), "int4", "int8"),
    ],
    ids=["int8", "w8a8", "int4", "int4-activations"],
)
def test_narrow_precisions_say_what_engine_openvino_says(
    configuration: Configuration, weights: str, computed: str, model: Model, load: Load
) -> None:
    session, plain = load(model, configuration), load(model, replace(configuration, engine="openvino"))
    prompts = random_prompts(4)
    assert session_generate(session, prompts, 8, 2) == session_generate(plain, prompts, 8, 2)
    facts = session.facts()
    assert facts.weight_dtypes == plain.facts().weight_dtypes
    assert dict(facts.weight_dtypes)[weights] > 0
    # Where the CPU has no such products, OpenVINO rounds no activations, and the claim is refused.
    possible = computed != "int8" or "vnni" in Path("/proc/cpuinfo").read_text()
    assert facts.compute_dtype == (computed if possible else "fp32")
    assert facts.kv_cache_dtype == dict(configuration.options).get("cache", "fp32")
    assert (violations(configuration, facts) == ()) is possible
    session.close()
    plain.close()


def test_a_pipeline_that_computes_otherwise_shows_no_weights(
    model: Model, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = engine.open_pipeline

    def other(folder: Path, settings: dict[str, str], *, continuous: bool) -> object:
        return plain(folder, settings | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}, continuous=continuous)

    monkeypatch.setattr(engine, "open_pipeline", other)
    session = load(model, INT4)
    list(session.generate([[5, 6]], 3))
    facts = session.facts()
    assert dict(facts.detail)["unlike_the_graph_compiled_again"] == "DYNAMIC_QUANTIZATION_GROUP_SIZE"
    assert "the engine does not tell which weights it holds" in violations(INT4, facts)
    session.close()


def test_facts_hold_no_second_copy_of_the_weights(model: Model, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(model, INT4)
    list(session.generate([[5, 6]], 3))
    monkeypatch.setattr(OpenVinoEngine, "load", None)
    assert violations(INT4, session.facts()) == ()
    session.close()


def test_a_graph_that_cannot_be_compiled_again(model: Model, tmp_path: Path) -> None:
    session = engines.create("openvino-genai").load(model, FP32, FolderArtefacts(tmp_path))
    list(session.generate([[5, 6]], 3))
    for graph in tmp_path.rglob("graph.xml"):
        graph.write_text("<net/>")
    with pytest.raises(UnavailableError, match="compiles the graph again ended with exit code 1: "):
        session.facts()
    session.close()


def test_log_probabilities_are_those_of_transformers(
    model: Model, folder_of: Callable[[str], Path], load: Load
) -> None:
    rows = [[5], *random_prompts(3, seed=3)]
    session = load(model, FP32)
    exact = transformers_log_probabilities(folder_of("llama"), rows)
    for ours, theirs in zip(session.log_probabilities(rows), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    session.close()


def test_paged_attention_tells_no_log_probabilities(model: Model, load: Load) -> None:
    session = load(model, CONTINUOUS)
    with pytest.raises(RefusedError, match="no log probabilities"):
        session.log_probabilities([[5, 6]])
    session.close()


@pytest.mark.parametrize(
    ("configuration", "sentence"),
    [
        (replace(FP32, precision=Precision.FP16), "openvino-genai runs fp32, bf16, int8, int4 and w8a8 on the CPU"),
        (replace(FP32, provider=Provider.CUDA), "openvino-genai runs fp32, bf16, int8, int4 and w8a8 on the CPU"),
        (replace(INT4, options=(("group", "128"),)), "groups of 128 do not divide"),
    ],
)
def test_what_it_does_not_run_is_refused(
    configuration: Configuration, sentence: str, model: Model, artefacts: FolderArtefacts
) -> None:
    with pytest.raises(RefusedError, match=sentence):
        engines.create("openvino-genai").prepare(model, configuration, artefacts)


def test_an_architecture_whose_graph_a_pipeline_cannot_run(
    folder_of: Callable[[str], Path], artefacts: FolderArtefacts
) -> None:
    with pytest.raises(RefusedError, match="attention is not one operator") as error:
        engines.create("openvino-genai").prepare(model_of(folder_of("bloom")), FP32, artefacts)
    assert error.value.hint == "use engine openvino"


def test_an_unknown_way_of_batching(model: Model, load: Load) -> None:
    with pytest.raises(InputError, match="batching cannot be 'dynamic'"):
        load(model, replace(FP32, options=(("batching", "dynamic"),)))


def test_it_uses_the_files_of_engine_openvino(model: Model, tmp_path: Path) -> None:
    artefacts = FolderArtefacts(tmp_path)
    for precision in (Precision.FP32, Precision.INT4):
        engines.create("openvino").prepare(model, Configuration("openvino", precision=precision), artefacts)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for configuration in (FP32, INT4):
        engines.create("openvino-genai").prepare(model, configuration, artefacts)
        engines.create("openvino-genai").load(model, configuration, artefacts).close()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files


def test_properties_are_read_from_what_a_pipeline_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENVINO_LOG_LEVEL", "1")
    with engine.printed() as text:
        os.write(
            1, b"Model: one\n  NUM_STREAMS: 1\n  EXECUTION_DEVICES: CPU\n  OTHER: 2\nEXECUTION_DEVICES:\n CPU: x\n"
        )
        assert os.environ["OPENVINO_LOG_LEVEL"] == "3"
    assert os.environ["OPENVINO_LOG_LEVEL"] == "1"
    assert engine.printed_properties(text[0]) == {"NUM_STREAMS": "1", "EXECUTION_DEVICES": "CPU"}


@pytest.mark.parametrize("configuration", [FP32, CONTINUOUS], ids=["static", "continuous"])
def test_a_process_that_leaves_a_session_open_ends_well(
    configuration: Configuration, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    code = "print(len(list(session.generate([[5, 6]], 3))))"
    done = with_session(code, replace(configuration, threads=2), folder_of("llama"), tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "3"), done.stderr


def test_importing_it_imports_nothing_heavy() -> None:
    assert imported_with("openvino-genai", "torch", "transformers", "openvino", "openvino_genai") == []

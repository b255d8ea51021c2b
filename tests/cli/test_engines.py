"""`servewatt engines` and its subcommands, over an engine that needs a tiny package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from servewatt import engines
from servewatt.cli.main import run
from servewatt.engines.environments import state
from tests.engines.tiny_packages import tiny_entry, tiny_wheel


@pytest.fixture(autouse=True)
def tiny_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "worker_requirements", lambda _pinned=(): ())
    monkeypatch.setitem(engines.ENGINES, "fake", tiny_entry("tiny-engine==1.0"))


def add(wheels: Path, *more: str) -> int:
    return run(["engines", "add", "fake", "--pip-argument=--no-index", f"--pip-argument=--find-links={wheels}", *more])


def row(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert run(["engines", *words, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    found: dict[str, object] = rows["fake"]
    return found


def test_an_environment_from_adding_to_removing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert row(capsys)["version"] is None
    assert run(["engines", "doctor", "fake"]) == 1
    assert "servewatt engines add fake" in " ".join(capsys.readouterr().out.split())

    tiny_wheel(tmp_path)
    assert add(tmp_path) == 0
    assert "fake: version 1.0 built in" in capsys.readouterr().out
    assert row(capsys, "list")["version"] == "1.0"
    first = row(capsys)["environment"]
    assert add(tmp_path) == 0
    assert "is in order" in capsys.readouterr().out
    assert row(capsys)["environment"] == first

    assert run(["engines", "doctor", "fake", "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["engines"]
    assert (finding["condition"], finding["version"]) == ("ok", "1.0")

    assert isinstance(first, str)
    (Path(first) / "bin" / "python").unlink()
    assert "interpreter is gone" in str(row(capsys)["problem"])
    assert run(["engines"]) == 0
    assert "broken" in capsys.readouterr().out
    assert run(["engines", "doctor", "fake"]) == 1
    assert add(tmp_path) == 0
    assert row(capsys)["problem"] == ""
    assert row(capsys)["environment"] != first

    assert run(["engines", "remove", "fake"]) == 0
    assert row(capsys)["environment"] is None
    assert run(["engines", "remove", "fake"]) == 2
    assert "has no environment" in capsys.readouterr().err


def test_a_failed_build_names_the_log_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(tmp_path) == 2
    told = capsys.readouterr().err
    assert "No matching distribution found for tiny-engine==1.0" in told
    log = state.root() / "fake.log"
    assert str(log) in told
    assert log.is_file()


def test_names_are_checked_before_anything_is_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engines", "add", "fake", "torch"]) == 2
    assert "servewatt's own environment" in capsys.readouterr().err
    assert run(["engines", "add", "fake", "opnvino"]) == 2
    assert "openvino" in capsys.readouterr().err
    assert run(["engines", "remove", "../fake"]) == 2
    assert "unknown engine" in capsys.readouterr().err
    assert not state.root().exists()


def test_measuring_installs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "--engine", "fake", "--blocks", "1", "--meter", "fake"]) == 2
    told = capsys.readouterr().err
    assert "engine 'fake' is not installed" in told
    assert "servewatt engines add fake" in told
    assert not state.root().exists()


def test_where_nothing_can_be_drawn_a_build_is_told_in_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_wheel(tmp_path)
    assert add(tmp_path) == 0
    told = capsys.readouterr()
    assert told.err.startswith("building the environment of fake, which takes minutes; pip's log: ")
    assert told.out.splitlines()[-1].strip() == "next: servewatt run --engine fake"


@pytest.mark.parametrize("name", ["", ".", "..", "fake/.", "./fake"])
def test_no_name_removes_more_than_one_environment(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_wheel(tmp_path)
    assert add(tmp_path) == 0
    assert run(["engines", "remove", name]) == 2
    assert f"unknown engine {name!r}" in capsys.readouterr().err
    assert run(["engines", "doctor", "fake"]) == 0


def test_what_runs_a_model_and_why_the_others_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    """codeparrot-small's GPT-2 scales attention by layer, which vLLM lacks, and onnxruntime-genai has no GPT-2."""
    assert run(["engines", "--model", "codeparrot-small", "--json"]) == 0
    found = {engine["engine"]: engine for engine in json.loads(capsys.readouterr().out)}
    assert "fake" not in found
    assert ["cpu", "int4"] in found["torch-graph"]["runs"]
    assert found["torch-graph"]["refusals"] == []
    (refusal,) = found["vllm"]["refusals"]
    assert found["vllm"]["runs"] == []
    assert refusal["reason"] == "vllm's GPT-2 lacks scale_attn_by_inverse_layer_idx and reorder_and_upcast_attn"
    (refusal,) = found["onnxruntime-genai"]["refusals"]
    assert refusal["reason"] == "engine onnxruntime-genai does not run GPT2LMHeadModel"
    assert "onnx" in refusal["hint"]


def test_the_table_of_what_runs_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engines", "--model", "bundled"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "bundled: LlamaForCausalLM, context 512" in told
    assert "llama-cpp" in told
    assert run(["engines", "--model", "no/such/folder/here"]) == 2
    assert run(["engines", "--model", "bundled", "list"]) == 2


def test_one_engine_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engines", "show", "onnx"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "cpu: fp32 int4 w8a8" in told
    assert "graphs off on off CUDA: replay the decode step as one CUDA graph." in told
    assert run(["engines", "show", "onnx", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"name": "graphs", "values": ["off", "on"], "default": "off"}.items() <= shown["options"][-1].items()
    assert run(["engines", "show", "onyx"]) == 2
    assert "did you mean onnx?" in capsys.readouterr().err

"""`servewatt models prepare`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.cli.main import run
from servewatt.models import catalogue
from servewatt.models.cache import ArtefactCache

TINY = {"n_embd": 16, "n_head": 2, "n_layer": 1, "n_inner": 32, "vocab_size": 64, "n_positions": 32}


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalogue.CATALOGUE["codeparrot-small"]
    monkeypatch.setitem(catalogue.CATALOGUE, "codeparrot-small", replace(entry, config={**entry.config, **TINY}))


def prepare(*options: str) -> int:
    return run(["models", "prepare", "codeparrot-small", "--weights", "random", *options])


@pytest.mark.engine
def test_weights_and_graphs_are_there_afterwards_and_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("--engine", "torch,onnx,openvino") == 0
    assert "onnx/cpu/fp32/b1" in capsys.readouterr().out
    first = {(e.kind, e.created_s) for e in ArtefactCache().entries()}
    assert {kind for kind, _ in first} == {"random", "onnx", "openvino"}
    assert prepare("--engine", "torch,onnx,openvino") == 0
    assert {(e.kind, e.created_s) for e in ArtefactCache().entries()} == first


@pytest.mark.engine
def test_a_graph_for_a_gpu_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("--engine", "onnx", "--provider", "cuda", "--precision", "fp32,bf16") == 0
    assert len([e for e in ArtefactCache().entries() if e.kind == "onnx"]) == 2


def test_what_cannot_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("--engine", "torch,onnx", "--precision", "bf16") == 0
    told = capsys.readouterr().out
    assert "left out: onnx/cpu/bf16/b1" in told
    assert "torch/cpu/bf16/b1" in told


def test_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("--engine", "onx") == 2
    assert "onnx" in capsys.readouterr().err

"""`all` engines, providers and precisions; what cannot run is left out of the plan, and told in one line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from servewatt import engines
from servewatt.checkpoints.architecture import ARCHITECTURES
from servewatt.cli.main import run
from servewatt.engines.ctranslate2.architectures import BUILDERS
from servewatt.engines.llama_cpp.gguf_architectures import _LAYOUTS
from servewatt.engines.onnxruntime_genai.export import ARCHITECTURES as GENAI
from servewatt.engines.torch_graph.model.names import NAMES
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.experiment import planning
from servewatt.experiment.planning import expand, of_model
from servewatt.experiment.study_file import validate
from servewatt.records import Configuration, Precision, Provider
from tests.stats.builders import MODEL

QUICK = ["run", "--engine", "fake", "--prompts", "bundled:1", "--new-tokens", "2", "--meter", "fake", "--plan"]


def wanted(*, has_gpu: bool = False, **lists: object) -> tuple[Configuration, ...]:
    return expand(validate({"configurations": lists}, "here").configurations, has_gpu=has_gpu)[0]


def test_all_precisions_are_those_that_the_engine_has() -> None:
    found = wanted(engines=["onnx", "fake"], providers="cpu", precisions="all")
    assert [c.precision.value for c in found if c.engine == "onnx"] == ["fp32", "int4", "w8a8"]
    assert {c.precision for c in found if c.engine == "fake"} == set(Precision)


def test_all_engines_are_the_installed_ones_without_the_imitation() -> None:
    assert wanted(engines="all") == wanted()
    assert {c.engine for c in wanted(engines=["all", "fake"])} == {c.engine for c in wanted()} | {"fake"}


def test_all_providers_are_those_of_this_machine() -> None:
    assert {c.provider for c in wanted(engines="fake", providers="all")} == {Provider.CPU}
    assert {c.provider for c in wanted(engines="fake", providers=["all"], has_gpu=True)} == set(Provider)


def test_a_provider_that_is_not_here_is_not_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_has_board", lambda: False)
    assert {c.provider for c in wanted(engines="torch", providers=["cpu", "cuda"])} == {Provider.CPU}
    with pytest.raises(UnavailableError, match="no NVIDIA GPU is seen here"):
        wanted(engines="torch", providers=["cuda"])
    monkeypatch.setattr(planning, "_has_board", lambda: True)
    assert len(wanted(engines="torch", providers=["cpu", "cuda"])) == 2


def test_engines_none_of_which_runs_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="none of these engines"):
        wanted(engines="vllm", providers=["cpu"], precisions="all")


def test_engines_that_do_not_know_the_architecture_are_left_out() -> None:
    model = replace(MODEL, architecture="CodeGenForCausalLM")
    kept, left_out = of_model([Configuration("torch"), Configuration("torch-graph")], model)
    assert kept == (Configuration("torch"),)
    assert "torch-graph does not run CodeGenForCausalLM" in left_out[0].reason
    with pytest.raises(RefusedError) as refused:
        of_model([Configuration("llama-cpp")], model)
    assert refused.value.hint.startswith("engines that could run it: torch, torchscript, onnx, openvino")


@pytest.mark.parametrize(
    ("engine", "known"),
    [("ctranslate2", BUILDERS), ("llama-cpp", _LAYOUTS), ("onnxruntime-genai", GENAI), ("torch-graph", NAMES)],
)
def test_the_table_of_engines_names_the_architectures_that_each_knows(engine: str, known: dict[str, object]) -> None:
    assert engines.ENGINES[engine].architectures == frozenset(known)
    assert set(known) <= set(ARCHITECTURES)


def test_what_is_left_out_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*QUICK, "--engine", "onnx", "--provider", "cpu", "--precision", "fp32,bf16,fp16"]
    assert run(asked) == 0
    told = capsys.readouterr().err
    assert "2 configurations that cannot run here; --plan --verbose tells why" in " ".join(told.split())
    assert "onnx/cpu/bf16/b1" not in told
    assert run([*asked, "--verbose"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "onnx/cpu/bf16/b1: onnx/cpu/bf16/b1: onnx does not run this" not in told
    assert "onnx/cpu/bf16/b1: onnx does not run this" in told
    assert run([*asked, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [left["key"] for left in plan["left_out"]] == ["onnx/cpu/bf16/b1", "onnx/cpu/fp16/b1"]
    assert len(plan["configurations"]) == 4


def test_what_an_engine_refuses_of_options_and_model_is_not_planned(capsys: pytest.CaptureFixture[str]) -> None:
    """Option group is for quantised weights: fp32 with it would be refused by every trial."""
    asked = [*QUICK[:1], *QUICK[3:], "--engine", "onnx", "--provider", "cpu", "--precision", "fp32,int4"]
    assert run([*asked, "--option", "group=32", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [c["precision"] for c in plan["configurations"]] == ["int4"]
    (left,) = plan["left_out"]
    assert left["key"] == "onnx/cpu/fp32/b1/group=32"
    assert "option group is for quantised weights" in left["reason"]


@pytest.mark.parametrize("entry", engines.ENGINES.values(), ids=lambda entry: entry.name)
def test_an_entry_has_help_for_each_option_and_defaults_among_the_values(entry: engines.EngineEntry) -> None:
    assert len({option.name for option in entry.options}) == len(entry.options)
    for option in entry.options:
        assert option.help.endswith(".")
        assert not option.default or not option.values or option.default in option.values
    assert len(set(entry.supports)) == len(entry.supports) > 0
    assert entry.real == (entry.name != "fake")


def test_counts_of_one_are_singular(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--provider", "cpu", "--limit", "1", "--new-tokens", "1"]) == 0
    assert "1 prompt, 1 new token each" in " ".join(capsys.readouterr().err.split())

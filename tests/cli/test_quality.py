"""`servewatt quality` over the fake engine, and what recommend makes of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.experiment.assessing import answer_body
from servewatt.harness.sandbox import find_sandbox

FAKE = ["quality", "--engine", "fake", "--provider", "cpu", "--reference", "fake/cpu/fp32"]
EXAMPLE = str(Path(__file__).parents[2] / "examples" / "h200-bundled.json.gz")
QUICK = [*FAKE, "--prompts", "bundled:3", "--new-tokens", "4", "--documents", "4", "--text-tokens", "16"]


def test_equal_engines_agree_and_have_ratio_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "quality.json"
    assert run([*QUICK, "--precision", "fp32,int8", "--json", "--out", str(file)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(file.read_text())
    assert [a["configuration"]["precision"] for a in document["assessments"]] == ["fp32", "int8"]
    for assessment in document["assessments"]:
        assert assessment["agreement"] == {
            "prompts": 3, "equal_share": 1.0, "leading_share": 1.0, "first_difference": None
        }  # fmt: skip
        assert assessment["perplexity"]["ratio"] == {"estimate": 1.0, "low": 1.0, "high": 1.0, "n": 4}
        assert assessment["perplexity"]["bits_per_byte"] > 0
    assert document["held_out"]["tokens"] == 16
    assert len(document["held_out"]["documents"]) == 4


def test_one_configuration_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--option", "fail=segv", "--json"]) == 0
    reference, failed = json.loads(capsys.readouterr().out)["assessments"]
    assert reference["status"] == "ok"
    assert failed["status"] == "crashed"
    assert "SIGSEGV" in failed["reason"]


def test_random_weights_have_agreement_but_no_perplexity(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--model", "bundled", "--weights", "random", "--json"]) == 0
    (only,) = json.loads(capsys.readouterr().out)["assessments"]
    assert (only["perplexity"], only["no_perplexity"]) == (None, "weights: random")
    assert only["agreement"]["equal_share"] == 1.0
    assert run([*QUICK, "--model", "bundled", "--weights", "random"]) == 0
    assert "weights: random" in capsys.readouterr().out
    assert run([*QUICK, "--weights", "random", "--run-tests"]) == 2


def test_answers_are_run_with_the_problems_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--run-tests"]) == 0
    printed = capsys.readouterr()
    assert "0/3" in printed.out
    # Said before anything runs.
    assert printed.err.startswith(("answers run in a sandbox (", "answers run without a sandbox ("))


def test_what_held_the_answers_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--run-tests", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sandbox"] == find_sandbox().name
    assert run([*QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sandbox"] == ""


def test_an_answer_ends_at_the_margin() -> None:
    assert answer_body("    x = 1\n\n    return x\n\ndef other():\n    pass") == "    x = 1\n\n    return x\n"
    assert answer_body(" + 1\n# a comment") == " + 1"


@pytest.mark.parametrize("text", ["torch/cpu/fp99", "none/cpu/fp32", "torch/cpu/fp32/fp16"])
def test_a_reference_that_does_not_exist_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--reference", text]) == 2
    assert "hint:" in capsys.readouterr().err


def measured(tmp_path: Path, precisions: list[str]) -> None:
    """A run of the fake engine in the store."""
    content = {
        "workload": {"prompts": "bundled:3", "new_tokens": 4},
        "configurations": {"engines": ["fake"], "providers": ["cpu"], "precisions": precisions},
        "procedure": {"blocks": 1, "idle_s": 0.1, "window_s": 0.2, "foreign_limit": 1.0, "meters": ["fake"]},
    }
    study = tmp_path / "study.yaml"
    study.write_text(json.dumps(content))
    assert run(["run", str(study)]) == 0


def test_recommend_and_report_find_what_the_store_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, ["fp32", "int8"])
    capsys.readouterr()
    limited = ["recommend", "latest", "--max-perplexity-ratio", "1.01"]
    assert run(limited) == 2
    assert "servewatt quality --model bundled" in capsys.readouterr().err
    # Two assessments that ask the same are one.
    for precision in ("fp32", "int8"):
        assert run([*QUICK, "--precision", precision]) == 0
    capsys.readouterr()
    assert run(["recommend", "latest", "--max-perplexity-ratio", "0.9"]) == 1
    assert "perplexity ratio 1.0000 is above the limit of 0.9" in capsys.readouterr().out
    assert run(["report", "latest", "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "perplexity ratio" in shown and "1.0000 [1.0000, 1.0000]" in shown and "1 (reference)" in shown
    assert run(["report", "latest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["analysis"]["quality"]
    assert [a["configuration"]["precision"] for a in found["assessments"]] == ["fp32", "int8"]


def test_an_exported_run_carries_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, ["fp32", "int8"])
    assert run([*QUICK, "--precision", "int8"]) == 0
    file = tmp_path / "run.json.gz"
    assert run(["report", "latest", "--export", str(file)]) == 0
    capsys.readouterr()
    assert run(["report", str(file), "--markdown", "--store", str(tmp_path / "none.db")]) == 0
    assert "1 (reference)" in capsys.readouterr().out


def test_another_store_is_used_where_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, ["fp32"])
    assert run([*QUICK, "--store", str(tmp_path / "other.db")]) == 0
    capsys.readouterr()
    assert run(["report", "latest", "--markdown"]) == 0
    assert "perplexity" not in capsys.readouterr().out


def test_recommend_takes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, ["fp32", "int8"])
    file = tmp_path / "quality.json"
    assert run([*QUICK, "--precision", "fp32", "--out", str(file)]) == 0
    capsys.readouterr()
    assert run(["recommend", "latest", "--quality", str(file), "--max-perplexity-ratio", "1.01"]) == 0
    assert "excluded: fake/cpu/int8/b1: its quality was not measured" in capsys.readouterr().out
    assert run([*QUICK, "--weights", "random", "--out", str(file)]) == 0
    assert run(["recommend", "latest", "--quality", str(file)]) == 2
    assert "another revision" in capsys.readouterr().err
    file.write_text("{}")
    assert run(["recommend", "latest", "--quality", str(file), "--min-agreement", "0.9"]) == 2


def test_a_file_that_quality_did_not_write_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "cut.json").write_bytes(gzip.compress(b"{}")[:-9])
    for name, message in (
        ("other.json", "other.json: not a Quality record: model: Field required"),
        ("cut.json", "its gzip compression is damaged"),
        ("absent.json", "there is no file"),
        (".", "is a folder"),
        (EXAMPLE, "is a run's export, not what servewatt quality writes"),
    ):
        assert run(["recommend", EXAMPLE, "--quality", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err

"""Whatever is wrong with the input: one line and a hint, exit 2, and nothing has been measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.store import Store

FAKE = ["--engine", "fake"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--engine", "torhc"], "unknown engine 'torhc'", "torch"),
        ([*FAKE, "--precision", "fp31"], "unknown precision 'fp31'", "fp32"),
        ([*FAKE, "--provider", "gpu"], "--provider: must be cpu or cuda, not gpu", ""),
        ([*FAKE, "--model", "pythia410m"], "pythia410m", "pythia-410m"),
        ([*FAKE, "--new-tokens", "0"], "0", ""),
        ([*FAKE, "--new-tokens", "100000"], "100000", ""),
        ([*FAKE, "--batch", "0"], "--batch: must be at least 1, not 0", ""),
        ([*FAKE, "--batch", "1,5000"], "--batch: must be at most 4096, not 5000", ""),
        ([*FAKE, "--batch", "a,b"], "--batch: must be a whole number, not a", ""),
        ([*FAKE, "--threads", "0"], "--threads: must be at least 1, not 0", ""),
        ([*FAKE, "--blocks", "0"], "--blocks: must be at least 1, not 0", ""),
        ([*FAKE, "--window", "-1"], "--window: must be more than 0, not -1", ""),
        ([*FAKE, "--timeout", "0"], "--timeout: must be more than 0, not 0", ""),
        (
            [*FAKE, "--timeout", "inf"],
            "--timeout: must be a finite number, not inf",
            "more than 0, up to 604,800 seconds",
        ),
        ([*FAKE, "--timeout", "1e7"], "--timeout: must be at most 604800, not 1e+07", "up to 604,800 seconds"),
        ([*FAKE, "--timeout", "1e400"], "--timeout: must be a finite number", "allowed: more than 0"),
        ([*FAKE, "--window", "nan"], "--window: must be a finite number, not nan", "up to 86,400 seconds"),
        ([*FAKE, "--idle=-inf"], "--idle: must be a finite number", "up to 3,600 seconds"),
        ([*FAKE, "--limit", "1" + "0" * 30], "--limit: must be at most 1e+06", "allowed: 1 to 1,000,000 prompts"),
        ([*FAKE, "--seed", "1" + "0" * 30], "--seed: must be at most", "allowed: -9,223,372,036,854,775,808 to"),
        ([*FAKE, "--cpu-watts", "12,inf"], "--cpu-watts: must be a finite number, not inf", "0 to 100,000 watts"),
        ([*FAKE, "--cpu-watts", "nan,inf"], "--cpu-watts", "12,65"),
        ([*FAKE, "--model", "m" * 5000], "--model: must have at most 4096 characters, not mmm", ""),
        ([*FAKE, "--revision", "caf\udce9"], r"--revision: must be text in UTF-8", ""),
        ([*FAKE, "--prompts", "caf\udce9.txt"], r"there is no file caf\xe9.txt", "bundled"),
        ([*FAKE, "--via", "htp"], "--via: must be process or http, not htp", ""),
        ([*FAKE, "--model", "./absent"], "no folder ./absent", "or a name of the catalogue (known: bloomz-1b1, "),
        (
            [*FAKE, "--boundary", "gpu", "--meter", "estimate", "--cpu-watts", "12,65"],
            "boundary gpu: no meter here reads",
            "servewatt doctor",
        ),
        ([*FAKE, "--prompts", "nowhere.txt"], "nowhere.txt", ""),
        ([*FAKE, "--meter", "nvlm"], "unknown meter 'nvlm'", "nvml"),
        ([*FAKE, "--cpu-watts", "65"], "--cpu-watts", "12,65"),
        ([*FAKE, "--cpu-watts", "65,12"], "--cpu-watts", "12,65"),
        ([*FAKE, "--option", "fast"], "--option", "="),
        ([*FAKE, "--store", "postgres+nothing://x/y"], "postgres+nothing", ""),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    arguments: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", *arguments]) == 2
    captured = capsys.readouterr()
    first = next(line for line in captured.err.splitlines() if line.startswith("error: "))
    assert message in first
    assert hint in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("model:\n  nmae: bundled\n", "unknown key 'model.nmae'", "name"),
        ("modle:\n  name: bundled\n", "unknown key 'modle'", "model"),
        ("procedure:\n  blocks: many\n", "procedure.blocks: must be a whole number, not many", ""),
        ("procedure:\n  blocks: 0\n", "procedure.blocks: must be at least 1, not 0", ""),
        ("configurations:\n  batches: [1, 0]\n", "configurations.batches.1: must be at least 1, not 0", ""),
        ("model: bundled\n", "model: must be a mapping, not bundled", "`model: {name: bundled}`"),
        ("model:\n", "model: must be a mapping, and is empty", "`model: {name: bundled}`"),
        ("workload: p.txt\n", "workload: must be a mapping, not p.txt", "`workload: {prompts: p.txt}`"),
        ("procedure: quick\n", "procedure: must be a mapping, not quick", "`procedure: {blocks: 5}`"),
        ("configurations:\n  options: x\n", "configurations.options: must be a mapping", "`options: {NAME: VALUE}`"),
        ("procedure:\n  cpu_watts: [5]\n", "procedure.cpu_watts.1: is missing", ""),
        ("procedure:\n  settle_s: .inf\n", "procedure.settle_s: must be a number, not .inf", "0 to 3,600 seconds"),
        ("procedure:\n  settle_s: inf\n", "procedure.settle_s: must be a finite number", "0 to 3,600 seconds"),
        ("procedure:\n  idle_s: 1e7\n", "procedure.idle_s: must be at most 3600, not 1e7", "more than 0, up to 3,600"),
        ("procedure:\n  blocks: yes\n", "procedure.blocks: must be a whole number, not yes", "allowed: 1 to 1,000"),
        ("procedure:\n  blocks: " + "9" * 5000, "procedure.blocks: must be", "allowed: 1 to 1,000"),
        ("procedure:\n  retries: 1.5\n", "procedure.retries: must be a whole number, not 1.5", "allowed: 0 to 20"),
        ("procedure:\n  cpu_watts: [65, 12]\n", "procedure.cpu_watts: must be the watts idle and then", "watts"),
        ("procedure:\n  cpu_watts: [1, nan]\n", "procedure.cpu_watts.1: must be a finite number", "100,000 watts"),
        ("configurations:\n  batches: []\n", "configurations.batches: must have an entry", ""),
        ("configurations:\n  options: {compile: }\n", "options.compile: must be text, and is empty", ""),
        ("procedure:\n  blocks: 7\n  blocks: 1\n", "line 3: the key 'blocks' is given twice, first in line 2", "keep"),
        ("workload:\n  new_tokens: 1\n---\nworkload: {}\n", "line 3: not YAML: expected a single document", "demo"),
        ("- just a list\n", "no mapping", "demo.yaml"),
        ("model: [unclosed\n", "not YAML", "demo.yaml"),
    ],
)
def test_a_study_file_with_a_fault_is_refused(
    tmp_path: Path, text: str, message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    assert run(["run", str(path)]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert hint in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "prompt"),
        (b"bad\xff\xfe\x00", "UTF-8"),
        (b"\xff\xfe\x00ba", "UTF-16"),
        (b"\n\n  \n", "prompt"),
        (b"word " * 3000, "context"),
    ],
)
def test_a_prompt_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    assert run(["run", *FAKE, "--prompts", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_prompts_and_study_files_whose_names_are_not_utf8_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, study = tmp_path / os.fsdecode(b"p\xe9.txt"), tmp_path / os.fsdecode(b"s\xe9.yaml")
    prompts.write_text("def f():\n")
    study.write_text("workload: {prompts: bundled, new_tokens: 2}\n")
    assert run(["run", str(study), *FAKE, "--prompts", str(prompts), "--plan"]) == 0
    assert r"p\xe9.txt: 1 prompt" in capsys.readouterr().err


def test_a_missing_study_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_nothing_was_stored_by_any_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    run(["run", "--engine", "nothing"])
    with Store.open() as store:
        assert store.runs() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "latest"], "error: "),
        (["recommend", "nothing"], "error: "),
        (["report", "missing/file.json.gz"], "there is no file"),
        (["recommend", "--max-ttft", "soon"], "--max-ttft"),
        (["recommend", "--min-agreement", "nan"], "nan is not in the range 0<=x<=1"),
        (["recommend", "--max-perplexity-ratio", "inf"], "inf is not in the range"),
        (["models", "prune", "--older-than", "nan"], "nan is not in the range"),
        (["quality", "--timeout", "inf"], "inf is not in the range"),
        (["study", "analyse", "--alpha", "nan"], "nan is not in the range"),
        (["study", "run", "--prompts", "bundled", "--timeout", "inf"], "--timeout: must be a finite number, not inf"),
        (["study", "run", "--prompts", "bundled", "--limit", "1" + "0" * 30], "--limit: must be at most 1e+06"),
        (["recommend", "--max-memory", "2 boxes"], "--max-memory"),
        (["models", "prune", "--to", "much"], "--to: 'much' is no amount of bytes"),
        (["models", "prune", "--to", "5"], "--to: '5' has no unit"),
        (["models", "prune", "--to", "1" + "0" * 400 + "GB"], "--to: '1000"),
        (["recommend", "--max-latency-p95", "300"], "hint: write 300ms or 300s"),
        (["recommend", "--max-memory", "4"], "hint: write 4GB or 4MiB"),
        (["recommend", "--max-memory", ""], "--max-memory: '' is no amount of bytes"),
        (["models", "prepare", "bundled", "--provider", "gpu"], "--provider: must be cpu or cuda, not gpu"),
        (["quality", "--batch", "0"], "--batch: must be at least 1, not 0"),
        (["quality", "--reference", "nosuch"], "hint: known: ctranslate2, "),
        (["engines", "add", "nosuch"], "hint: known: ctranslate2, "),
        (["engines", "remove", "nosuch"], "hint: known: ctranslate2, "),
        (["engines", "doctor", "nosuch"], "hint: known: ctranslate2, "),
        (
            ["study", "run", "--prompts", "bundled", "--foreign-limit", "25"],
            "--foreign-limit: must be at most 1, not 25",
        ),
        (["study", "run", "--prompts", "bundled", "--batch", "0"], "--batch: must be at least 1, not 0"),
    ],
)
def test_the_other_commands_say_what_is_wrong_too(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recomend"]) == 2
    assert "recommend" in capsys.readouterr().err


def test_serve_is_answered_with_what_there_is_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve"]) == 2
    assert "`servewatt run --via http`" in capsys.readouterr().err

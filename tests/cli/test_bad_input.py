"""Whatever is wrong with the input: one line and a hint, exit 2, and nothing has been measured."""

from __future__ import annotations

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
        (["recommend", "--max-memory", "2 boxes"], "--max-memory"),
        (["models", "prune", "--to", "much"], "much"),
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

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servewatt.cli.main import run
from servewatt.models.tokenizer import BUNDLED_FOLDER, load_alone
from servewatt.study.protocol.prompts import HUMANEVAL, HUMANEVAL_REVISION
from servewatt.workloads.prompts import read
from tests.models.fake_hub import FakeHub, Repository, serve, use
from tests.models.tiny import write_tokenizer

TASKS = 12


def problem(number: int) -> dict[str, str]:
    prompt = (
        f"def scale_{number}(values: list[float], factor: float) -> list[float]:\n"
        f'    """Return every value of the list multiplied by the factor, in order, at least {number} of them.\n\n'
        f"    >>> scale_{number}([1.0, 2.5, {number}.0], 2.0) == [2.0, 5.0, {2 * number}.0]\n"
        '    """\n'
    )
    return {
        "task_id": f"own/{number}",
        "prompt": prompt,
        "entry_point": f"scale_{number}",
        "canonical_solution": "    return [value * factor for value in values]\n",
        "test": "def check(candidate):\n    assert candidate([1.0], 2.0) == [2.0]\n",
    }


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(problem(n)) + "\n" for n in range(TASKS)))
    return file


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path) -> Iterator[FakeHub]:
    """A hub that has the data set as a table, and a tokenizer of bytes."""
    import pyarrow
    import pyarrow.parquet

    with serve() as server:
        use(server, tmp_path / "hf", monkeypatch)
        data, model = tmp_path / "data", tmp_path / "model"
        (data / "openai_humaneval").mkdir(parents=True)
        table = pyarrow.Table.from_pylist([problem(n) for n in range(TASKS)])
        pyarrow.parquet.write_table(table, data / "openai_humaneval" / "test-00000-of-00001.parquet")
        model.mkdir()
        write_tokenizer(model / "tokenizer.json")
        server.repositories[f"datasets/{HUMANEVAL}"] = Repository(data, HUMANEVAL_REVISION)
        server.repositories["owner/bytes"] = Repository(model)
        yield server


def study(*arguments: str) -> int:
    return run(["study", "prompts", *arguments])


def record(path: str = "humaneval-line.jsonl") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{path}.meta.json").read_text())
    return found


def test_the_study_s_rule(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study("--source", "own.jsonl", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == record()
    made = read("humaneval-line.jsonl")
    tokenizer = load_alone(BUNDLED_FOLDER)
    lengths = [len(tokenizer.encode(text)) for text in made.texts]
    assert len(made.texts) == shown["prompts"] == TASKS
    assert 10 <= min(lengths) == shown["shortest_tokens"]
    assert max(lengths) == shown["longest_tokens"] <= 15
    for number, (text, task) in enumerate(zip(made.texts, made.problems, strict=True)):
        own = problem(number)
        assert any(line.startswith(text) for line in own["prompt"].split("\n"))
        assert (task.task_id, task.entry_point, task.test) == (own["task_id"], own["entry_point"], own["test"])
    assert shown["recipe"]["source"] == {
        "name": "own.jsonl",
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "commit": "",
    }
    assert shown["sha256"] == hashlib.sha256(Path("humaneval-line.jsonl").read_bytes()).hexdigest()


def test_whole_prompts_are_left_as_they_are(source: Path) -> None:
    assert study("--source", "own.jsonl", "--rule", "whole", "--limit", "3") == 0
    assert read("humaneval-whole.jsonl").texts == tuple(problem(n)["prompt"] for n in range(3))
    assert (record("humaneval-whole.jsonl")["uncut"], record("humaneval-whole.jsonl")["recipe"]["seed"]) == (3, None)


def test_the_same_command_again_does_nothing_and_says_so(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study("--source", "own.jsonl")
    made = Path("humaneval-line.jsonl").stat().st_mtime_ns
    first = capsys.readouterr()
    assert study("--source", "own.jsonl") == 0
    again = capsys.readouterr()
    assert Path("humaneval-line.jsonl").stat().st_mtime_ns == made
    assert "made already: nothing to do" in again.err
    assert again.out == first.out


def test_a_limit_keeps_the_prompts_and_a_seed_changes_them(source: Path) -> None:
    study("--source", "own.jsonl", "--out", "all.jsonl")
    study("--source", "own.jsonl", "--out", "some.jsonl", "--limit", "4")
    study("--source", "own.jsonl", "--out", "other.jsonl", "--seed", "1")
    assert read("all.jsonl").texts[:4] == read("some.jsonl").texts
    assert read("all.jsonl").texts != read("other.jsonl").texts


def test_a_file_made_otherwise_is_not_replaced_unless_told(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study("--source", "own.jsonl")
    before = Path("humaneval-line.jsonl").read_bytes()
    assert study("--source", "own.jsonl", "--seed", "1") == 2
    shown = capsys.readouterr().err
    assert "made otherwise (seed: 0 there, 1 asked)" in shown
    assert "--force" in shown
    assert Path("humaneval-line.jsonl").read_bytes() == before
    assert study("--source", "own.jsonl", "--seed", "1", "--force") == 0
    assert record()["recipe"]["seed"] == 1
    Path("humaneval-line.jsonl").write_text("{}\n")
    assert study("--source", "own.jsonl", "--seed", "1") == 2
    assert "changed since" in capsys.readouterr().err
    Path("humaneval-line.jsonl.meta.json").unlink()
    assert study("--source", "own.jsonl") == 2
    assert "nothing says how it was made" in capsys.readouterr().err


def test_from_the_hub_and_then_without_it(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study() == 0
    source = record()["recipe"]["source"]
    assert (source["name"], source["commit"]) == (HUMANEVAL, HUMANEVAL_REVISION)
    study("--source", "own.jsonl", "--out", "own-line.jsonl")
    assert read("humaneval-line.jsonl").problems == read("own-line.jsonl").problems
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert study("--out", "again.jsonl") == 0
    assert read("again.jsonl").problems == read("own-line.jsonl").problems


def test_offline_without_a_copy_the_file_option_is_named(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert study() == 2
    shown = capsys.readouterr().err
    assert "HF_HUB_OFFLINE is set" in shown
    assert "--source HumanEval.jsonl.gz" in shown


def test_tokens_are_counted_by_the_tokenizer_asked_for(fake: FakeHub) -> None:
    assert study("--source", "own.jsonl", "--tokenizer", "owner/bytes", "--tokens", "12") == 0
    assert {len(text.encode()) for text in read("humaneval-line.jsonl").texts} == {12}
    recipe = record()["recipe"]
    assert (recipe["tokenizer"], recipe["tokenizer_commit"]) == ("owner/bytes", Repository(Path()).commit)
    assert study("--source", "own.jsonl", "--tokenizer", "model", "--tokens", "12", "--out", "local.jsonl") == 0
    assert read("local.jsonl").texts == read("humaneval-line.jsonl").texts
    assert record("local.jsonl")["recipe"]["tokenizer_sha256"] == recipe["tokenizer_sha256"]


@pytest.mark.parametrize("name", ["own.jsonl.gz", "own.parquet"])
def test_other_forms_of_the_source(source: Path, fake: FakeHub, name: str) -> None:
    if name.endswith("gz"):
        Path(name).write_bytes(gzip.compress(source.read_bytes()))
    else:
        Path(name).write_bytes(next(Path("data").rglob("*.parquet")).read_bytes())
    assert study("--source", name) == 0
    study("--source", "own.jsonl", "--out", "plain.jsonl")
    assert Path("humaneval-line.jsonl").read_bytes() == Path("plain.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--source", "absent.jsonl"], "no file absent.jsonl", ".jsonl.gz"),
        (["--source", "own.jsonl", "--revision", "main"], "a file has no revisions", "leave out"),
        (["--source", "own.jsonl", "--tokens", "15-10"], "--tokens '15-10' is no range", "10-15"),
        (["--source", "own.jsonl", "--tokens", "0-3"], "is no range", "10-15"),
        (["--source", "own.jsonl", "--tokens", "many"], "is no range", "10-15"),
        (["--source", "own.jsonl", "--tokens", "200-210"], "no line of own/0 can be cut to 200", "--tokens"),
        (["--source", "own.jsonl", "--rule", "whole", "--tokens", "3-4"], "neither cut nor drawn", "--rule line"),
        (["--source", "own.jsonl", "--rule", "whole", "--seed", "0"], "neither cut nor drawn", "--rule line"),
        (["--source", "own.jsonl", "--out", "lines.txt"], "one prompt a line", ".jsonl"),
        (["--source", "own.jsonl", "--out", "own.jsonl/x.jsonl"], "cannot write", "--out"),
        (["--source", "own.jsonl", "--tokenizer", "bundel"], "no tokenizer 'bundel'", "bundled"),
        (["--source", "empty.jsonl"], "empty.jsonl has no problems", "HumanEval"),
        (["--source", "broken.parquet"], "cannot read broken.parquet", "get the file again"),
    ],
)
def test_wrong_input_is_told_in_two_lines(
    source: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str
) -> None:
    Path("empty.jsonl").touch()
    Path("broken.parquet").write_bytes(b"no table")
    assert study(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second = shown.err.strip().splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert hint in second
    assert not Path("humaneval-line.jsonl").exists()

"""`servewatt study compare` from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.study.data.results_file import Results, write
from tests.study.builders import observation, study


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "synthetic.parquet"
    write(path, Results(study(models=1), ()))
    return path


def test_without_files_the_published_table_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "compare"]) == 0
    printed = capsys.readouterr()
    assert "supported only under another definition" in printed.out
    assert "arXiv 2412.15441" in printed.out
    assert printed.err == ""


def test_json_is_one_document(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    assert run(["study", "compare", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in found["sources"]] == ["published", "synthetic"]
    claims = {c["claim"]["name"]: c for c in found["claims"]}
    assert claims["cpu-least"]["verdict"] == "not in the table"
    assert found["ranks"][0]["model"] == "codeparrot-small"
    assert found["ranks"][0]["published"][0] == "<CPU, JIT>"


def test_ours_beside_theirs_by_time_for_one_model(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    assert run(["study", "compare", str(file), "--by", "time", "--model", "codeparrot-small"]) == 0
    printed = capsys.readouterr().out
    assert "Order by time: synthetic and published" in printed
    assert "weights: random" in printed


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "compare", "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# The published table, checked, by energy\n")
    assert "| within-cpu | published | 12 | least | 8.91 |" in printed


def test_several_files_are_compared_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for campaign, labels in (("gpu", ("<CUDA, TORCH>", "<CUDA, ONNX>")), ("cpu", ("<CPU, TORCH>", "<CPU, ONNX>"))):
        made = tuple(observation("phi2", label, campaign=campaign, run=campaign) for label in labels)
        write(tmp_path / f"{campaign}.parquet", Results(made, ()))
    files = [str(tmp_path / f"{c}.parquet") for c in ("gpu", "cpu")]
    assert run(["study", "compare", *files, "--json"]) == 0
    assert [s["name"] for s in json.loads(capsys.readouterr().out)["sources"]] == ["published", "cpu", "gpu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.parquet"], "missing.parquet"),
        (["--model", "tinylama"], "did you mean tinyllama"),
        (["--by", "power"], "power"),
    ],
)
def test_bad_input_is_told_in_two_lines(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "compare", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_the_published_check_needs_no_scipy() -> None:
    script = (
        "import sys; from servewatt.cli.main import run; run(['study', 'compare']); "
        "known = ('scipy', 'pandas', 'pyarrow', 'torch', 'altair', 'vl_convert'); "
        "print([m for m in known if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"

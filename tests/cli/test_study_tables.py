"""`servewatt study tables` as a user types it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.study.data import results_file
from servewatt.study.data.results_file import Results
from tests.study.builders import small


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "synthetic.parquet"
    results_file.write(path, Results(small(), ()))
    return path


def test_the_energy_table_is_the_default(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "tables", str(results)]) == 0
    shown = capsys.readouterr().out
    assert "Energy and time by model and configuration" in shown
    assert "<CUDA, ONNX>" in shown and "timed out" in shown


def test_csv_on_standard_output_is_nothing_but_csv(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "tables", str(results), "--format", "csv", "--model", "codegemma-2b"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {r["model"] for r in found} == {"codegemma-2b"}


def test_the_published_tables_need_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "tables", "--published", "--table", "savings", "--format", "latex"]) == 0
    assert r"\begin{tabular}" in capsys.readouterr().out
    assert run(["study", "tables", "--published", "--model", "phi2"]) == 0
    shown = capsys.readouterr().out
    assert "phi2" in shown and "tinyllama" not in shown


def test_a_figure_is_written_in_the_format_of_its_name(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "energy.SVG"
    assert run(["study", "tables", str(results), "--figure", "energy-time", "--out", str(out)]) == 0
    assert "pythia-410m" in out.read_text()
    assert capsys.readouterr().out == ""
    assert run(["study", "tables", "--published", "--figure", "size-groups", "--out", str(tmp_path / "s.png")]) == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "tables", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("size-groups", "pairs-energy", "energy-boxes", "published"))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ([], "no results file", "--published"),
        (["missing.parquet"], "missing.parquet", "collect"),
        (["--published", "some.parquet"], "--published", "leave out"),
        (["--published", "--table", "enrgy"], "enrgy", "energy"),
        (["--published", "--table", "pairs-energy"], "needs single observations", "collect"),
        (["--published", "--figure", "tests-energy", "--out", "x.svg"], "needs single observations", "collect"),
        (["--published", "--figure", "size-groups", "--out", "x.bmp"], "x.bmp", ".svg"),
        (["--published", "--figure", "size-groups"], "--out", ""),
        (["--published", "--model", "phi3"], "phi3", "phi2"),
    ],
)
def test_what_is_wrong_is_said_with_a_way_out(
    arguments: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["study", "tables", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and hint in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""

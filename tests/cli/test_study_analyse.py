"""`servewatt study analyse`, from the command line: CSV files and results files."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.study.data.results_file import Results, write
from tests.study.builders import observation


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two models; one configuration with one observation, one constant, one NaN, one missing."""
    rows = ["model,configuration,joules"]
    rows += [f"big,TORCH,{v}" for v in (4.0, 4.1, 4.3)]
    rows += [f"big,ONNX,{v}" for v in (3.0, 3.2, 3.1)]
    rows += ["big,OV,2.5", "big,JIT,9", "big,JIT,9", "big,JIT,9", "big,TORCH,NaN"]
    rows += [f"small,TORCH,{v}" for v in (1.0, 1.1, 1.3)]
    rows += [f"small,ONNX,{v}" for v in (1.2, 0.9, 1.05)]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One model in three configurations over five blocks, which differ by half and scatter by 1 %."""
    chance = random.Random(7)
    made = [
        observation("phi2", label, block, energy_j_per_token=level * chance.gauss(1, 0.01), s_per_token=None)
        for label, level in (("<CUDA, TORCH>", 2.0), ("<CUDA, ONNX>", 1.0), ("<CUDA, JIT>", 3.0))
        for block in range(5)
    ]
    path = tmp_path / "h200.parquet"
    write(path, Results(tuple(made), ()))
    return path


def analyse(*arguments: object) -> int:
    return run(["study", "analyse", *map(str, arguments)])


def test_a_csv_with_bad_groups_refuses_just_what_cannot_be_computed(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert analyse("--csv", table, "--value", "joules", "--group", "configuration", "--subject", "model") == 0
    out = capsys.readouterr().out
    assert "Shapiro-Wilk of OV: one observation; the test needs three" in out
    assert "Shapiro-Wilk of JIT: all observations are equal" in out
    assert "Levene, Welch ANOVA, Games-Howell of 3 pairs: OV has one observation; a variance needs two" in out
    assert "observations that are not finite numbers are left out: TORCH no. 4 of 4" in out
    assert "tests over all groups leave out those without observations: OV; JIT" in out
    assert out.count("Kruskal-Wallis") == 2
    assert out.count("Welch ANOVA") == 2


def test_a_csv_as_json(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--csv", table, "--value", "joules", "--group", "configuration", "--subject", "model")
    assert analyse(*arguments, "--model", "small", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (analysis,) = document["analyses"]
    assert analysis["battery"]["subject"] == "small"
    assert analysis["decision"] is None
    kruskal = next(f for f in analysis["battery"]["findings"] if f["test"] == "kruskal-wallis")
    # Ranks of TORCH 2, 4, 6 and of ONNX 5, 1, 3: H = 12 / 42 x (144 + 81) / 3 - 21 = 3 / 7.
    assert kruskal["statistic"] == pytest.approx(3 / 7)


def test_results_with_the_decision(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert analyse(results) == 0
    out = capsys.readouterr().out
    assert "phi2  global energy" in out
    assert "all 3 (n = 5 in each) are completely separated" in out
    assert "servewatt: <CUDA, ONNX> has the least global energy" in out
    assert "differs: paired blocks decide between <CUDA, ONNX> and <CUDA, TORCH>, Dunn-Holm does not" in out


def test_results_without_jit_as_json(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyse(results, "--without-jit", "--variable", "energy_j_per_token", "--alpha", "0.01", "--json") == 0
    (analysis,) = json.loads(capsys.readouterr().out)["analyses"]
    assert [g for g, _ in analysis["battery"]["groups"]] == ["<CUDA, TORCH>", "<CUDA, ONNX>"]
    assert analysis["battery"]["alpha"] == 0.01
    assert analysis["decision"]["best"] == "<CUDA, ONNX>"
    assert analysis["decision"]["confidence"] == pytest.approx(0.99)
    assert analysis["decision"]["sentence"].startswith("<CUDA, ONNX> has the least global energy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to analyse"),
        (["--csv", "x.csv"], "--csv needs --value"),
        (["--csv", "x.csv", "--value", "j"], "--csv needs --group"),
        (["--csv", "nowhere.csv", "--value", "j", "--group", "g"], "there is no file nowhere.csv"),
        (["a.parquet", "--csv", "x.csv", "--value", "j", "--group", "g"], "both --csv and results files"),
        (["--csv", "x.csv", "--value", "j", "--group", "g", "--without-jit"], "--without-jit goes with results files"),
        (["--csv", "x.csv", "--value", "j", "--group", "j"], "the values and what groups them are both column 'j'"),
        (["--csv", "x.csv", "--value", "j", "--group", "g", "--subject", "g"], "--group and --subject are both column"),
        (["a.parquet", "--value", "j"], "--value goes with --csv"),
        (["nowhere.parquet"], "there is no results file nowhere.parquet"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse(*arguments) == 2
    error = capsys.readouterr().err
    assert f"error: {message}" in error
    assert "hint: " in error


def test_a_bad_cell_is_named_by_its_line(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(table.read_text() + "small,ONNX,fast\n")
    assert analyse("--csv", table, "--value", "joules", "--group", "configuration") == 2
    assert "line 19: joules is 'fast'" in capsys.readouterr().err


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Three engines on eight days that differ by half; engines by 5 and 30 %, and a scatter of 1 %."""
    chance = random.Random(1)
    rows = ["engine,day,joules"]
    for day in range(8):
        state = chance.uniform(1, 1.5)
        rows += [
            f"{engine},{day},{level * state * chance.gauss(1, 0.01):.5f}"
            for engine, level in (("torch", 1.3), ("onnx", 1.0), ("openvino", 1.05))
        ]
    path = tmp_path / "days.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_blocks_of_a_csv_are_paired_and_a_sentence_concludes(
    days: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    columns = ("--csv", days, "--value", "joules", "--group", "engine")
    assert analyse(*columns, "--block", "day") == 0
    paired = capsys.readouterr().out
    assert "servewatt: onnx has the least joules: 4." in paired and "less than openvino, the next (8 blocks)" in paired
    assert analyse(*columns) == 0
    separate = capsys.readouterr().out
    assert "servewatt: Undecided between onnx and openvino" in separate and "not paired" in separate


def test_tables_of_a_csv_in_every_form(days: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("--csv", days, "--value", "joules", "--group", "engine", "--block", "day")
    assert analyse(*columns, "--table", "pairs", "--format", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    pair = next(r for r in rows if (r["first"], r["second"]) == ("onnx", "openvino"))
    assert float(pair["difference_low"]) < float(pair["difference"]) < float(pair["difference_high"]) < 0
    assert -1 <= float(pair["cliffs_delta_low"]) <= float(pair["cliffs_delta"]) <= float(pair["cliffs_delta_high"])
    assert analyse(*columns, "--format", "latex") == 0
    assert capsys.readouterr().out.count(r"\toprule") == 4
    assert analyse(*columns, "--table", "descriptives", "--format", "markdown") == 0
    assert "| days | onnx | 8 |" in capsys.readouterr().out
    assert analyse(*columns, "--format", "csv") == 2
    assert "CSV holds one table" in capsys.readouterr().err
    assert analyse(*columns, "--table", "pairz") == 2
    assert "did you mean pairs?" in capsys.readouterr().err


def test_figures_and_a_page_of_a_csv(days: Path, tmp_path: Path) -> None:
    columns = ("--csv", days, "--value", "joules", "--group", "engine", "--block", "day")
    assert analyse(*columns, "--figure", "differences", "--out", tmp_path / "d.svg") == 0
    assert "openvino" in (tmp_path / "d.svg").read_text()
    assert analyse(*columns, "--folder", tmp_path / "page") == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.index("onnx has the least joules") < page.index("<table")
    # A sentence in a table may be broken, a number or a name not.
    assert page.count('<td class="long"') == 1
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    for name in re.findall(r'href="((?:tables|figures)/[^"]+)"', page):
        assert (tmp_path / "page" / name).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block", "engine"], "--block is column 'engine', which has another part already"),
        (["--json", "--table", "pairs"], "--json prints everything that was found"),
        (["--figure", "boxes"], "--figure and --out go together"),
    ],
)
def test_options_of_tables_that_do_not_go_together(
    days: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse("--csv", days, "--value", "joules", "--group", "engine", *arguments) == 2
    assert f"error: {message}" in capsys.readouterr().err

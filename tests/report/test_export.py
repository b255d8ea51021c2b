from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from servewatt import wire
from servewatt.records import Boundary, Status
from servewatt.report.export import (
    Document,
    configurations_csv,
    to_json,
    trials_csv,
)
from servewatt.report.markdown import to_markdown
from servewatt.report.run.measures import INTERVALS
from servewatt.report.run.tables import run_latex
from servewatt.stats import analyse
from servewatt.stats.records import ConfigurationSummary
from tests.report import synthetic
from tests.stats import builders as stats_builders


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_row_a_configuration_with_the_numbers_given() -> None:
    found = rows(configurations_csv(synthetic.analysis()))
    assert [r["rank"] for r in found] == ["1", "2", "3", "4", "5", ""]
    first, second, failed = found[0], found[1], found[-1]
    assert float(first["energy_j_per_token"]) == 0.412
    assert float(second["energy_j_per_token_low"]) == 0.527 * 0.97
    assert float(second["best_over_this"]) == 0.412 / 0.527
    assert (first["weights"], first["boundary"], first["energy_grade"]) == ("trained", "machine", "counter + estimated")
    assert found[2]["options"] == "io_binding=true"
    assert failed["energy_j_per_token"] == "" and failed["blocks"] == "0" and failed["trials"] == "5"


def test_every_interval_of_a_summary_is_exported() -> None:
    measures = {f.name for f in fields(ConfigurationSummary) if f.type == "Interval | None"}
    assert measures == set(INTERVALS)


def test_one_row_a_trial_whatever_its_status() -> None:
    results = synthetic.results()
    found = rows(trials_csv(results))
    assert len(found) == len(results) == 30
    refused = next(r for r in found if r["status"] == "refused")
    assert refused["reason"] == "the graph computes in fp32, not bf16"
    assert refused["generate_energy_j:gpu:0"] == "" and refused["generate_s"] == ""
    fine = next(r for r in found if r["configuration"] == "torch/cuda/bf16/b1")
    # 520 tokens/s over 10 s at 0.412 J, three quarters of it on the GPU.
    assert float(fine["generate_energy_j:gpu:0"]) == pytest.approx(1606.8)
    assert (fine["grade:cpu:estimate"], fine["grade:gpu:0"]) == ("estimated", "counter")
    assert float(fine["idle_s"]) == 2.0


def test_csv_survives_commas_quotes_and_newlines() -> None:
    result = replace(synthetic.results()[0], reason='a, "b"\nc')
    assert rows(trials_csv([result]))[0]["reason"] == 'a, "b"\nc'
    assert rows(trials_csv([])) == []


def test_json_reads_back_as_the_same_records() -> None:
    analysis, recommendation = synthetic.analysis(), synthetic.recommendation()
    text = to_json(analysis, recommendation, synthetic.results())
    document = json.loads(text)
    assert document["analysis"]["run"]["id"] == "20260503-1412-k7"
    assert document["recommendation"]["choice"]["engine"] == "torch"
    assert [t["status"] for t in document["trials"]].count("refused") == 5
    back = wire.load(Document, text)
    assert back.analysis == analysis
    assert back.recommendation == recommendation


def test_json_holds_the_log_of_what_went_wrong_and_of_nothing_else() -> None:
    ok, bad = synthetic.results()[0], next(r for r in synthetic.results() if r.status is Status.REFUSED)
    results = [replace(ok, log="a warning"), replace(bad, log="Traceback: why"), replace(bad, log="")]
    text = to_json(synthetic.analysis(), synthetic.recommendation(), results)
    assert [t["log"] for t in json.loads(text)["trials"]] == ["", "Traceback: why", ""]
    assert wire.load(Document, text).trials[1].log == "Traceback: why"


def test_markdown_holds_the_answer_the_table_and_the_warnings() -> None:
    text = to_markdown(synthetic.random_weights(synthetic.analysis()), synthetic.recommendation())
    lines = text.splitlines()
    assert "Serve torch/cuda/bf16/b1: 0.41 J a token" in text
    assert "weights: random (seed 7)" in text
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 6
    assert len({line.count("|") for line in table}) == 1
    assert "~527 [511, 543]" in table[3] and "counter + estimated" in table[3] and "22 [16, 27]" in table[3]
    assert "## Warnings" in lines and "## Environment" in lines
    assert "NVIDIA H200" in text


def test_latex_holds_every_table_with_its_boundary_units_and_estimates() -> None:
    text = run_latex(synthetic.random_weights(synthetic.analysis()), synthetic.recommendation())
    tables = text.split("\\end{table}")[:-1]
    captions = [re.search(r"\\caption\{(.*)\}\\label", table) for table in tables]
    assert len(tables) == text.count("\\begin{table}") == len([c for c in captions if c])
    first = tables[0]
    assert "Energy per generated token" in first and "machine boundary" in first and "weights: random" in first
    assert "(mJ/token)" in first
    assert r"torch/cuda/fp32/b1 & $\sim$527 & {[}511, 543]" in first
    assert "22 & {[}16, 27]" in first
    rows = [line for table in tables for line in table.splitlines() if line.endswith(r"\\")]
    assert any("torch/cuda/bf16/b1" in row and "520" in row for row in rows)
    assert "no valid trial: the graph computes in fp32, not bf16" in text


def test_markdown_escapes_what_would_break_the_table() -> None:
    case = synthetic.CASES[0]
    evil = (replace(case[0], options=(("a|b", "<script>\n"),)), *case[1:])
    text = to_markdown(synthetic.analysis(summaries=(synthetic.summary(evil),)), synthetic.recommendation())
    assert "a\\|b=&lt;script&gt;" in text
    assert "<script>" not in text


def test_terminal_and_exports_do_not_load_what_draws_figures_and_pages() -> None:
    code = (
        "import sys, servewatt.report, servewatt.report.terminal, servewatt.report.export, servewatt.report.figures;"
        "print({'altair', 'vl_convert', 'matplotlib', 'jinja2', 'numpy', 'torch', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_trials_have_joules_per_token_inside_the_boundary_with_their_grade() -> None:
    # 80 J of the package and 40 J of the GPU, both counted, over 40 generated tokens.
    made = stats_builders.result(stats_builders.TORCH, package_j=80.0, gpu_j=40.0)
    run = stats_builders.run((stats_builders.TORCH,), blocks=1)
    for boundary, joules, grade in ((Boundary.MACHINE, 120.0, "counter"), (Boundary.GPU, 40.0, "counter")):
        analysis = analyse(run, [made], boundary=boundary)
        (row,) = csv.DictReader(io.StringIO(trials_csv([made], analysis)))
        assert (row["boundary"], float(row["energy_j"]), row["energy_grade"]) == (boundary.value, joules, grade)
        assert float(row["energy_j_per_token"]) == joules / 40
        assert row["tokens"] == str(40 + made.sections[-1].tokens_in)


def test_a_trial_without_energy_or_tokens_has_empty_cells() -> None:
    made = stats_builders.result(stats_builders.TORCH)
    lacking = replace(made.sections[-1], energy=made.sections[-1].energy[:1])
    wordless = replace(made.sections[-1], tokens_out=0)
    results = [
        replace(made, sections=(s,), trial=replace(made.trial, block=i)) for i, s in enumerate([lacking, wordless])
    ]
    analysis = analyse(stats_builders.run((stats_builders.TORCH,)), [made, *results])
    rows = list(csv.DictReader(io.StringIO(trials_csv([made, *results], analysis))))
    assert [row["energy_j_per_token"] for row in rows] == ["3.0", "", ""]
    assert [row["energy_j"] for row in rows] == ["120.0", "", "120.0"]

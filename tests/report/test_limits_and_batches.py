"""How far from the limit, and energy against batch, in every form of the report."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from rich.console import Console

from servewatt.recommendation.choose import choose
from servewatt.recommendation.records import Constraints, Recommendation
from servewatt.records import Gpu, Provider, Result, Shape
from servewatt.report import export
from servewatt.report.figures import figures
from servewatt.report.html import render_html
from servewatt.report.markdown import to_markdown
from servewatt.report.run.batches import batch_sentences, batch_table
from servewatt.report.run.limits import limit_table
from servewatt.report.table import Table, shown_rows
from servewatt.report.terminal import terminal_report
from servewatt.stats import analyse
from servewatt.stats.records import Analysis
from tests.stats.builders import ENVIRONMENT, TORCH, TORCH_CUDA, result, run

# 100 layers of 4 x 1000 x 1000 + 2 x 1000 x 1000 numbers and 1000 x 1000: 601 M numbers, 2.404 GB in fp32.
SHAPE = Shape(100, 1000, 10, 10, 100, 1000, 2, 1000)
BATCHES = tuple(replace(TORCH_CUDA, batch=b) for b in (1, 4, 16))


def analysis() -> Analysis:
    """Batches 1, 4 and 16 on an H200, least energy at 16; and the CPU at batch 1, of which no bandwidth is known."""
    environment = replace(ENVIRONMENT, gpus=(Gpu(0, "NVIDIA H200", 2**37, "580"),))
    made = run((*BATCHES, TORCH), blocks=6, environment=environment)
    made = replace(made, plan=replace(made.plan, model=replace(made.plan.model, shape=SHAPE)))
    joules = {1: 400.0, 4: 150.0, 16: 60.0}
    results: list[Result] = []
    for configuration in (*BATCHES, TORCH):
        for block in range(6):
            scale = 1 + 0.002 * ((block * 7 + configuration.batch) % 5)
            gpu_j = joules[configuration.batch] * scale if configuration.provider is Provider.CUDA else 900.0 * scale
            rows = configuration.batch
            trial = result(configuration, block, 80.0, gpu_j)
            results.append(replace(trial, generations=tuple(replace(g, rows=rows) for g in trial.generations)))
    return analyse(made, results)


def answer(made: Analysis) -> Recommendation:
    return choose(made, Constraints())


def terminal(made: Analysis, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_report(made, answer(made), width))
    return console.export_text()


def texts(table: Table) -> dict[str, dict[str, str]]:
    """Key of the configuration -> name of the column -> what stands there."""
    heads = [column.name for column in table.columns]
    rows = ([text.estimate for text in row.texts] for row in shown_rows(table))
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


def test_the_floor_stands_beside_what_was_measured() -> None:
    rows = texts(limit_table(analysis()))
    # The batches take 20 and 46.7 ms a step, so 33.3 ms. 2404 MB and 4.5 tokens of 0.8 MB, less a cache of 62.9 MB, at
    # 4.8 TB/s: 0.4885 ms.
    one = rows["torch/cuda/fp32/b1"]
    assert (one["floor_s_per_token"], one["decode_s_per_token"], one["bound_by"]) == ("0.488", "33.3", "memory")
    assert one["times_floor"] == "68.2"
    assert "less 62.9 MB a step that the last-level cache may keep" in limit_table(analysis()).notes
    # The weights are read once for 16 rows: 150.25 MB, and 3.6 MB of cache.
    assert rows["torch/cuda/fp32/b16"]["bytes_per_token"] == "154"
    cpu = rows["torch/cpu/fp32/b1"]
    assert (cpu["floor_s_per_token"], cpu["times_floor"]) == ("—", "—")
    assert "no floor where the device's memory bandwidth is not known" in limit_table(analysis()).notes


def test_the_best_batch_is_told_with_its_uncertainty_and_its_latency() -> None:
    table = batch_table(analysis())
    assert [(r.texts[0].estimate, r.texts[1].estimate, r.same) for r in shown_rows(table)] == [
        ("torch cuda fp32", "1", 0),
        ("torch cuda fp32", "4", 1),
        ("torch cuda fp32", "▸16", 1),
    ]
    (sentence,) = batch_sentences(analysis())
    # 140 J against 480 J: 71 % less.
    assert sentence.startswith("torch cuda fp32: least energy per token at batch 16; saves 71 % [")
    assert sentence.endswith("between tokens instead of 33.3 ms")


def test_every_form_shows_both_tables() -> None:
    made = analysis()
    for width in (80, 140):
        shown = terminal(made, width)
        assert "How far from the limit" in shown
        assert "Energy against batch" in shown
        assert max(map(len, shown.splitlines())) <= width
    page = render_html(made, answer(made))
    markdown = to_markdown(made, answer(made))
    for text in (page, markdown):
        assert "How far from the limit" in text
        assert "Energy against batch" in text
        assert "data sheet of NVIDIA H200" in text
    rows = list(csv.DictReader(io.StringIO(export.configurations_csv(made))))
    best = next(r for r in rows if r["configuration"] == "torch/cuda/fp32/b16")
    assert float(best["floor_s_per_token"]) < float(best["decode_s_per_token"])
    assert best["bound_by"] == "memory"
    assert float(best["prefill_j_per_token"]) + float(best["decode_j_per_token"]) > 0
    assert '"times_floor"' in export.to_json(made, answer(made))


def test_the_figure_of_batches_names_every_point() -> None:
    drawn = {f.name: f for f in figures(analysis())}
    assert "batch 1 12.0 J, batch 4 5.77 J, batch 16 3.50 J" in drawn["batch"].alt


def test_without_a_shape_or_batches_neither_table_is_there() -> None:
    made = analyse(run((TORCH,), blocks=1), [result(TORCH, 0)])
    shown = terminal(made, 80)
    assert "How far from the limit" not in shown
    assert "batch" not in shown
    assert "batch" not in {f.name for f in figures(made)}

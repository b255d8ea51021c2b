"""Quality beside energy, in every form of the report."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console

from servewatt import wire
from servewatt.quality import Agreement, Assessment, Document, HeldOut, Perplexity, Quality
from servewatt.records import Interval, Status
from servewatt.report.export import Document as Export
from servewatt.report.export import configurations_csv, to_json
from servewatt.report.html import render_html
from servewatt.report.markdown import to_markdown
from servewatt.report.run.measures import Filled
from servewatt.report.run.quality import quality_columns, quality_notes, quality_sentence, render_quality
from servewatt.report.table import entry_text
from servewatt.report.terminal import render_terminal
from servewatt.report.units import Quantity
from servewatt.stats.records import Analysis
from tests.report import synthetic

BF16, FP32, ONNX, INT8, TRACED = (case[0] for case in synthetic.CASES)
TEXT = HeldOut("standard library of Python 3.11.7", 0, 256, (Document("a.py", "00", 900),) * 24, "85d0")


def scored(ratio: float, spread: float, passed: int | None = None) -> Assessment:
    interval = Interval(ratio, ratio - spread, ratio + spread, 24)
    rate = None if passed is None else Interval(passed / 58, 0.0, 1.0, 58)
    return Assessment(
        FP32,
        Status.OK,
        agreement=Agreement(58, 0.5, 0.723, 38.0),
        perplexity=Perplexity(3.0, 0.98, interval),
        pass_rate=rate,
    )


QUALITY = Quality(
    model=synthetic.MODEL,
    reference=FP32,
    workload="bundled",
    workload_digest="0",
    new_tokens=64,
    assessments=(
        replace(scored(1.0, 0.0, 20), configuration=FP32),
        # Measured at another batch: it says the same.
        replace(scored(1.0123, 0.005, 19), configuration=replace(BF16, batch=8, threads=1)),
        Assessment(INT8, Status.CRASHED, "the worker was killed by SIGSEGV"),
    ),
    held_out=TEXT,
    servewatt_version="0.1.0",
)


def texts(column: Filled) -> list[Quantity]:
    """Its entries, from the first row to the last, as they are shown."""
    head, entries = column
    return [entry_text(head, entry) for entry in entries]


def analysis(quality: Quality | None = QUALITY) -> Analysis:
    return synthetic.analysis(quality=quality)


def test_the_ratio_and_the_tests_passed_stand_beside_each_configuration() -> None:
    ratio, passed = quality_columns(analysis())
    assert (ratio[0].title, passed[0].title) == ("perplexity ratio", "passed tests")
    # In the order of the ranking: torch bf16, torch fp32, onnx, openvino int8, torchscript, and one that never ran.
    assert [(c.estimate, c.interval) for c in texts(ratio)] == [
        ("1.0123", "[1.0073, 1.0173]"),
        ("1", "(reference)"),
        ("\u2014", ""),
        ("crashed", ""),
        ("\u2014", ""),
        ("\u2014", ""),
    ]
    assert [c.estimate for c in texts(passed)[:2]] == ["19/58", "20/58"]
    notes = quality_notes(analysis())
    assert "24 files of standard library of Python 3.11.7, 256 tokens each" in notes[0]
    assert notes[-1] == "Quality of openvino/cpu/int8/b1: crashed: the worker was killed by SIGSEGV"


def test_without_perplexity_agreement_stands_there() -> None:
    bare = replace(
        QUALITY,
        held_out=None,
        assessments=tuple(replace(a, perplexity=None, pass_rate=None) for a in QUALITY.assessments[:2]),
    )
    (same,) = quality_columns(analysis(bare))
    assert (same[0].title, same[0].scale.unit, texts(same)[0].estimate) == ("same beginning", "%", "72.3")
    assert "first differs from that of torch/cuda/fp32/b1" in quality_notes(analysis(bare))[0]
    assert quality_columns(analysis(None)) == () and quality_notes(analysis(None)) == ()


@pytest.mark.parametrize("width", [80, 112, 132])
def test_the_terminal_shows_it_in_the_table_of_energy(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    render_terminal(console, analysis(), synthetic.recommendation())
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    row = next(line for line in lines if "412 [" in line)
    assert "1.0123" in row and "counter + estimated" in row
    assert ("[1.0073, 1.0173]" in row and "19/58" in row) == (width >= 132)


def test_every_other_form_shows_it_too() -> None:
    page = render_html(analysis(), synthetic.recommendation())
    assert "perplexity ratio</button>" in page and "[1.0073, 1.0173]" in page
    assert "19/58" in page and "killed by SIGSEGV" in page
    text = to_markdown(analysis(), synthetic.recommendation())
    assert "| #1 saves, % | perplexity ratio | passed tests | tokens/s |" in text
    assert "| 1.0123 [1.0073, 1.0173] | 19/58 |" in text
    rows = list(csv.DictReader(io.StringIO(configurations_csv(analysis()))))
    assert [r["perplexity_ratio"] for r in rows[:3]] == ["1.0123", "1.0", ""]
    assert (rows[0]["leading_share"], rows[3]["quality_status"]) == ("0.723", "crashed")
    document = wire.load(Export, to_json(analysis(), synthetic.recommendation()))
    assert document.analysis.quality == QUALITY


def test_a_run_whose_quality_is_not_known_says_nothing_of_it() -> None:
    page = render_html(analysis(None), synthetic.recommendation())
    assert "erplexity" not in page
    assert "perplexity" not in to_markdown(analysis(None), synthetic.recommendation())


def test_one_configuration_in_one_line() -> None:
    assert quality_sentence(QUALITY, BF16) == (
        "perplexity ratio 1.0123 [1.0073, 1.0173], same beginning 72.3 %, 19/58 tests passed; beside torch/cuda/fp32/b1"
    )
    for configuration in (FP32, ONNX, INT8):  # the reference, one that was not asked, one that crashed
        assert quality_sentence(QUALITY, configuration) == ""


def test_the_table_of_the_command() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    render_quality(console, QUALITY)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for words in (
        "openvino cpu ",
        "bf16 b8 t1 ",
        "50  ",
        "72.3",
        "at 39",
        "1.0123",
        "0.9800",
        "19/58",
        "crashed",
        "killed by SIGSEGV",
        "sha256 85d0",
    ):
        assert words in shown

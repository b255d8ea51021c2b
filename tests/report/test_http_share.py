from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from servewatt import wire
from servewatt.records import Via
from servewatt.report.export import Document, configurations_csv, to_json, to_markdown
from servewatt.report.html import render_html
from servewatt.report.http_share import http_rows
from servewatt.report.terminal import render_terminal
from servewatt.stats.records import Analysis, HttpShare, Interval
from tests.report import synthetic

CASE = synthetic.CASES[1]
SERVED = replace(CASE[0], via=Via.HTTP)
SHARE = HttpShare(CASE[0], SERVED, Interval(0.041, 0.032, 0.05, 5), Interval(-0.0123, None, None, 2))


def analysis() -> Analysis:
    """Torch in fp32 in process and through HTTP, which takes 4.1 % of the energy and no time."""
    summaries = (synthetic.summary(CASE), synthetic.summary((SERVED, *CASE[1:])))
    return synthetic.analysis(summaries=summaries, comparisons=(), rankings=(), http_shares=(SHARE,))


def test_the_shares_are_per_cent_with_their_intervals_and_grade() -> None:
    (row,) = http_rows(analysis())
    assert (row.energy.estimate, row.energy.interval) == ("~4.1", "[3.2, 5.0]")  # the CPU's joules are estimated
    assert (row.time.estimate, row.time.interval) == ("-1.23", "(2 blocks)")
    assert (row.key, row.label, row.blocks) == ("torch/cuda/fp32/b1", "torch", 5)


@pytest.mark.parametrize("width", [80, 120])
def test_every_form_of_the_report_states_them(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    render_terminal(console, analysis(), synthetic.recommendation())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "HTTP's share" in shown and "~4.1 [3.2, 5.0]" in shown
    assert all(len(line) <= width for line in shown.splitlines())
    page = render_html(analysis(), synthetic.recommendation())
    assert "What HTTP adds" in page and "[3.2, 5.0]" in page
    assert "| torch/cuda/fp32/b1 | ~4.1 [3.2, 5.0] | -1.23 (2 blocks) | 5 |" in to_markdown(
        analysis(), synthetic.recommendation()
    )
    document = wire.load(Document, to_json(analysis(), synthetic.recommendation()))
    assert document.analysis.http_shares == (SHARE,)
    assert "cuda,fp32,1,,,http," in configurations_csv(analysis())


def test_a_run_without_both_ways_says_nothing_of_http() -> None:
    page = render_html(synthetic.analysis(), synthetic.recommendation())
    assert "What HTTP adds" not in page
    assert "Through HTTP" not in to_markdown(synthetic.analysis(), synthetic.recommendation())

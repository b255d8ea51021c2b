from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from servewatt import wire
from servewatt.records import Via
from servewatt.report.export import Document, configurations_csv, to_json
from servewatt.report.html import render_html
from servewatt.report.markdown import to_markdown
from servewatt.report.run.http import http_table
from servewatt.report.table import Table, entry_text
from servewatt.report.terminal import render_terminal
from servewatt.stats.records import Analysis, HttpShare, Interval
from tests.report import synthetic

CASE = synthetic.CASES[1]
SERVED = replace(CASE[0], via=Via.HTTP)
SHARE = HttpShare(
    CASE[0],
    SERVED,
    Interval(0.041, 0.032, 0.05, 5),
    Interval(-0.0123, None, None, 2),
    Interval(0.0061, 0.0058, 0.0064, 5),
)


def analysis(share: HttpShare = SHARE) -> Analysis:
    """Torch in fp32 in process and through HTTP; 0.61 % of a request's time the engine does not work."""
    summaries = (synthetic.summary(CASE), synthetic.summary((SERVED, *CASE[1:])))
    return synthetic.analysis(summaries=summaries, comparisons=(), rankings=(), http_shares=(share,))


def heads(table: Table) -> tuple[str, ...]:
    """Of the shares, between the name and the number of blocks."""
    return tuple(column.title for column in table.columns[1:-1])


def test_the_shares_are_per_cent_with_their_intervals_and_grade() -> None:
    table = http_table(analysis())
    assert heads(table) == ("outside engine", "energy/token", "time/token")
    (row,) = table.rows
    name, *shares, blocks = map(entry_text, table.columns, row)
    assert [(s.estimate, s.interval) for s in shares] == [
        ("0.61", "[0.58, 0.64]"),
        ("~4.1", "[3.2, 5.0]"),  # the CPU's joules are estimated
        ("-1.23", "(2 blocks)"),
    ]
    assert {c.scale.unit for c in table.columns[1:-1]} == {"%"}
    assert (name.estimate, row[0].short, blocks.estimate) == ("torch/cuda/fp32/b1", "torch", "5")
    within, between = table.notes
    assert "time, not energy" in within and "two trials" in between


def test_columns_without_anything_in_them_are_left_out() -> None:
    older = http_table(analysis(replace(SHARE, outside_engine=None)))
    assert (heads(older), len(older.notes)) == (("energy/token", "time/token"), 1)
    alone = http_table(analysis(replace(SHARE, process=None, energy=None, time=None)))
    assert (heads(alone), len(alone.notes)) == (("outside engine",), 1)
    assert alone.rows[0][0].value == "torch/cuda/fp32/b1"


@pytest.mark.parametrize("width", [80, 120])
def test_every_form_of_the_report_states_them(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    render_terminal(console, analysis(), synthetic.recommendation())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "HTTP's share" in shown and "~4.1 [3.2, 5.0]" in shown
    assert all(len(line) <= width for line in shown.splitlines())
    page = render_html(analysis(), synthetic.recommendation())
    assert "What HTTP adds" in page and "[3.2, 5.0]" in page and "outside engine<small>%</small>" in page
    assert "| torch/cuda/fp32/b1 | 0.61 [0.58, 0.64] | ~4.1 [3.2, 5.0] | -1.23 (2 blocks) | 5 |" in to_markdown(
        analysis(), synthetic.recommendation()
    )
    document = wire.load(Document, to_json(analysis(), synthetic.recommendation()))
    assert document.analysis.http_shares == (SHARE,)
    assert "cuda,fp32,1,,,http," in configurations_csv(analysis())


def test_a_run_without_both_ways_says_nothing_of_http() -> None:
    page = render_html(synthetic.analysis(), synthetic.recommendation())
    assert "What HTTP adds" not in page
    assert "Through HTTP" not in to_markdown(synthetic.analysis(), synthetic.recommendation())

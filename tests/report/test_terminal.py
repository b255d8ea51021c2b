from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from servewatt.recommendation.records import Recommendation
from servewatt.records import Boundary, Status
from servewatt.report.run.ranking import energy_table, resource_table
from servewatt.report.terminal import render_terminal
from servewatt.report.text_layout import layout
from servewatt.report.view import short_labels, view
from servewatt.stats.records import Analysis, Comparison, ConfigurationSummary, Interval, StatusCount, Verdict
from tests.report import synthetic


def rendered(analysis: Analysis, recommendation: Recommendation | None = None, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    render_terminal(console, analysis, recommendation or synthetic.recommendation())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_with(text: str, *words: str) -> str:
    found = [line for line in text.splitlines() if all(w in line for w in words)]
    assert found, f"no line with {words} in\n{text}"
    return found[0]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_answer_comes_first_and_nothing_is_wider_than_the_terminal(width: int) -> None:
    text = rendered(synthetic.analysis(), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.replace("▌", "").split())
    assert synthetic.recommendation().sentence in flat
    assert flat.index("Serve torch/cuda/bf16/b1") < flat.index("Energy per generated token")
    assert "…" not in text


def test_the_numbers_shown_are_those_given() -> None:
    text = rendered(synthetic.analysis())
    line = line_with(text, "torch/cuda/fp32/b1", "[511, 543]")
    assert "~527 [511, 543]" in line  # 0.527 J within 3 %
    assert "22 [16, 27]" in line  # 1 - 0.412 / 0.527, its interval 7 % either way
    resources = line_with(text, "torch cuda fp32", "446")
    for shown in ("12.0", "2.29/2.40", "160", "1.96", "1.77", "99", "38", "5/5", "100"):
        assert shown in resources


def test_the_choice_is_marked_without_colour() -> None:
    text = rendered(synthetic.analysis())
    assert line_with(text, "torch/cuda/bf16/b1", "~412").startswith("▸1")
    assert "\x1b" not in text


def test_an_estimate_says_so_in_its_own_line() -> None:
    for width in (80, 120):
        line = line_with(rendered(synthetic.analysis(), width=width), "~412")
        assert "estimated" in line


def test_a_counter_alone_is_not_marked_as_estimate() -> None:
    plain = replace(synthetic.summary(synthetic.CASES[0]), energy_grade="counter")
    text = rendered(synthetic.analysis(summaries=(plain,), comparisons=(), rankings=(), warnings=()))
    assert "~412" not in text
    assert "412 [400, 424]" in text


def test_random_weights_are_told_with_every_table() -> None:
    text = rendered(synthetic.random_weights(synthetic.analysis()))
    assert "weights: random (seed 7)" in text
    for title in ("Energy per generated token", "Time and resources"):
        assert "weights: random" in line_with(text, title)
    assert "weights: random" not in rendered(synthetic.analysis())


def test_boundary_and_both_orders_where_they_differ() -> None:
    text = rendered(synthetic.analysis())
    assert "machine boundary" in line_with(text, "Energy per generated token")
    third = line_with(text, "onnx cuda fp32 io_binding=true", "openvino cpu int8")
    assert third.split()[0] == "3"
    same = synthetic.analysis(rankings=synthetic.analysis().rankings[:1])
    assert "The order depends" not in rendered(same)


def test_failures_exclusions_and_warnings_are_listed() -> None:
    text = rendered(synthetic.analysis())
    assert "onnx/cpu/bf16/b1  no valid trial: the graph computes in fp32, not bf16" in text
    assert "openvino/cpu/int8/b1  1 invalid: other processes used 9 % of the CPU time" in text
    assert "! CPU energy is an estimate" in text
    assert "—" in line_with(text, "\N{MULTIPLICATION SIGN}—", "onnx/cpu/bf16/b1")


def test_undecided_is_an_answer() -> None:
    first, second = synthetic.CASES[0][0], synthetic.CASES[1][0]
    open_ = Comparison(first, second, Interval(0.98, 0.9, 1.07, 5), Verdict.UNDECIDED, 6)
    analysis = synthetic.analysis(comparisons=(open_,))
    answer = synthetic.recommendation(
        choice=None, candidates=(first, second), runner_up=open_, sentence="Undecided between the two.", more_blocks=6
    )
    text = rendered(analysis, answer)
    assert "Undecided between the two." in text
    assert line_with(text, second.key, "undecided").startswith("≈2")


def test_no_meter_is_a_dash_and_a_reason_never_zero() -> None:
    bare = replace(
        synthetic.summary(synthetic.CASES[0]),
        energy_j_per_token=None,
        energy_grade="",
        phases=(),
    )
    run = synthetic.run(environment=replace(synthetic.ENVIRONMENT, domains=()))
    text = rendered(synthetic.analysis(run=run, summaries=(bare,), comparisons=(), rankings=()))
    assert "no energy: no meter was available on this machine" in text
    assert "—" in line_with(text, "torch/cuda/bf16/b1", "missing")


def test_energy_outside_the_boundary_is_explained() -> None:
    bare = replace(synthetic.summary(synthetic.CASES[0]), energy_j_per_token=None, energy_grade="")
    run = synthetic.run(environment=replace(synthetic.ENVIRONMENT, domains=(synthetic.CPU_DOMAIN,)))
    text = rendered(synthetic.analysis(run=run, boundary=Boundary.GPU, summaries=(bare,), comparisons=()))
    assert "nothing was metered inside the gpu boundary" in text


def test_no_valid_trial_no_configuration_one_block() -> None:
    crashed = ConfigurationSummary(synthetic.CASES[0][0], (StatusCount(Status.CRASHED, 3, "signal 11"),), 0)
    nothing = synthetic.recommendation(choice=None, candidates=(), runner_up=None, exclusions=(), sentence="Nothing.")
    text = rendered(synthetic.analysis(summaries=(crashed,), comparisons=(), rankings=()), nothing)
    assert "no valid trial: 3 crashed: signal 11" in text
    assert "Nothing." in rendered(synthetic.analysis(summaries=(), comparisons=(), rankings=()), nothing)
    single = replace(synthetic.summary(synthetic.CASES[0]), energy_j_per_token=Interval(0.4, None, None, 1))
    assert "400 (1 block)" in rendered(synthetic.analysis(summaries=(single,), comparisons=(), rankings=()))


@pytest.mark.parametrize("width", [80, 120])
def test_forty_configurations_with_long_options_fit(width: int) -> None:
    text = rendered(synthetic.many(), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    energies = text[text.index("Energy per") : text.index("Time and resources")]
    ranks = [int(line[:3]) for line in energies.splitlines() if line[:3].strip().isdigit()]
    assert ranks == list(range(1, 41))


def test_markup_in_names_is_text() -> None:
    case = synthetic.CASES[0]
    evil = (replace(case[0], options=(("tag", "[red]x[/red]"),)), *case[1:])
    text = rendered(synthetic.analysis(summaries=(synthetic.summary(evil),), comparisons=(), rankings=()))
    assert "tag=[red]x[/red]" in text


def test_labels_drop_what_all_share() -> None:
    configurations = [c[0] for c in synthetic.CASES]
    labels = short_labels(configurations)
    assert labels["torch/cuda/bf16/b1"] == "torch cuda bf16"
    assert len(set(labels.values())) == len(configurations)
    odd = replace(configurations[0], options=(("path", "a/b"),))
    assert short_labels([configurations[0], odd])[odd.key] == "torch path=a/b"


@pytest.mark.parametrize("width", range(50, 90, 3))
def test_a_unit_stays_on_the_line_of_its_number(width: int) -> None:
    sentence = "It needs 22 % [16, 27] less, 24 ms at 300 W, 1.51 GiB and 412 mJ; " * 3
    told = synthetic.recommendation(sentence=sentence)
    analysis = synthetic.analysis(warnings=(sentence,))
    text = rendered(analysis, told, width).partition("Energy per generated token")[0]
    lines = [line.strip(" ▌") for line in text.splitlines()]
    assert not [line for line in lines if re.match(r"(%|ms|W|GiB|mJ)(\W|$)", line)]
    assert "412 mJ" in " ".join(lines)


@pytest.mark.parametrize("width", [50, 64, 80, 100, 140])
def test_in_any_width_a_unit_stays_with_its_head_and_no_word_of_a_head_is_split(width: int) -> None:
    made = synthetic.analysis()
    shown = view(made, synthetic.recommendation())
    for table in (energy_table(shown, made), resource_table(shown, made)):
        for panel in layout(table, width, short=True).panels:
            for found in panel:
                column = table.columns[found.index]
                words = " ".join(line.strip() for line in found.head)
                heads = {
                    f"{title} {unit}".strip()
                    for title in (column.title, column.short)
                    for unit in (column.scale.unit, column.short_unit)
                }
                assert words in heads, (width, found.head)
                assert all(len(line) <= found.width for line in found.head)
                if found.numeric:
                    assert all(len(cell) <= found.width for cell in found.cells)

"""A verdict in every form, by its numbers and by readers of each format."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from servewatt.recommendation.fingerprint import Difference, Part
from servewatt.recommendation.gate import Compared, Metric, Missing, Verdict, change_of, verdict_of
from servewatt.records import Interval
from servewatt.report.verdict import advice, sentence, to_benchmark_json, to_json, to_junit, to_markdown, to_text

SAME = Interval(1.0, 0.99, 1.01, 8)
WORSE = Interval(1.2, 1.15, 1.25, 8)
OPEN = Interval(1.02, 0.9, 1.2, 3)
NONE = Interval(1.02, None, None, 1)


def verdict(
    *ratios: Interval, missing: tuple[Missing, ...] = (), differences: tuple[Difference, ...] = (), paired: bool = False
) -> Verdict:
    compared = tuple(
        Compared(f"torch/cpu/fp32/b{number}", 0.5, 0.5 * ratio.estimate, ratio, change_of(ratio, 0.03))
        for number, ratio in enumerate(ratios, 1)
    )
    return verdict_of(
        compared,
        missing,
        metric=Metric.ENERGY,
        tolerance=0.03,
        confidence=0.95,
        paired=paired,
        names=("before.json", "run 2"),
        differences=differences,
    )


LOST = (Missing("onnx/cpu/fp32/b1", "head", "crashed: SIGSEGV"),)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (verdict(SAME), "Pass: no configuration takes more than 3 % more energy than the base."),
        (
            verdict(SAME, WORSE),
            "Worse: 1 configuration takes more energy than the tolerance of 3 %; "
            "torch/cpu/fp32/b2 takes +20.0 % [+15.0 % to +25.0 %].",
        ),
        (verdict(SAME, OPEN), "Undecided: 1 configuration cannot be told yet; no configuration is shown to be worse"),
        (verdict(SAME, missing=LOST), "Undecided: 1 configuration missing on one side;"),
    ],
)
def test_the_sentence(made: Verdict, words: str) -> None:
    assert sentence(made).startswith(words)
    assert to_text(made).startswith(words)


def test_what_would_tell() -> None:
    assert advice(verdict(SAME)) == ""
    assert "--budget" in advice(verdict(OPEN))
    assert "compare --base" in advice(verdict(OPEN)) and "compare --base" not in advice(verdict(OPEN, paired=True))
    assert "measure what is missing" in advice(verdict(SAME, missing=LOST))


def test_the_text_names_all() -> None:
    text = to_text(verdict(SAME, NONE, missing=LOST, differences=(Difference(Part.SOFTWARE, "torch", "2.9", "2.10"),)))
    assert "torch/cpu/fp32/b1  equal      +0.0 % [-1.0 % to +1.0 %]  (500 mJ/token -> 500 mJ/token)" in text
    assert "undecided  +2.0 % [no bound yet]" in text
    assert "note: missing in head: onnx/cpu/fp32/b1: crashed: SIGSEGV" in text
    assert "note: software differs: torch: 2.9 against 2.10" in text


def test_other_machines_are_told() -> None:
    text = to_text(verdict(SAME, differences=(Difference(Part.MACHINE, "cpu", "A", "B"),)))
    assert "machine differs: cpu: A against B" in text and "the machines differ" in text


def test_all_moved_alike() -> None:
    assert "all configurations moved alike, by about +20.0 %" in to_text(verdict(WORSE, WORSE, WORSE))


def test_junit_counts_failures_and_errors() -> None:
    root = ElementTree.fromstring(to_junit(verdict(SAME, WORSE, OPEN, missing=LOST)).encode())
    (suite,) = root.findall("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "1",
        "errors": "2",
    }
    kinds = [[child.tag for child in case] for case in suite.findall("testcase")]
    assert kinds == [["system-out"], ["failure"], ["error"], ["error"]]


def test_names_of_others_cannot_break_a_form() -> None:
    evil = "x|y`<b>\x1b[31m\x00&\"'\ud800@user"
    made = verdict(SAME, missing=(Missing(evil, "base", evil),))
    names = [case.get("name") for case in ElementTree.fromstring(to_junit(made).encode()).iter("testcase")]
    assert len(names) == 2
    markdown = to_markdown(made)
    assert "\x1b" not in markdown and "<b>" not in markdown.replace("\\<b\\>", "") and "@user" not in markdown


def test_markdown_is_a_table() -> None:
    rows = [line for line in to_markdown(verdict(SAME, WORSE)).splitlines() if line.startswith("| ")]
    assert [row.count(" | ") for row in rows] == [5, 5, 5]
    assert rows[2].startswith("| torch/cpu/fp32/b2 | worse | +20.0 % | +15.0 % to +25.0 % | 500 mJ/token | 600 mJ")


def test_benchmark_json_is_what_the_action_reads() -> None:
    """`customSmallerIsBetter`: a list of name, unit, value, and optionally range and extra, all text but the value."""
    rows = json.loads(to_benchmark_json(verdict(SAME, NONE)))
    assert [set(row) for row in rows] == [
        {"name", "unit", "value", "range", "extra"},
        {"name", "unit", "value", "extra"},
    ]
    assert (rows[0]["name"], rows[0]["unit"], rows[0]["value"]) == ("torch/cpu/fp32/b1", "J/token", 0.5)
    assert rows[0]["range"] == "± 0.005"


def test_json_has_all_of_it() -> None:
    document = json.loads(to_json(verdict(SAME, WORSE, missing=LOST)))
    assert (document["outcome"], document["tolerance"]) == ("worse", 0.03)
    assert [one["change"] for one in document["compared"]] == ["equal", "worse"]
    assert document["compared"][1]["ratio"] == {"estimate": 1.2, "low": 1.15, "high": 1.25, "n": 8}
    assert document["missing"][0]["lacking"] == "head"

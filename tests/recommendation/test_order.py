"""What stands first in the table is what the sentence names first, whatever was measured."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from servewatt.recommendation import choose
from servewatt.recommendation.order import in_order_of_choice
from servewatt.recommendation.records import Constraints
from servewatt.records import Configuration, Result, Via
from servewatt.report.table import Mark
from servewatt.report.view import comparison_for, view
from servewatt.stats import analyse
from servewatt.stats.compare import ranking
from servewatt.stats.records import Verdict
from tests.stats.builders import ONNX, OPENVINO, TORCH, TORCH_BF16, result, run

CONFIGURATIONS = (TORCH, ONNX, OPENVINO, TORCH_BF16, replace(TORCH, batch=4), replace(TORCH, via=Via.HTTP))


@st.composite
def runs(draw: st.DrawFn) -> list[Result]:
    """Few blocks, some of them missing; energies that tie, scatter, or read as zero or less."""
    level = st.sampled_from([0.0, -5.0, 40.0, 50.0, 50.0, 50.5, 60.0, 300.0])
    made = []
    for configuration in draw(st.lists(st.sampled_from(CONFIGURATIONS), min_size=1, unique=True)):
        base = draw(level)
        for block in draw(st.lists(st.integers(0, 7), min_size=1, unique=True)):
            joules = base * draw(st.sampled_from([1.0, 1.0, 1.01, 0.99, 1.3, 2.0]))
            trial = result(configuration, block, joules, 0.0)
            slow = draw(st.sampled_from([0.1, 0.1, 0.12, 0.3]))
            made.append(replace(trial, generations=(replace(trial.generations[0], ttft_s=slow),)))
    return made


LIMITS = st.sampled_from(
    [
        Constraints(),
        Constraints(max_ttft_s=0.11),
        Constraints(max_ttft_s=0.2),
        Constraints(max_ttft_s=0.2, max_latency_p95_s=0.25),
        Constraints(concurrency=1),
        Constraints(max_memory_bytes=1003),
    ]
)


@settings(max_examples=60, deadline=None)
@given(runs(), LIMITS)
def test_table_and_sentence_agree(results: list[Result], limits: Constraints) -> None:
    configurations = tuple(dict.fromkeys(r.trial.configuration for r in results))
    analysed = analyse(run(configurations, blocks=8), results)
    answer = choose(analysed, limits)
    analysis = in_order_of_choice(analysed, answer)
    shown = view(analysis, answer)
    assert {r.key for r in shown.rows} == {c.key for c in configurations}
    ranked = [r for r in shown.rows if r.rank.isdigit()]
    assert [r.rank for r in ranked] == [str(i + 1) for i in range(len(ranked))]
    excluded = {e.configuration.key for e in answer.exclusions}
    if answer.choice is not None:
        assert shown.rows[0].key == answer.choice.key
        assert shown.rows[0].mark is Mark.CHOICE
        assert shown.rows[0].rank == "1"
        assert re.match(f"Serve with {re.escape(answer.choice.key)}( for now)?: ", answer.sentence)
    elif ranked:
        assert answer.candidates[0].key == ranked[0].key
        could = f"No configuration is shown to meet the limits yet; {ranked[0].key} could: "
        assert answer.sentence.startswith(could)
    for row in ranked[1:]:
        comparison = comparison_for(analysis, row.summary.configuration)
        assert comparison is not None
        decided = comparison.verdict is Verdict.LOWER or row.key in {b.configuration.key for b in answer.beaten}
        in_question = row.summary.configuration in answer.candidates
        assert row.key in excluded or decided is not in_question, "the table and the sentence tell the same of each"
        assert comparison.verdict is not Verdict.HIGHER, "nothing stands above what is shown to need less"


def test_none_stands_before_one_that_needs_less_in_every_common_block() -> None:
    # b ran in two cheap blocks more, so its median is lower: 10.5 against 20.
    a = {0: 20.0, 1: 20.1, 2: 19.9, 3: 20.0}
    b = {0: 22.0, 1: 22.1, 2: 21.9, 3: 22.0, 4: 10.5, 5: 10.4, 6: 10.5, 7: 10.3, 8: 10.4}
    assert ranking({"b": b, "a": a}, 0.95) == ("a", "b")


def test_equal_medians_are_ranked_by_name_and_zero_comes_last() -> None:
    energies = {"c": {0: 0.0}, "b": {0: 1.0}, "a": {0: 1.0}, "d": {}}
    assert ranking(energies, 0.95) == ("a", "b", "c")


def test_pairs_that_contradict_each_other_still_give_an_order() -> None:
    # Each pair has its own blocks: a needs less than b, b less than c, c less than a.
    low, high = (1.0, 1.001, 0.999, 1.0), (2.0, 2.001, 1.999, 2.0)
    a = dict(zip(range(8), low + high, strict=True))
    b = dict(zip((0, 1, 2, 3, 8, 9, 10, 11), high + low, strict=True))
    c = dict(zip((8, 9, 10, 11, 4, 5, 6, 7), high + low, strict=True))
    assert sorted(ranking({"a": a, "b": b, "c": c}, 0.95)) == ["a", "b", "c"]


def test_an_excluded_configuration_stands_behind_those_in_question() -> None:
    batched = Configuration("torch", batch=16)
    results = [result(c, b, j + 0.01 * b, 0.0) for c, j in ((batched, 10.0), (TORCH, 100.0)) for b in range(5)]
    analysed = analyse(run((batched, TORCH), blocks=5), results)
    answer = choose(analysed, Constraints(concurrency=1))
    shown = view(in_order_of_choice(analysed, answer), answer)
    assert [(r.key, r.rank, r.mark) for r in shown.rows] == [
        (TORCH.key, "1", Mark.CHOICE),
        (batched.key, "", Mark.EXCLUDED),
    ]
    # What the first "saves" against the excluded one is negative: 10 against 100 J.
    assert shown.rows[1].saving.value is not None and shown.rows[1].saving.value < -8

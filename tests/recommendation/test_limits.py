"""Limits are judged by intervals: met, not met, or not shown yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from servewatt.recommendation import choose
from servewatt.recommendation.records import Constraints, Recommendation, Standing
from servewatt.records import Configuration, Interval, Result
from servewatt.stats import analyse
from servewatt.stats.intervals import blocks_until_apart
from tests.stats.builders import ONNX, OPENVINO, TORCH, result, run


def trials(
    configuration: Configuration, joules: float, latencies_s: Sequence[float], ttft_s: float = 0.005
) -> list[Result]:
    """A trial a block; every request of block i takes latencies_s[i], `ttft_s` of it until the first token."""
    made = []
    for block, latency in enumerate(latencies_s):
        plain = result(configuration, block, joules * (1 + 0.001 * (block % 2)), 0.0)
        generation = replace(plain.generations[0], ttft_s=ttft_s, inter_token_s=(latency - ttft_s,))
        made.append(replace(plain, generations=(generation,)))
    return made


def recommend(results: Sequence[Result], constraints: Constraints) -> Recommendation:
    configurations = tuple(dict.fromkeys(r.trial.configuration for r in results))
    return choose(analyse(run(configurations, blocks=5), results), constraints)


WIDE = (0.0215, 0.0225, 0.0237, 0.0252, 0.0263)
"""Median 23.7 ms. Mean of logarithms 3.1688 and deviation 0.0805 over 5: x / 1.105, so [21.5, 26.3]."""
TIGHT = (0.0100, 0.0101, 0.0100, 0.0099, 0.0100)


def test_an_estimate_below_the_limit_is_no_promise() -> None:
    answer = recommend(trials(TORCH, 50.0, WIDE), Constraints(max_latency_p95_s=0.024))
    assert answer.choice is None
    assert answer.candidates == (TORCH,)
    assert answer.more_blocks is not None and answer.more_blocks > 10
    (check,) = answer.checks
    assert check.standing is Standing.NOT_SHOWN
    assert check.low is not None and check.high is not None
    assert 1000 * check.low == pytest.approx(21.5, abs=0.1) and 1000 * check.high == pytest.approx(26.3, abs=0.1)
    assert answer.sentence.startswith(
        f"No configuration is shown to meet the limits yet; {TORCH.key} could: request latency p95 23.7 ms [21."
    )
    assert "is not shown to be within the limit of 24 ms yet (about " in answer.sentence
    assert "meets the limits" not in answer.sentence


@pytest.mark.parametrize(
    ("limit_s", "standing"), [(0.027, Standing.MET), (0.024, Standing.NOT_SHOWN), (0.021, Standing.NOT_MET)]
)
def test_the_bounds_decide(limit_s: float, standing: Standing) -> None:
    answer = recommend(trials(TORCH, 50.0, WIDE), Constraints(max_latency_p95_s=limit_s))
    assert [c.standing for c in answer.checks] == [standing]
    assert (answer.choice == TORCH) is (standing is Standing.MET)


def test_a_choice_names_those_that_are_not_shown_to_meet_the_limits() -> None:
    results = trials(TORCH, 50.0, WIDE) + trials(ONNX, 100.0, TIGHT)
    answer = recommend(results, Constraints(max_latency_p95_s=0.024))
    assert answer.choice == ONNX
    assert answer.sentence.startswith(
        f"Serve with {ONNX.key}: it is the only configuration shown to meet the limits (2.5 J of energy per token)"
    )
    assert answer.sentence.endswith(f" Not shown to meet the limits yet: {TORCH.key}.")
    assert [(e.configuration, e.not_shown) for e in answer.exclusions] == [(TORCH, True)]


def test_one_block_shows_nothing_and_says_what_would() -> None:
    answer = recommend(trials(TORCH, 50.0, WIDE[:1]), Constraints(max_latency_p95_s=5.0))
    assert answer.choice is None
    assert answer.more_blocks == 2
    assert answer.exclusions[0].reason == (
        "request latency p95 21.5 ms is not shown to be within the limit of 5 s yet "
        "(no interval from 1 block; 2 more blocks would give one)"
    )


def test_what_misses_one_limit_is_out_whatever_another_leaves_open() -> None:
    limits = Constraints(max_latency_p95_s=0.024, max_memory_bytes=500)
    answer = recommend(trials(TORCH, 50.0, WIDE), limits)
    assert [c.standing for c in answer.checks] == [Standing.NOT_SHOWN, Standing.NOT_MET]
    assert answer.candidates == ()
    assert [e.not_shown for e in answer.exclusions] == [False]


def test_several_limits_that_exclude_everything_say_which_is_to_blame() -> None:
    results = trials(TORCH, 50.0, TIGHT) + trials(ONNX, 60.0, tuple(2 * t for t in TIGHT))
    answer = recommend(results, Constraints(max_latency_p95_s=1.0, max_ttft_s=0.002))
    assert answer.sentence == (
        f"No configuration meets the limits; {TORCH.key} comes nearest: time to first token p95 5 ms is above the "
        f"limit of 2 ms (150 % over). The limit on time to first token p95 alone excludes every configuration; it "
        f"would have to be 5 ms for {TORCH.key}."
    )


def test_limits_that_only_together_exclude_everything_say_so() -> None:
    small = [replace(r, peak_rss_bytes=10**9) for r in trials(TORCH, 50.0, tuple(9 * t for t in TIGHT))]
    fast = [replace(r, peak_rss_bytes=3 * 10**9) for r in trials(ONNX, 60.0, TIGHT)]
    answer = recommend(small + fast, Constraints(max_latency_p95_s=0.05, max_memory_bytes=2 * 10**9))
    assert answer.choice is None
    assert answer.sentence.endswith(
        " Each limit alone is met by some configuration; no configuration meets all of them."
    )


def test_many_that_could_are_counted() -> None:
    configurations = [replace(TORCH, batch=2**i) for i in range(7)]
    results = [r for c in configurations for r in trials(c, 50.0, WIDE)]
    answer = recommend(results, Constraints(max_latency_p95_s=0.024))
    assert len(answer.candidates) == 7
    assert "and 3 others." in answer.sentence


@pytest.mark.parametrize(
    ("interval", "limit", "blocks"),
    [
        (Interval(10.0, None, None, 1), 12.0, 2),
        (Interval(10.0, None, None, 2), 12.0, 1),
        (Interval(10.0, 8.0, 12.0, 5), 10.0, None),
        # Student's t at 5 blocks: 2.776 / sqrt 5 = 1.2415 a half-width of 2, so 1.61 a unit; 1 needs t / sqrt n
        # below 0.6207: 2.179 / sqrt 13 = 0.604, 2.201 / sqrt 12 = 0.635.
        (Interval(10.0, 8.0, 12.0, 5), 11.0, 8),
        (Interval(10.0, 8.0, 12.0, 5), 9.0, 8),
        (Interval(10.0, 8.0, 12.0, 5), 10.0001, None),
    ],
)
def test_blocks_that_would_put_a_limit_outside_the_interval(
    interval: Interval, limit: float, blocks: int | None
) -> None:
    assert blocks_until_apart(interval, limit) == blocks


def test_openvino_without_latency_is_not_measured() -> None:
    blind = [replace(r, generations=()) for r in trials(OPENVINO, 50.0, TIGHT)]
    answer = recommend(blind + trials(TORCH, 80.0, TIGHT), Constraints(max_latency_p95_s=1.0))
    assert answer.choice == TORCH
    assert answer.exclusions[0].reason == "request latency p95 was not measured"
    assert {c.configuration: c.standing for c in answer.checks} == {
        OPENVINO: Standing.NOT_MEASURED,
        TORCH: Standing.MET,
    }

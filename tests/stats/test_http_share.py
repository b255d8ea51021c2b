from __future__ import annotations

import math
from dataclasses import replace

import pytest

from servewatt.records import Configuration, Generation, Result, Status, Via
from servewatt.stats.analyse import analyse
from servewatt.stats.http_share import engine_share
from servewatt.stats.intervals import confidence_sequence
from tests.stats.builders import GPU, ONNX, PACKAGE, TORCH, energy, failed, result, run, section

TORCH_HTTP = replace(TORCH, via=Via.HTTP)


def through_http(configuration: Configuration, block: int, energy_j: float, duration_s: float) -> Result:
    """A trial of 40 tokens."""
    generate = section("generate", duration_s, energy(PACKAGE, energy_j), energy(GPU, 0.0), passes=5, tokens_out=40)
    made = result(configuration, block)
    return replace(made, sections=(*made.sections[:-1], generate))


def test_the_share_is_one_less_process_over_http() -> None:
    # In process 80 J + 40 J and 10 s, through HTTP 150 J and 16 s: shares 1 - 120/150 and 1 - 10/16.
    results = [result(TORCH, b) for b in range(3)] + [through_http(TORCH_HTTP, b, 150.0, 16.0) for b in range(3)]
    (share,) = analyse(run((TORCH, TORCH_HTTP)), results).http_shares
    assert (share.process, share.http) == (TORCH, TORCH_HTTP)
    for found, expected in ((share.energy, 0.2), (share.time, 0.375)):
        assert found is not None
        assert found.n == 3
        # No scatter, so the interval closes.
        assert (found.estimate, found.low, found.high) == pytest.approx((expected, expected, expected))


def test_drift_that_both_meet_in_a_block_cancels() -> None:
    # The machine gets dearer from block to block, HTTP adds a quarter each time.
    results = [result(TORCH, b, 80.0 * (b + 1), 40.0 * (b + 1)) for b in range(4)]
    results += [through_http(TORCH_HTTP, b, 150.0 * (b + 1), 10.0) for b in range(4)]
    (share,) = analyse(run((TORCH, TORCH_HTTP), blocks=4), results).http_shares
    assert share.energy is not None
    assert (share.energy.low, share.energy.high) == pytest.approx((0.2, 0.2))


def test_the_intervals_share_the_error_and_turn_with_the_sign() -> None:
    joules = (150.0, 160.0, 145.0, 155.0, 150.0)
    results = [result(TORCH, b) for b in range(5)] + [
        through_http(TORCH_HTTP, b, j, 16.0) for b, j in enumerate(joules)
    ]
    (share,) = analyse(run((TORCH, TORCH_HTTP), blocks=5), results).http_shares
    # Two intervals are shown, of energy and of time, so each may err by half of 5 %.
    logs = confidence_sequence([math.log(120 / j) for j in joules], 0.025)
    assert logs.low is not None and logs.high is not None
    assert share.energy is not None
    assert (share.energy.low, share.energy.high) == pytest.approx((1 - math.exp(logs.high), 1 - math.exp(logs.low)))
    assert share.energy.estimate == pytest.approx(1 - math.prod(120 / j for j in joules) ** 0.2)


def test_only_blocks_with_both_count_and_a_share_may_be_negative() -> None:
    results = [result(TORCH, b) for b in range(3)]
    results += [through_http(TORCH_HTTP, 0, 100.0, 8.0), failed(TORCH_HTTP, 1, Status.CRASHED, "gone")]
    (share,) = analyse(run((TORCH, TORCH_HTTP)), results).http_shares
    assert share.energy is not None and share.time is not None
    assert (share.energy.n, share.energy.low) == (1, None)
    assert share.energy.estimate == pytest.approx(-0.2)
    assert share.time.estimate == pytest.approx(-0.25)


def test_without_both_ways_there_is_no_share() -> None:
    assert analyse(run((TORCH, ONNX)), [result(TORCH, 0), result(ONNX, 0)]).http_shares == ()
    only_http = [through_http(TORCH_HTTP, 0, 150.0, 16.0), result(ONNX, 0)]
    assert analyse(run((TORCH_HTTP, ONNX)), only_http).http_shares == ()
    (empty,) = analyse(run((TORCH, TORCH_HTTP)), [result(TORCH, 0)]).http_shares
    assert (empty.energy, empty.time) == (None, None)


def timed(configuration: Configuration, block: int, *engine_s: float | None) -> Result:
    """A trial whose requests take 0.1 s to the first of three tokens and 0.05 s to each other: 0.2 s for the client."""
    generations = tuple(Generation(i, 1, 100.0 + i, 0.1, (0.05, 0.05), 3, s) for i, s in enumerate(engine_s))
    return replace(through_http(configuration, block, 150.0, 16.0), generations=generations)


def test_the_engine_s_seconds_over_the_client_s_are_summed_over_the_window() -> None:
    # 0.19 s + 0.15 s of the engine in two requests of 0.2 s: not the mean of single shares.
    assert engine_share(timed(TORCH_HTTP, 0, 0.19, 0.15)) == pytest.approx(0.34 / 0.4)
    assert engine_share(timed(TORCH_HTTP, 0, 0.19, None)) is None
    assert engine_share(timed(TORCH_HTTP, 0)) is None
    assert engine_share(result(TORCH, 0)) is None


def test_one_trial_tells_what_the_engine_was_not_the_cause_of() -> None:
    # Through HTTP alone: shares outside the engine of 10 % and 20 %, whose engine shares have the mean sqrt(0.9 * 0.8).
    results = [timed(TORCH_HTTP, 0, 0.18), timed(TORCH_HTTP, 1, 0.16), result(ONNX, 0)]
    (share,) = analyse(run((TORCH_HTTP, ONNX)), results).http_shares
    assert (share.process, share.http, share.energy, share.time) == (None, TORCH_HTTP, None, None)
    assert share.outside_engine is not None
    assert share.outside_engine.n == 2
    assert share.outside_engine.estimate == pytest.approx(1 - math.sqrt(0.72))


def test_it_stands_beside_the_difference_of_two_trials_and_shares_the_error() -> None:
    seconds = (0.19, 0.18, 0.185, 0.18, 0.19)
    results = [result(TORCH, b) for b in range(5)] + [timed(TORCH_HTTP, b, s) for b, s in enumerate(seconds)]
    (share,) = analyse(run((TORCH, TORCH_HTTP), blocks=5), results).http_shares
    assert share.process == TORCH
    assert share.energy is not None and share.energy.estimate == pytest.approx(0.2)
    # Three intervals are shown, so each may err by a third of 5 %.
    logs = confidence_sequence([math.log(s / 0.2) for s in seconds], 0.05 / 3)
    assert logs.low is not None and logs.high is not None
    assert share.outside_engine is not None
    assert share.outside_engine.low == pytest.approx(1 - math.exp(logs.high))
    assert share.outside_engine.high == pytest.approx(1 - math.exp(logs.low))


def test_what_older_versions_recorded_has_no_such_share() -> None:
    results = [result(TORCH, 0), through_http(TORCH_HTTP, 0, 150.0, 16.0)]
    (share,) = analyse(run((TORCH, TORCH_HTTP)), results).http_shares
    assert (share.outside_engine, share.energy is None) == (None, False)

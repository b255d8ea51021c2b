from __future__ import annotations

import math
from dataclasses import replace

import pytest

from servewatt.records import Configuration, Result, Status, Via
from servewatt.stats.analyse import analyse
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

"""Batches of one configuration, compared by block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.records import Configuration, Result
from servewatt.stats import analyse
from tests.stats.builders import ONNX, TORCH, result, run

BATCHES = tuple(replace(TORCH, batch=b) for b in (1, 4, 16))


def trials(configuration: Configuration, joules: float, blocks: int = 6) -> list[Result]:
    # A little scatter, the same in no two configurations.
    return [
        result(configuration, b, joules * (1 + 0.002 * ((b * 7 + configuration.batch) % 5)), 0.0) for b in range(blocks)
    ]


def test_the_batch_of_least_energy() -> None:
    one, four, sixteen = BATCHES
    results = [*trials(one, 100.0), *trials(four, 40.0), *trials(sixteen, 60.0), *trials(ONNX, 50.0)]
    (curve,) = analyse(run((*BATCHES, ONNX), blocks=6), results).batch_curves
    assert [p.configuration.batch for p in curve.points] == [1, 4, 16]
    assert curve.best == four
    assert curve.candidates == (four,)
    assert curve.against_smallest is not None
    assert curve.against_smallest.ratio.estimate == pytest.approx(0.4, rel=0.01)


def test_batches_that_cannot_be_told_apart_are_all_named() -> None:
    one, four, sixteen = BATCHES
    results = [*trials(one, 100.0), *trials(four, 40.0), *trials(sixteen, 40.0)]
    (curve,) = analyse(run(BATCHES, blocks=6), results).batch_curves
    assert curve.candidates == (four, sixteen)


def test_one_batch_makes_no_curve() -> None:
    assert analyse(run((TORCH, ONNX)), [*trials(TORCH, 1.0, 2), *trials(ONNX, 2.0, 2)]).batch_curves == ()


def test_prefill_and_decode_add_up_to_the_total() -> None:
    # Prefill draws 12 W + 3 W for 0.4 s of the window: 6 J of 120 J, over 40 tokens.
    (summary,) = analyse(run((TORCH,), blocks=1), [result(TORCH, 0)]).summaries
    assert summary.prefill_j_per_token is not None and summary.decode_j_per_token is not None
    assert summary.prefill_j_per_token.estimate == pytest.approx(6 / 40)
    assert summary.decode_j_per_token.estimate == pytest.approx(114 / 40)


def test_the_pace_of_tokens_handed_over_in_groups() -> None:
    # Gaps of 10, 20, 30 and 20, 20, 100 ms.
    (summary,) = analyse(run((TORCH,), blocks=1), [result(TORCH, 0)]).summaries
    assert summary.inter_token_mean_s is not None
    assert summary.inter_token_mean_s.estimate == pytest.approx(0.2 / 6)


def test_repeated_prompts_are_pointed_out_and_counted() -> None:
    three = replace(TORCH, batch=3)
    # Two prompts fill a batch of three with one repeated: 5 passes are 15 requests for 120 J.
    analysis = analyse(run((three,), blocks=1), [result(three, 0, repeated_rows=1)])
    assert any("batch 3: 1 of 3 rows" in w for w in analysis.warnings)
    (summary,) = analysis.summaries
    assert summary.energy_j_per_request is not None
    assert summary.energy_j_per_request.estimate == pytest.approx(8.0)

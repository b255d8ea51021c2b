from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

import servewatt
from servewatt.errors import InputError
from servewatt.experiment.gathering import Found
from servewatt.recommendation.objective import Objective, time_costs
from servewatt.recommendation.quality import QualityLimits
from servewatt.records import Configuration, Result
from tests.stats.builders import ONNX, TORCH, result, run

FRUGAL, FAST = TORCH, ONNX
BATCHED = replace(ONNX, batch=4)


def trials(configuration: Configuration, joules: float, seconds: float) -> list[Result]:
    """Five trials of 40 tokens out."""
    draw, made = random.Random(configuration.key), list[Result]()
    for block in range(5):
        one = result(configuration, block, joules * (1 + draw.gauss(0, 0.002)), 0.0)
        took_s = seconds * (1 + draw.gauss(0, 0.002))
        sections = (replace(s, duration_s=took_s) if s.name == "generate" else s for s in one.sections)
        made.append(replace(one, sections=tuple(sections)))
    return made


def found(results: Sequence[Result]) -> Found:
    return Found(run(tuple(dict.fromkeys(r.trial.configuration for r in results)), blocks=5), list(results))


def test_energy_and_time_are_different_choices() -> None:
    known = found(trials(FRUGAL, 100.0, 10.0) + trials(FAST, 200.0, 4.0))
    assert servewatt.recommend(known).choice == FRUGAL
    answer = servewatt.recommend(known, objective="throughput")
    assert answer.choice == FAST and answer.decided
    assert answer.objective is Objective.THROUGHPUT
    assert "less time over all rows per token" in answer.sentence
    assert "energy" not in answer.sentence
    assert answer.runner_up is not None and answer.runner_up.ratio.estimate == pytest.approx(0.4, rel=0.01)


def test_a_batch_gains_throughput_and_costs_latency() -> None:
    known = found(trials(FRUGAL, 100.0, 10.0) + trials(BATCHED, 200.0, 4.0))
    assert servewatt.recommend(known, objective="throughput").choice == BATCHED
    answer = servewatt.recommend(known, objective="latency")
    assert answer.choice == FRUGAL
    assert "less request time per token" in answer.sentence
    # 10 s for 40 tokens of one row, against 4 s for 10 tokens of each of four rows.
    assert answer.runner_up is not None and answer.runner_up.ratio.estimate == pytest.approx(10 / 16, rel=0.01)


def test_unknown_objectives_and_runs_without_times() -> None:
    known = found(trials(FRUGAL, 100.0, 10.0))
    with pytest.raises(InputError, match="no objective 'latencies'"):
        servewatt.recommend(known, objective="latencies")
    without = [replace(r, sections=tuple(s for s in r.sections if s.name != "generate")) for r in known.results]
    with pytest.raises(InputError, match="latency cannot decide"):
        time_costs(without, Objective.LATENCY)
    assert servewatt.recommend(known, quality=QualityLimits(), objective="latency").choice == FRUGAL

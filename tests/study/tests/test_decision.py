"""servewatt's decision from observations: pairs within blocks, and says when it does not know."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from servewatt.errors import InputError
from servewatt.records import Status
from servewatt.stats.records import Verdict
from servewatt.study.data.observations import Observation
from servewatt.study.tests.decision import decide
from tests.study.builders import failed, observation

TORCH, ONNX, JIT = "<CUDA, TORCH>", "<CUDA, ONNX>", "<CUDA, JIT>"


def trials(configuration: str, *joules: float, run: str = "r") -> list[Observation]:
    return [
        observation("m", configuration, block, run=run, energy_j_per_token=value) for block, value in enumerate(joules)
    ]


def test_a_decision_with_its_interval() -> None:
    # Logarithms of the ratio: -0.5 and four around it, deviation 0.0158; five blocks at 0.05 need 2.93 deviations.
    logs = (-0.52, -0.51, -0.50, -0.49, -0.48)
    drift = (1.0, 2.0, 3.0, 1.5, 0.7)
    found = decide(
        [*trials(TORCH, *drift), *trials(ONNX, *(d * math.exp(v) for d, v in zip(drift, logs, strict=True)))]
    )
    assert found is not None
    assert found.best == ONNX
    assert not found.rivals
    (other,) = found.others
    assert found.runner_up is other
    assert other.configuration == TORCH
    assert other.verdict is Verdict.LOWER
    assert other.ratio.n == 5
    assert other.ratio.estimate == pytest.approx(math.exp(-0.5))
    half = 2.93 * math.sqrt(2.5e-4)
    assert other.ratio.low == pytest.approx(math.exp(-0.5 - half), abs=1e-4)
    assert other.ratio.high == pytest.approx(math.exp(-0.5 + half), abs=1e-4)
    assert other.more_blocks == 0
    assert found.sentence == (
        "<CUDA, ONNX> has the least global energy: 39.3 % [36.5, 42.1] less than <CUDA, TORCH>, the next (5 blocks)."
    )


def test_three_overlapping_configurations_are_undecided() -> None:
    found = decide([*trials(TORCH, 1.0, 1.1, 0.9), *trials(ONNX, 1.1, 0.95, 1.02), *trials(JIT, 9.0, 9.1, 9.2)])
    assert found is not None
    assert [r.configuration for r in found.rivals] == [ONNX]
    assert found.sentence.startswith("Undecided between <CUDA, TORCH> and <CUDA, ONNX> (global energy of")


def test_only_the_last_valid_attempt_of_a_block_counts() -> None:
    spoiled = observation("m", ONNX, 0, run="r", energy_j_per_token=99.0, status=Status.INVALID)
    first = observation("m", ONNX, 1, run="r", energy_j_per_token=99.0)
    again = replace(first, attempt=1, energy_j_per_token=0.5)
    found = decide([*trials(TORCH, 1.0, 1.0), spoiled, first, again])
    assert found is not None
    assert found.others[0].ratio.n == 1
    assert found.others[0].ratio.estimate == pytest.approx(0.5)


def test_blocks_of_different_runs_are_not_paired() -> None:
    found = decide([*trials(TORCH, 2.0, 2.1, 2.0, run="one"), *trials(ONNX, 1.0, 1.1, 1.0, run="two")])
    assert found is not None
    assert found.best == ONNX
    assert found.others[0].verdict is Verdict.UNDECIDED
    assert found.others[0].ratio.estimate == pytest.approx(0.5)
    assert "they share no block; measure them in one run" in found.sentence


def test_paired_blocks_outweigh_medians() -> None:
    # Where both ran, ONNX needs half; TORCH alone has three cheap blocks that lower its median.
    both = (4.0, 4.04, 3.96, 4.02, 4.0)
    cheap = dict.fromkeys(range(5, 11), 1.0)
    torch = [
        *trials(TORCH, *both),
        *(observation("m", TORCH, b, run="r", energy_j_per_token=v) for b, v in cheap.items()),
    ]
    found = decide([*torch, *trials(ONNX, *(v / 2 * s for v, s in zip(both, (1, 1.01, 0.99, 1, 1.005), strict=True)))])
    assert found is not None
    assert found.best == ONNX


def test_configurations_without_values_are_named() -> None:
    found = decide(
        [*trials(TORCH, 1.0, 1.0), failed("m", ONNX, 0, Status.CRASHED, "signal 11"), *trials(JIT, math.nan)]
    )
    assert found is not None
    assert found.unknown == (ONNX, JIT)
    assert found.others == ()
    assert found.runner_up is None
    assert "only configuration with a known global energy" in found.sentence
    assert decide([failed("m", ONNX, 0, Status.CRASHED, "signal 11")]) is None
    assert decide([]) is None


def test_another_variable() -> None:
    slow = [replace(o, s_per_token=v) for o, v in zip(trials(TORCH, 1, 1, 1), (0.5, 0.51, 0.5), strict=True)]
    fast = [replace(o, s_per_token=v) for o, v in zip(trials(ONNX, 1, 1, 1), (0.1, 0.101, 0.1), strict=True)]
    found = decide([*slow, *fast], "s_per_token")
    assert found is not None
    assert found.sentence.startswith("<CUDA, ONNX> has the least execution time:")
    with pytest.raises(InputError, match="unknown variable 'energy'"):
        decide(slow, "energy")


def test_models_are_not_mixed() -> None:
    with pytest.raises(InputError, match="several models: m, n"):
        decide([*trials(TORCH, 1.0), observation("n", TORCH)])

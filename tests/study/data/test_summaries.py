from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.records import Grade, Status
from servewatt.stats.energy import worst
from servewatt.study.data.names import configuration_order
from servewatt.study.data.summaries import from_cells, group_means, summarise
from servewatt.study.published import medians as published
from tests.study.builders import BF16, failed, observation, small, study


def test_every_model_has_every_configuration_of_its_campaign_measured_or_not() -> None:
    found = summarise(small())
    assert [(s.model, s.configuration, s.ok, s.blocks) for s in found] == [
        ("pythia-410m", "<CPU, TORCH>", 3, 3),
        ("pythia-410m", "<CUDA, TORCH>", 3, 3),
        ("pythia-410m", "<CUDA, ONNX>", 2, 3),
        ("codegemma-2b", "<CPU, TORCH>", 0, 3),
        ("codegemma-2b", "<CUDA, TORCH>", 3, 3),
        ("codegemma-2b", "<CUDA, ONNX>", 0, 0),
    ]
    assert [s.failure for s in found] == [
        "",
        "",
        "1 of 3 blocks: timed out (no answer in 600 s)",
        "out of memory (needs 10.0 GB & more)",
        "",
        "not measured",
    ]


def test_medians_and_grades_are_those_of_the_valid_blocks() -> None:
    cpu, cuda, onnx = summarise(small())[:3]
    assert cpu.estimate("energy_j_per_token") == 5.0
    assert cuda.estimate("energy_j_per_token") == 2.0
    assert onnx.estimate("energy_j_per_token") == 1.25
    assert cuda.estimate("gpu_energy_j_per_token") == pytest.approx(1.5)
    assert cpu.measure("gpu_energy_j_per_token") is None
    measured = cpu.measure("energy_j_per_token")
    assert measured is not None
    assert measured.values == (4.0, 5.0, 6.0)
    assert measured.grade is Grade.ESTIMATED
    # Two blocks are too few for an interval.
    two = onnx.measure("energy_j_per_token")
    assert two is not None and two.interval.low is None and two.interval.n == 2


def test_of_a_block_that_was_repeated_the_valid_attempt_counts() -> None:
    again = [
        failed("phi2", "<CPU, ONNX>", 0, Status.INVALID, "others used 9 % of the CPUs"),
        observation("phi2", "<CPU, ONNX>", 0, attempt=1, energy_j_per_token=3.0),
    ]
    (one,) = summarise(again)
    assert (one.ok, one.blocks, one.failure) == (1, 1, "")
    assert one.estimate("energy_j_per_token") == 3.0


def test_blocks_of_two_runs_are_not_one_another() -> None:
    trials = [
        observation("phi2", "<CPU, ONNX>", 0, energy_j_per_token=3.0, run="first"),
        observation("phi2", "<CPU, ONNX>", 0, energy_j_per_token=5.0, run="second"),
        replace(failed("phi2", "<CPU, ONNX>", 0, Status.TIMED_OUT, "no answer in 600 s"), run="third"),
    ]
    (one,) = summarise(trials)
    assert (one.ok, one.blocks) == (2, 3)
    assert one.failure == "1 of 3 blocks: timed out (no answer in 600 s)"
    assert one.estimate("energy_j_per_token") == 4.0


def test_a_size_group_is_the_mean_of_medians_and_names_who_is_absent() -> None:
    models = {"starcoderbase-1b": 3.0, "tinyllama": 5.0}
    observations = [observation(m, "<CPU, OV>", b, energy_j_per_token=e) for m, e in models.items() for b in range(3)]
    observations.append(failed("bloomz-1b1", "<CPU, OV>", 0, Status.CRASHED, "signal 11"))
    (mean,) = group_means(summarise(observations))
    assert (mean.group, mean.models, mean.absent) == (2, ("tinyllama", "starcoderbase-1b"), ("bloomz-1b1",))
    energy = mean.mean("energy_j_per_token")
    assert energy is not None and energy.value == 4.0
    assert mean.mean("gpu_energy_j_per_token") is None


def test_published_means_of_medians_equal_the_published_aggregation() -> None:
    found = {(m.group, m.configuration): m for m in group_means(from_cells(published.cells(), published.parameters()))}
    assert len(found) == 21
    for row in published.aggregated():
        mean = found[row.size_group, row.configuration].mean("s_per_token")
        assert mean is not None
        assert mean.value == pytest.approx(row.time_s, rel=1e-6)


def test_configurations_stand_in_the_study_s_order_other_precisions_after() -> None:
    labels = {s.configuration for s in summarise(study(models=1, blocks=1))}
    ordered = sorted(labels, key=configuration_order)
    assert ordered[:6] == ["<CPU, TORCH>", "<CPU, ONNX>", "<CPU, OV>", "<CPU, JIT>", "<CPU, OV, bf16>", "<CUDA, TORCH>"]
    assert ordered[-3:] == list(BF16[:3])


def test_batches_stand_by_size() -> None:
    labels = ["<CPU, TORCH, batch 16>", "<CPU, TORCH, batch 4>", "<CPU, TORCH>", "<CPU, TORCH, batch 256>"]
    assert sorted(labels, key=configuration_order) == [labels[2], labels[1], labels[0], labels[3]]


def test_the_worst_grade_is_the_least_trusted() -> None:
    assert worst([Grade.COUNTER, Grade.ESTIMATED, Grade.INTEGRATED]) is Grade.ESTIMATED
    assert worst([]) is Grade.MISSING

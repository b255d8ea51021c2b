"""Cells from observations."""

from __future__ import annotations

import pytest

from servewatt.records import Status
from servewatt.study.data.cells import Cell, cells_of, counterpart, stand_ins
from tests.study.builders import failed, observation, small


def test_a_cell_is_the_median_over_blocks_per_token() -> None:
    cells = {(c.model, c.configuration): c for c in cells_of(small())}
    assert cells["pythia-410m", "<CPU, TORCH>"] == Cell(
        "synthetic", "pythia-410m", "<CPU, TORCH>", 3, 5.0, 5.0, None, 0.08
    )
    assert cells["pythia-410m", "<CUDA, TORCH>"] == Cell(
        "synthetic", "pythia-410m", "<CUDA, TORCH>", 3, 2.0, 0.5, 1.5, 0.014
    )
    assert cells["pythia-410m", "<CUDA, ONNX>"].energy_j == 1.25
    assert cells["pythia-410m", "<CUDA, ONNX>"].repetitions == 2


def test_a_configuration_without_a_valid_trial_has_no_cell() -> None:
    assert ("codegemma-2b", "<CPU, TORCH>") not in {(c.model, c.configuration) for c in cells_of(small())}
    assert cells_of([]) == ()


def test_the_last_valid_attempt_of_a_block_counts() -> None:
    invalid = failed("phi2", "<CPU, OV>", 0, Status.INVALID, "others used 9 % of the CPUs")
    again = [observation("phi2", "<CPU, OV>", 0, attempt=a, energy_j_per_token=e) for a, e in ((2, 7.0), (1, 3.0))]
    (cell,) = cells_of([invalid, *again])
    assert (cell.repetitions, cell.energy_j) == (1, 7.0)


def test_blocks_of_several_runs_are_blocks_of_their_own() -> None:
    made = [observation(run=r, energy_j_per_token=e) for r, e in (("first", 1.0), ("second", 2.0))]
    (cell,) = cells_of(made)
    assert (cell.repetitions, cell.energy_j) == (2, 1.5)


def test_campaigns_stay_apart_and_configurations_stand_in_the_study_s_order() -> None:
    made = [
        observation(configuration=label, campaign=campaign)
        for campaign in ("h200", "cpu")
        for label in ("<CUDA, TORCH, bf16>", "<CUDA, ONNX>", "<CPU, JIT>", "<CUDA, TORCH>")
    ]
    cells = cells_of(made)
    assert [c.source for c in cells] == ["cpu"] * 4 + ["h200"] * 4
    assert [c.configuration for c in cells[:4]] == [
        "<CPU, JIT>",
        "<CUDA, TORCH>",
        "<CUDA, ONNX>",
        "<CUDA, TORCH, bf16>",
    ]


def test_what_was_not_measured_is_none_and_not_a_number_is_left_out() -> None:
    made = [
        observation(block=0, energy_j_per_token=None),
        observation(block=1, energy_j_per_token=float("nan")),
        observation(block=2, energy_j_per_token=4.0),
    ]
    (cell,) = cells_of(made)
    assert (cell.energy_j, cell.gpu_energy_j, cell.repetitions) == (4.0, None, 3)


@pytest.mark.parametrize(
    ("label", "plain"),
    [
        ("<CUDA, ONNX>", "<CUDA, ONNX>"),
        ("<CPU, TORCH, HTTP, linear=plain>", "<CPU, TORCH>"),
        ("<CPU, TORCH, linear=plain>", "<CPU, TORCH>"),
        ("<CUDA, ONNX, bf16>", None),
        ("<CUDA, ONNX, batch 4>", None),
        ("<CUDA, ONNX, bf16, HTTP>", None),
        ("<CUDA, OV>", None),
        ("<CUDA, fake>", None),
    ],
)
def test_only_fp32_of_batch_one_has_a_published_counterpart(label: str, plain: str | None) -> None:
    assert counterpart(label) == plain


def test_of_several_for_one_the_label_that_names_least_stands_in() -> None:
    labels = ["<CPU, OV, HTTP>", "<CPU, TORCH, HTTP>", "<CPU, TORCH>", "<CPU, JIT, bf16>"]
    assert stand_ins(labels) == {"<CPU, TORCH>": "<CPU, TORCH>", "<CPU, OV, HTTP>": "<CPU, OV>"}

"""Headline figures: verdicts follow from the cells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.study.data.cells import Cell
from servewatt.study.published import medians as published
from servewatt.study.published.claims import CLAIMS, ClaimCheck, Support, check
from servewatt.study.published.savings import Saving


def claim_check(name: str, cells: tuple[Cell, ...] | None = None, ours: tuple[Cell, ...] = ()) -> ClaimCheck:
    claim = next(c for c in CLAIMS if c.name == name)
    return check(claim, published.cells() if cells is None else cells, [ours] if ours else [])


def rows(saving: Saving | None) -> tuple[str, str, str]:
    assert saving is not None
    return (saving.model, saving.saver, saving.against)


def percent(found: ClaimCheck) -> dict[str, float]:
    return {r.definition: round(100 * r.saving.share, 2) for r in found.readings if r.saving is not None}


def with_energy(model: str, configuration: str, energy_j: float) -> tuple[Cell, ...]:
    return tuple(
        replace(c, energy_j=energy_j) if (c.model, c.configuration) == (model, configuration) else c
        for c in published.cells()
    )


def test_the_lower_end_on_cuda_is_supported_as_worded() -> None:
    found = claim_check("cuda-least")
    assert found.verdict is Support.SUPPORTED
    assert rows(found.readings[0].saving) == ("stablecode-3b", "<CUDA, TORCH>", "<CUDA, ONNX>")
    assert {"cuda-torch", "within-cuda", "all"} <= set(found.support)


def test_the_upper_end_on_cuda_is_supported_within_cuda_only() -> None:
    found = claim_check("cuda-most")
    assert found.verdict is Support.ELSEWHERE
    assert found.support == ("within-cuda", "cuda-torch-onnx")
    assert percent(found) == {"cuda-torch": 90.87, "within-cuda": 89.16, "cuda-torch-onnx": 89.16}
    assert rows(found.readings[1].saving) == ("bloomz-1b1", "<CUDA, TORCH>", "<CUDA, ONNX>")


def test_the_lower_end_on_the_cpu_is_not_in_the_table() -> None:
    found = claim_check("cpu-least")
    assert found.verdict is Support.ABSENT
    assert found.support == ()
    assert rows(found.nearest) == ("stablecode-3b-completion", "<CPU, ONNX>", "<CPU, TORCH>")
    assert found.nearest is not None
    # 1 - 575477.807861 / 631788.437874
    assert round(100 * found.nearest.share, 2) == 8.91
    assert percent(found) == {"cpu-onnx": -40.22, "within-cpu": 8.91}


def test_the_upper_end_on_the_cpu_is_openvino_s() -> None:
    found = claim_check("cpu-most")
    assert found.verdict is Support.ELSEWHERE
    assert found.support == ("within-cpu", "cpu-ov-torch")
    assert rows(found.readings[1].saving) == ("stablecode-3b", "<CPU, OV>", "<CPU, TORCH>")
    assert percent(found)["cpu-onnx"] == 62.90


@pytest.mark.parametrize("name", ["cuda-before-cpu-energy", "cuda-before-cpu-time"])
def test_cuda_is_before_the_cpu_in_all_models_but_one(name: str) -> None:
    found = claim_check(name)
    assert found.verdict is Support.ELSEWHERE
    assert [(r.definition, r.above_zero, r.models) for r in found.readings] == [
        ("cuda-cpu", 11, 12),
        ("cuda-cpu-best", 12, 12),
    ]
    saving = found.readings[0].saving
    assert saving is not None
    assert (saving.model, saving.saver) == ("bloomz-1b1", "<CUDA, ONNX>")
    assert found.nearest is None


def test_torch_on_cuda_needs_the_least_energy_of_all() -> None:
    found = claim_check("cuda-torch-first")
    assert found.verdict is Support.SUPPORTED
    assert (found.readings[0].above_zero, found.readings[0].models) == (12, 12)


def test_another_table_changes_the_verdict() -> None:
    # 8.98 % where the published table has 8.91 %.
    other = with_energy("stablecode-3b-completion", "<CPU, ONNX>", 631788.437874 * (1 - 0.0898))
    found = claim_check("cpu-least", other)
    assert found.verdict is Support.ELSEWHERE
    assert found.support == ("within-cpu",)
    assert found.nearest is None
    # And a table in which TORCH on CUDA is not the least for one model.
    worse = with_energy("phi2", "<CUDA, TORCH>", 200_000.0)
    assert claim_check("cuda-torch-first", worse).verdict is Support.ABSENT


@pytest.mark.parametrize(("share", "verdict"), [(0.89164, Support.ELSEWHERE), (0.89166, Support.ABSENT)])
def test_a_figure_is_met_to_its_last_digit(share: float, verdict: Support) -> None:
    other = with_energy("bloomz-1b1", "<CUDA, TORCH>", 114327.170499 * (1 - share))
    assert claim_check("cuda-most", other).verdict is verdict


def test_a_table_without_the_rows_supports_nothing() -> None:
    cuda_only = tuple(c for c in published.cells() if c.configuration.startswith("<CUDA"))
    found = claim_check("cpu-most", cuda_only)
    assert found.verdict is Support.ABSENT
    assert all(r.saving is None and r.models == 0 for r in found.readings)
    assert found.nearest is None


def test_ours_stand_beside_by_the_same_definitions() -> None:
    ours = tuple(
        Cell("h200", "phi2", label, 5, energy, None, None, 1.0)
        for label, energy in (("<CUDA, TORCH>", 2.0), ("<CUDA, ONNX>", 1.5))
    )
    found = claim_check("cuda-most", ours=ours)
    by_definition = {r.definition: r for r in found.ours}
    assert set(by_definition) == {"cuda-torch", "within-cuda", "cuda-torch-onnx"}
    # No CPU configuration was measured, so the worded definition has no value.
    assert by_definition["cuda-torch"].saving is None
    within = by_definition["within-cuda"].saving
    assert within is not None
    # Ours has ONNX before TORCH: 1 - 1.5/2, and TORCH against ONNX 1 - 2/1.5.
    assert within.saver == "<CUDA, ONNX>"
    assert within.share == pytest.approx(0.25)
    against = by_definition["cuda-torch-onnx"].saving
    assert against is not None
    assert against.share == pytest.approx(-1 / 3)
    assert by_definition["within-cuda"].source == "h200"

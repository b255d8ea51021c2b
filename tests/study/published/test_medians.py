"""The published figures as they lie in the package: complete, and consistent among themselves."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import pytest

from servewatt.records import Provider
from servewatt.study.data.cells import Cell
from servewatt.study.data.names import CONFIGURATIONS, SIZE_GROUPS, size_group
from servewatt.study.published import medians as published
from servewatt.study.published.checks import boundary_orders, request_steps


def cell(model: str, configuration: str) -> Cell:
    return next(c for c in published.cells() if (c.model, c.configuration) == (model, configuration))


def test_every_model_stands_in_every_configuration_once() -> None:
    models = [m.name for m in published.models()]
    assert len(models) == 12
    assert len(published.cells()) == 84
    assert Counter((c.model, c.configuration) for c in published.cells()) == Counter(
        (m, c) for m in models for c in CONFIGURATIONS
    )
    assert {(c.source, c.repetitions) for c in published.cells()} == {("published", 10)}


def test_two_cells_are_those_of_the_table() -> None:
    assert cell("bloomz-1b1", "<CUDA, ONNX>") == Cell(
        "published", "bloomz-1b1", "<CUDA, ONNX>", 10, 114327.170499, 51748.184044, 62642.135541, 1029.257360
    )
    assert cell("phi2", "<CPU, OV>") == Cell(
        "published", "phi2", "<CPU, OV>", 10, 442486.860435, 442486.860435, None, 2393.867481
    )


def test_cpu_cells_have_no_gpu_energy_and_cuda_cells_nearly_add_up() -> None:
    for one in published.cells():
        assert one.energy_j is not None
        assert one.cpu_energy_j is not None
        if one.configuration.startswith("<CPU"):
            assert one.gpu_energy_j is None
            assert one.energy_j == one.cpu_energy_j
        else:
            assert one.gpu_energy_j is not None
            # Medians of columns of their own.
            assert one.energy_j == pytest.approx(one.cpu_energy_j + one.gpu_energy_j, rel=0.01)


def test_the_size_groups_have_four_four_and_four_models() -> None:
    assert Counter(size_group(m.parameters) for m in published.models()) == {1: 4, 2: 4, 3: 4}


def test_the_aggregated_rows_are_means_of_the_cells_of_their_size_group() -> None:
    assert len(published.aggregated()) == 21
    assert {(a.size_group, a.configuration) for a in published.aggregated()} == {
        (g, c) for g in SIZE_GROUPS for c in CONFIGURATIONS
    }
    size = published.parameters()
    for row in published.aggregated():
        own = [
            c
            for c in published.cells()
            if c.configuration == row.configuration and size_group(size[c.model]) == row.size_group
        ]
        for field in ("cpu_energy_j", "energy_j", "time_s"):
            assert getattr(row, field) == pytest.approx(statistics.fmean(getattr(c, field) for c in own), abs=1e-5)
        if row.gpu_energy_j is not None:
            assert row.gpu_energy_j == pytest.approx(statistics.fmean(c.gpu_energy_j or 0 for c in own), abs=1e-5)


def test_utilisation_covers_what_could_be_recovered_and_agrees_with_the_cells() -> None:
    rows = published.utilisation()
    assert len(rows) == 75
    assert Counter((u.campaign, u.provider) for u in rows if u.model) == {
        ("2024-06", Provider.CPU): 20,
        ("2024-06", Provider.CUDA): 15,
        ("2024-11", Provider.CPU): 1,
        ("2024-11", Provider.CUDA): 36,
    }
    assert sum(not u.model for u in rows) == 3
    for row in rows:
        if row.model:
            own = cell(row.model, row.configuration)
            assert row.time_s == pytest.approx(own.time_s, abs=1e-5)
            assert row.cpu_energy_j == own.cpu_energy_j
            assert row.provider.value.upper() in row.configuration


def test_units_are_si() -> None:
    row = next(u for u in published.utilisation() if (u.model, u.configuration) == ("phi2", "<CUDA, TORCH>"))
    assert row.campaign == "2024-06"
    assert row.gpu_memory_bytes == pytest.approx(11975.102804 * 2**20, abs=1)
    assert row.ram_bytes == 8007963917
    assert row.gpu_power_w == 200.063659
    assert row.wall_power_w == 301.425968


def test_the_study_is_cited_by_paper_and_replication_package() -> None:
    readme = (Path(published.__file__).parent / "README.md").read_text(encoding="utf-8")
    for text in (published.CITATION, readme):
        assert "2412.15441" in text
        assert "10.5281/zenodo.15258679" in text


def test_the_boundary_of_energy_changes_the_order_of_tinyllama_alone() -> None:
    orders = {(o.model, o.boundary): o.configurations for o in boundary_orders(published.utilisation())}
    assert len(orders) == 15
    onnx, ov, torch = "<CPU, ONNX>", "<CPU, OV>", "<CPU, TORCH>"
    assert orders["tinyllama", "CPU package (the study's)"] == (onnx, torch, ov)
    assert orders["tinyllama", "CPU package and idle GPU"] == (onnx, ov, torch)
    assert orders["tinyllama", "wall"] == (ov, onnx, torch)
    changed = {m for m, b in orders if orders[m, b] != orders[m, "CPU package (the study's)"]}
    assert changed == {"tinyllama"}


def test_wall_energy_is_wall_power_times_the_time_of_the_pass() -> None:
    wall = next(o for o in boundary_orders(published.utilisation()) if (o.model, o.boundary) == ("tinyllama", "wall"))
    assert wall.energies_j == pytest.approx(
        (267.213817 * 1500.745790, 204.472497 * 2000.845365, 155.102319 * 2963.893108)
    )


def test_request_times_are_counted_in_rounds_of_the_polling_loop() -> None:
    steps = {s.model: s for s in request_steps(published.cells(), "<CUDA, TORCH>")}
    # The quickest request of the table is of pythia-410m on <CPU, JIT>: 94.378958 s for 164.
    assert steps["tinyllama"].s_per_request == pytest.approx(188.817668 / 164)
    assert steps["tinyllama"].steps == pytest.approx(188.817668 / 94.378958)
    assert {m for m, s in steps.items() if not s.whole} == {"bloomz-560m", "bloomz-1b1", "codegemma-2b", "phi2"}


def test_figures_are_read_once_and_cannot_be_changed() -> None:
    assert published.cells() is published.cells()
    assert astuple(published.models()[0]) == ("codeparrot-small", "codeparrot/codeparrot-small", "GPT2", 110_000_000)

"""Pairs of configurations over the models."""

from __future__ import annotations

import math

import pytest
import scipy.stats

from servewatt.errors import InputError
from servewatt.report.table_forms import to_text
from servewatt.study.data.cells import By, Cell
from servewatt.study.outputs import make_table, possible
from servewatt.study.tests.across import across_models
from servewatt.study.view import observed
from tests.study.builders import observation


def cell(model: str, configuration: str, energy_j: float | None, time_s: float = 1.0) -> Cell:
    return Cell("here", model, configuration, 5, energy_j, None, energy_j, time_s)


def two(ratios: dict[str, float]) -> list[Cell]:
    return [
        one
        for model, ratio in ratios.items()
        for one in (cell(model, "<CUDA, TORCH>", ratio), cell(model, "<CUDA, ONNX>", 1.0))
    ]


def test_geometric_mean_and_student_interval() -> None:
    ratios = {"a": 2.0, "b": 8.0, "c": 4.0}
    (one,) = across_models(two(ratios), By.ENERGY)
    assert (one.first, one.second) == ("<CUDA, TORCH>", "<CUDA, ONNX>")
    assert one.ratio.estimate == pytest.approx(4.0)
    logs = [math.log(r) for r in ratios.values()]
    low, high = scipy.stats.t.interval(0.95, 2, loc=math.log(4), scale=scipy.stats.sem(logs))
    assert one.ratio.low == pytest.approx(math.exp(low))
    assert one.ratio.high == pytest.approx(math.exp(high))
    assert one.least == pytest.approx(2.0)
    assert one.greatest == pytest.approx(8.0)
    assert (one.first_less, one.ratio.n) == (0, 3)


def test_sign_test_over_models() -> None:
    ratios = {f"m{i}": 1.5 for i in range(11)} | {"odd": 0.5}
    (one,) = across_models(two(ratios), By.ENERGY)
    assert one.first_less == 1
    assert one.p_family == pytest.approx(2 * (1 + 12) / 2**12)


def test_ties_lean_nowhere() -> None:
    (one,) = across_models(two({"a": 1.0, "b": 1.0}), By.ENERGY)
    assert one.p_family == 1.0
    assert one.first_less == 0


def test_holm_and_bonferroni_over_the_pairs() -> None:
    models = [f"m{i}" for i in range(6)]
    cells = [
        cell(m, c, e)
        for i, m in enumerate(models)
        for c, e in (("<CUDA, TORCH>", 4.0 + i), ("<CUDA, ONNX>", 2.0), ("<CUDA, JIT>", 1.0))
    ]
    found = across_models(cells, By.ENERGY)
    assert len(found) == 3
    assert all(one.p_family == pytest.approx(3 * 2 / 2**6) for one in found)
    alone = across_models([c for c in cells if "JIT" not in c.configuration], By.ENERGY)[0]
    same = next(one for one in found if (one.first, one.second) == (alone.first, alone.second))
    assert same.ratio.low is not None and alone.ratio.low is not None
    assert same.ratio.low < alone.ratio.low


def test_providers_and_missing_values_are_not_mixed() -> None:
    cells = [*two({"a": 2.0, "b": 2.0}), cell("a", "<CPU, OV>", 1.0), cell("b", "<CPU, OV>", 1.0)]
    assert len(across_models(cells, By.ENERGY)) == 1
    cells = [*two({"a": 2.0}), cell("b", "<CUDA, TORCH>", None), cell("b", "<CUDA, ONNX>", 1.0)]
    assert across_models(cells, By.ENERGY) == ()
    assert across_models([], By.ENERGY) == ()


def test_two_models_give_no_interval() -> None:
    (one,) = across_models(two({"a": 2.0, "b": 3.0}), By.ENERGY)
    assert (one.ratio.low, one.ratio.high) == (None, None)


def test_the_table() -> None:
    several = [
        observation(model, configuration, b, energy_j_per_token=e)
        for model in ("pythia-410m", "phi2", "tinyllama")
        for b in range(2)
        for configuration, e in (("<CUDA, TORCH>", 3.0), ("<CUDA, ONNX>", 2.0))
    ]
    view = observed(several)
    assert "across" in possible(view)[0]
    table = make_table(view, "across")
    text = to_text(table)
    assert "1.5" in text and "<CUDA, ONNX>" in text
    alone = observed([o for o in several if o.model == "phi2"])
    assert "across" not in possible(alone)[0]
    with pytest.raises(InputError, match="no two configurations"):
        make_table(alone, "across")

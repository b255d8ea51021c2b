"""Rank agreement, against values of Kendall's tau worked out by counting pairs."""

from __future__ import annotations

import math
import sys

import pytest

from servewatt.errors import UnavailableError
from servewatt.study.data.cells import By, Cell
from servewatt.study.data.names import CONFIGURATIONS
from servewatt.study.published.ranks import RankAgreement, agreement, overall


def cells(source: str, model: str, *energies: float | None) -> tuple[Cell, ...]:
    """Energies in the order of CONFIGURATIONS; times run the other way."""
    return tuple(
        Cell(source, model, label, 3, e, None, None, None if e is None else 1 / e)
        for label, e in zip(CONFIGURATIONS, energies, strict=False)
    )


def one(first: tuple[float | None, ...], second: tuple[float | None, ...], jit: bool = True) -> RankAgreement:
    (found,) = agreement(cells("published", "phi2", *first), cells("h200", "phi2", *second), By.ENERGY, jit)
    return found


def test_the_same_order_has_tau_one_whatever_the_values() -> None:
    found = one((30, 20, 10, 5), (3.3, 3.2, 3.1, 0.1))
    assert found.published == found.ours == ("<CPU, JIT>", "<CPU, OV>", "<CPU, ONNX>", "<CPU, TORCH>")
    assert found.n == 4
    assert found.tau == pytest.approx(1.0)
    # Of 4! orders two are as far from chance: p = 2/24, the least that four configurations allow.
    assert found.p_value == pytest.approx(2 / 24)
    assert found.p_least == pytest.approx(2 / 24)


def test_one_neighbouring_swap_of_three() -> None:
    # Two of three pairs agree, one does not: (2 - 1) / 3; every order of three is as far from chance.
    found = one((1, 2, 3), (1, 3, 2))
    assert found.tau == pytest.approx(1 / 3)
    assert found.p_value == pytest.approx(1.0)


def test_the_opposite_order_has_tau_minus_one() -> None:
    assert one((1, 2, 3), (3, 2, 1)).tau == pytest.approx(-1.0)


def test_ties_follow_tau_b() -> None:
    # Six pairs, five concordant, one tied in the second: 5 / sqrt(6 x 5).
    assert one((1, 2, 3, 4), (1, 2, 2, 3)).tau == pytest.approx(5 / math.sqrt(30))


def test_only_configurations_that_both_have_count() -> None:
    found = one((1, 2, 3, 4, 5, 6, 7), (None, 20, 10, None, 30))
    assert found.published == ("<CPU, ONNX>", "<CPU, OV>", "<CUDA, TORCH>")
    assert found.ours == ("<CPU, OV>", "<CPU, ONNX>", "<CUDA, TORCH>")


def test_fewer_than_three_in_common_are_refused() -> None:
    found = one((1, 2, 3), (1, 2))
    assert (found.tau, found.p_value, found.n) == (None, None, 2)
    assert found.refused == "2 configurations in common, fewer than 3"


def test_jit_can_be_left_out() -> None:
    found = one((4, 3, 2, 1), (3, 2, 1, 4), jit=False)
    assert found.n == 3
    assert found.tau == pytest.approx(1.0)
    assert one((4, 3, 2, 1), (3, 2, 1, 4)).tau == pytest.approx(0.0)


def test_equal_values_have_no_order() -> None:
    assert one((1, 2, 3), (5, 5, 5)).refused == "all values of one side are equal"


def test_time_is_ranked_by_time() -> None:
    published, ours = cells("published", "phi2", 1, 2, 3), cells("h200", "phi2", 1, 2, 3)
    (found,) = agreement(published, ours, By.TIME)
    assert found.published == ("<CPU, OV>", "<CPU, ONNX>", "<CPU, TORCH>")


def test_models_that_one_side_lacks_are_no_matter() -> None:
    published = (*cells("published", "phi2", 1, 2, 3), *cells("published", "tinyllama", 1, 2, 3))
    assert [a.model for a in agreement(published, cells("h200", "phi2", 1, 2, 3), By.ENERGY)] == ["phi2"]


def test_the_overall_agreement_is_the_median_over_models() -> None:
    published: tuple[Cell, ...] = ()
    ours: tuple[Cell, ...] = ()
    orders = {"phi2": (1, 2, 3), "tinyllama": (1, 3, 2), "bloomz-1b1": (3, 2, 1), "pythia1-4b": (1, 2)}
    for model, energies in orders.items():
        published += cells("published", model, 1, 2, 3)
        ours += cells("h200", model, *energies)
    found = overall(agreement(published, ours, By.ENERGY))
    assert found is not None
    # Taus 1, 1/3 and -1; the fourth has two configurations: no tau, but the same order.
    assert found.median_tau == pytest.approx(1 / 3)
    assert (found.models, found.compared, found.same_order) == (3, 4, 2)
    assert overall(()) is None


def test_without_scipy_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(UnavailableError) as caught:
        one((1, 2, 3), (1, 2, 3))
    assert caught.value.hint == "pip install 'servewatt[study]'"

"""Savings by their definitions, on round numbers and on the published table."""

from __future__ import annotations

import pytest

from servewatt.errors import InputError
from servewatt.study.data.cells import By, Cell
from servewatt.study.data.names import CONFIGURATIONS
from servewatt.study.published import medians as published
from servewatt.study.published.savings import DEFINITIONS, Absent, Savings, definition, savings

# TORCH, ONNX, OV, JIT on the CPU, then TORCH, ONNX, JIT on CUDA.
FIRST = (100.0, 80.0, 50.0, 10.0, 20.0, 40.0, 5.0)
SECOND = (100.0, 125.0, 200.0, 25.0, 60.0, 150.0, 4.0)


def cells(**models: tuple[float | None, ...]) -> tuple[Cell, ...]:
    """Energies in J by model, in the order of CONFIGURATIONS; times are half of them."""
    return tuple(
        Cell("ours", model, label, 3, value, None, None, None if value is None else value / 2)
        for model, values in models.items()
        for label, value in zip(CONFIGURATIONS, values, strict=True)
    )


def ends(found: Savings) -> tuple[tuple[str, str, str, float], ...]:
    both = (found.least, found.most)
    return tuple((s.model, s.saver, s.against, round(s.share, 6)) for s in both if s is not None)


def found(name: str, by: By = By.ENERGY) -> Savings:
    return savings(cells(first=FIRST, second=SECOND), definition(name), by)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        # 1 - 20/40 and 1 - 60/150.
        (
            "within-cuda",
            ("first", "<CUDA, TORCH>", "<CUDA, ONNX>", 0.5),
            ("second", "<CUDA, TORCH>", "<CUDA, ONNX>", 0.6),
        ),
        # 1 - 50/100 of OV against TORCH, and 1 - 100/200 of TORCH against OV: the first of equals.
        ("within-cpu", ("first", "<CPU, OV>", "<CPU, TORCH>", 0.5), ("first", "<CPU, OV>", "<CPU, TORCH>", 0.5)),
        # 1 - 5/40 and 1 - 4/150.
        (
            "within-cuda-jit",
            ("first", "<CUDA, JIT>", "<CUDA, ONNX>", 0.875),
            ("second", "<CUDA, JIT>", "<CUDA, ONNX>", 0.973333),
        ),
        # 1 - 10/100 and 1 - 25/200.
        ("within-cpu-jit", ("second", "<CPU, JIT>", "<CPU, OV>", 0.875), ("first", "<CPU, JIT>", "<CPU, TORCH>", 0.9)),
        # The least of all without JIT is TORCH on CUDA: 1 - 60/100 to 1 - 20/100.
        ("all", ("second", "<CUDA, TORCH>", "<CPU, TORCH>", 0.4), ("first", "<CUDA, TORCH>", "<CPU, TORCH>", 0.8)),
        # 1 - 5/10 to 1 - 4/200.
        ("all-jit", ("first", "<CUDA, JIT>", "<CPU, JIT>", 0.5), ("second", "<CUDA, JIT>", "<CPU, OV>", 0.98)),
        # 1 - 80/50 and 1 - 125/200.
        ("cpu-onnx", ("first", "<CPU, ONNX>", "<CPU, OV>", -0.6), ("second", "<CPU, ONNX>", "<CPU, OV>", 0.375)),
        # 1 - 125/100 and 1 - 80/100.
        (
            "cpu-onnx-torch",
            ("second", "<CPU, ONNX>", "<CPU, TORCH>", -0.25),
            ("first", "<CPU, ONNX>", "<CPU, TORCH>", 0.2),
        ),
        # Each against each: 1 - 150/100, and 1 - 20/100.
        ("cuda-cpu", ("second", "<CUDA, ONNX>", "<CPU, TORCH>", -0.5), ("first", "<CUDA, TORCH>", "<CPU, TORCH>", 0.8)),
        # 1 - 60/100 and 1 - 20/50.
        (
            "cuda-cpu-best",
            ("second", "<CUDA, TORCH>", "<CPU, TORCH>", 0.4),
            ("first", "<CUDA, TORCH>", "<CPU, OV>", 0.6),
        ),
    ],
)
def test_each_definition_on_round_numbers(
    name: str, least: tuple[str, str, str, float], most: tuple[str, str, str, float]
) -> None:
    assert ends(found(name)) == (least, most)
    # Times are half the energies, so their ratios are the same.
    assert ends(found(name, By.TIME)) == (least, most)


def test_a_definition_of_one_pair_gives_one_saving_a_model_and_of_each_several() -> None:
    assert [s.model for s in found("within-cpu").values] == ["first", "second"]
    assert len(found("all").values) == 2 * 4
    assert len(found("cuda-cpu").values) == 2 * 2 * 3
    assert found("within-cpu").values[0].saver_value == 50.0
    assert found("within-cpu", By.TIME).values[0].saver_value == 25.0


def test_a_model_that_lacks_a_configuration_is_left_out_and_told() -> None:
    lacking = (100.0, None, 50.0, 10.0, 20.0, 40.0, 5.0)
    made = cells(first=FIRST, second=lacking)
    result = savings(made, definition("within-cpu"))
    assert [s.model for s in result.values] == ["first"]
    assert result.absent == (Absent("second", ("<CPU, ONNX>",)),)
    assert len(savings(made, definition("within-cuda")).values) == 2


def test_without_any_model_there_are_no_extremes() -> None:
    empty = savings((), definition("all"))
    assert (empty.values, empty.least, empty.most, empty.source) == ((), None, None, "")


def test_equal_configurations_save_nothing() -> None:
    made = cells(first=(7.0,) * 7)
    result = savings(made, definition("within-cpu"))
    assert result.least is not None
    assert result.least.share == 0
    assert result.least.saver != result.least.against


def test_two_sources_do_not_compare() -> None:
    with pytest.raises(ValueError, match="ours, published"):
        savings((*cells(first=FIRST), *published.cells()), definition("all"))


def test_an_unknown_definition_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        definition("within-gpu")
    assert "within-cpu" in caught.value.hint


def test_every_definition_has_a_name_of_its_own_and_a_sentence() -> None:
    assert len({d.name for d in DEFINITIONS}) == len(DEFINITIONS)
    assert all(d.sentence.startswith("per model, ") for d in DEFINITIONS)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        # The study's headline figures and the ranges beside them; percent.
        ("within-cuda", (37.99, "stablecode-3b"), (89.16, "bloomz-1b1")),
        ("within-cpu", (8.91, "stablecode-3b-completion"), (72.04, "stablecode-3b")),
        ("cuda-torch", (37.99, "stablecode-3b"), (90.87, "stablecode-3b")),
        ("all", (37.99, "stablecode-3b"), (90.87, "stablecode-3b")),
        ("cpu-onnx-torch", (-40.22, "bloomz-1b1"), (62.90, "stablecode-3b")),
    ],
)
def test_ranges_of_the_published_table(name: str, least: tuple[float, str], most: tuple[float, str]) -> None:
    result = savings(published.cells(), definition(name))
    assert result.least is not None
    assert result.most is not None
    assert (round(100 * result.least.share, 2), result.least.model) == least
    assert (round(100 * result.most.share, 2), result.most.model) == most

"""What a plan is checked for before anything is measured."""

from __future__ import annotations

import pytest

from servewatt.cli.hints import worded
from servewatt.errors import InputError
from servewatt.experiment import machine
from servewatt.experiment.machine import board_in_use, check_boards
from servewatt.records import Component, Configuration, Domain, Grade, Precision, Provider

CPU = Configuration("torch", Provider.CPU, Precision.FP32)
CUDA = Configuration("torch", Provider.CUDA, Precision.FP32)
PACKAGE = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001)


def board(index: int) -> Domain:
    return Domain(f"gpu:{index}", Component.GPU, Grade.COUNTER, 0.1)


def test_another_board_than_the_one_that_computes_is_metered() -> None:
    with pytest.raises(InputError, match=r"CUDA computes on gpu:0 here, which is not metered \(gpu:1 is\)") as error:
        check_boards([CPU, CUDA], [PACKAGE, board(1)], 0)
    assert "meters=nvml:0" in error.value.hint
    assert "--meter nvml:0" in worded(error.value.hint)


def test_boards_are_told_in_their_order() -> None:
    with pytest.raises(InputError, match=r"\(gpu:2, gpu:10 are\)"):
        check_boards([CUDA], [board(2), board(10)], 0)


def test_imitated_boards_are_no_boards_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "first_visible_board", lambda: 1)
    assert board_in_use(["fake:gpu:0=100"]) is None
    assert board_in_use(["nvml", "replay:recorded.json"]) is None
    assert board_in_use(["nvml:0"]) == 1
    assert board_in_use([]) == 1


@pytest.mark.parametrize(
    ("configurations", "domains", "in_use"),
    [
        ([CUDA], [board(1)], 1),
        ([CUDA], [board(0), board(1)], 0),
        ([CPU], [board(1)], 0),
        ([CUDA], [PACKAGE], 0),
        ([CUDA], [board(1)], None),
    ],
    ids=["the same", "all", "nothing on CUDA", "no board", "no driver"],
)
def test_boards_that_may_be_metered(
    configurations: list[Configuration], domains: list[Domain], in_use: int | None
) -> None:
    check_boards(configurations, domains, in_use)

"""When rows fall silent and a generation is over."""

from __future__ import annotations

from servewatt.engines.base import Step
from servewatt.engines.shared.rows import Rows


def test_a_row_says_its_stop_id_and_is_silent_from_then_on() -> None:
    rows = Rows(3, frozenset({7, 9}))
    assert rows.step([1, 7, 2], 0.5) == Step((1, 7, 2), 0.5)
    assert rows.step([9, 4, 3], 0.6) == Step((9, None, 3), 0.6)
    assert not rows.over
    assert rows.step([7, 7, 9], 0.7) == Step((None, None, 9), 0.7)
    assert rows.over


def test_without_stop_ids_no_row_ends() -> None:
    rows = Rows(2, frozenset())
    assert [rows.step([0, token], 0.0).tokens for token in (1, 0)] == [(0, 1), (0, 0)]
    assert not rows.over

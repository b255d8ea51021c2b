"""What can be an answer to what an engine was asked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from servewatt.engines.answers import (
    Asked,
    check_facts,
    check_log_probabilities,
    check_peak_bytes,
    check_times,
    check_tokens,
)
from servewatt.errors import RefusedError
from servewatt.records import Facts

TWO = Asked(rows=2, new_tokens=3, stop_ids=frozenset(), vocabulary_size=100)
UNTIL_9 = Asked(rows=2, new_tokens=3, stop_ids=frozenset({9}), vocabulary_size=100)


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        (TWO, [(0, 99), (9, 9), (1, 2)]),
        (UNTIL_9, [(1, 2), (3, 4), (5, 6)]),
        (UNTIL_9, [(1, 9), (9, None)]),
        (UNTIL_9, [(9, 9)]),
        (UNTIL_9, [(1, 9), (2, None), (9, None)]),
        (UNTIL_9, [(1, 9), (2, None), (3, None)]),
    ],
)
def test_rows_have_a_token_a_step_until_they_end(asked: Asked, steps: list[tuple[int | None, ...]]) -> None:
    check_tokens(asked, steps)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([(1, 2), (3, 4)], "2 tokens, not the 3 asked for although row 1 had not ended"),
        ([(1, 9), (3, None)], "2 tokens, not the 3 asked for although row 1 had not ended"),
        ([(1, 9), (3, 4)], r"token id 4 for a row that had ended \(step 2, row 2\)"),
        ([(9, 9), (None, None)], r"a step after every row had ended \(step 2\)"),
        ([(1, None), (2, None), (3, None)], r"no token for a row that had not ended \(step 1, row 2\)"),
        ([(1, 9), (3, None), (4, 5)], r"token id 5 for a row that had ended \(step 3, row 2\)"),
        ([(1, 2), (3, 4), (5, 6), (7, 8)], "more tokens than the 3 asked for"),
        ([(1, 100)], r"token id 100; the vocabulary has 100 \(step 1, row 2\)"),
        ([(1, 2, 3)], r"3 rows, not 2 \(step 1\)"),
        ([()], r"0 rows, not 2 \(step 1\)"),
        ([], "0 tokens, not the 3 asked for"),
    ],
)
def test_rows_that_cannot_have_ended_so_are_refused(steps: list[tuple[int | None, ...]], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        check_tokens(UNTIL_9, steps)


@pytest.mark.parametrize(
    "times_s",
    [
        [10.1, 10.2, 10.3],
        [10.1, 10.3, 10.3],  # the last two came from the device together
        [9.9995, 10.4, 10.4],  # a library that rounds to milliseconds
        [10.4],
        [11],
    ],
)
def test_steps_may_share_a_time_within_the_generation(times_s: list[float]) -> None:
    check_times(TWO, 10.0, times_s, 11.0)


def test_the_last_steps_of_rows_that_ended_before_may_all_be_known_at_once() -> None:
    check_times(UNTIL_9, 10.0, [10.4, 10.4, 10.4], 11.0)
    with pytest.raises(RefusedError, match="stand still: 3 steps in no time"):
        check_times(TWO, 10.0, [10.4, 10.4, 10.4], 11.0)


@pytest.mark.parametrize(
    ("times_s", "words"),
    [
        ([10.2, 10.1, 10.3], r"backwards, by 0.1 s \(step 2\)"),
        ([10.0, 10.0, 10.0], "stand still: 3 steps in no time"),
        ([10.0], "stand still: 1 step in no time"),
        ([0.1, 0.2, 0.3], "times 9.9 s before the generation began"),
        ([10.1, 10.2, 1.7e9], r"times 1.7e\+09 s after the generation had ended"),
        ([10.1, math.nan, 10.3], r"nan as the time of a step \(step 2\)"),
        ([10.1, 10.2, math.inf], r"inf as the time of a step \(step 3\)"),
        ([10.1, None, 10.3], r"None as the time of a step \(step 2\)"),
    ],
)
def test_times_that_cannot_be_are_refused(times_s: list[float], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        check_times(TWO, 10.0, times_s, 11.0)


def test_rounding_may_bring_a_log_probability_just_above_nothing() -> None:
    check_log_probabilities([(1, 2, 3), (4,)], [[1e-7, -2.5], []])
    with pytest.raises(RefusedError, match=r"returned 0\.01 as a log probability \(row 1, token 3\)"):
        check_log_probabilities([(1, 2, 3)], [[-1.0, 0.01]])


def test_peaks_of_memory() -> None:
    assert [check_peak_bytes(peak) for peak in (None, 0, 2**37)] == [None, 0, 2**37]
    for wrong in (-1, 2**60, True, 1.5, math.nan, "1"):
        with pytest.raises(RefusedError, match="as the bytes of device memory that it held"):
            check_peak_bytes(wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"group": 0}, "group is 0"),
        ({"group": 2.5}, "group is 2.5"),
        ({"options": (("attention", 3),)}, "options: attention is 3"),
        ({"cuda_graphs": True}, "cuda_graphs is True"),
        ({"prefix_caching": "no"}, "prefix_caching is 'no'"),
        ({"tf32": "matmul_tf32"}, "tf32 is 'matmul_tf32'"),
        ({"tf32": (True,)}, r"tf32 is \(True,\)"),
    ],
)
def test_facts_of_another_type_are_refused(wrong: dict[str, Any], words: str) -> None:
    told = Facts("1", group=64, options=(("attention", "flash"),), cuda_graphs="none", tf32=("matmul_tf32",))
    check_facts(told)
    with pytest.raises(RefusedError, match=words):
        check_facts(replace(told, **wrong))

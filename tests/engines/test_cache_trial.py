"""Runtimes whose passes take a known time: c + t * tokens, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servewatt.engines.shared.cache_trial import TRIAL_STEPS, CacheTrial, Timed, try_cache

Pass = Callable[[int], float]
"""Tokens taken in -> ms."""


def trial(prompt: Pass, step: Pass, context: int = 2048) -> tuple[CacheTrial, list[int]]:
    """The trial of a runtime whose prompts and steps take so long, and the lengths that it asked for."""
    asked: list[int] = []

    def generate(length: int) -> Timed:
        asked.append(length)
        steps = [step(length + i) / 1e3 for i in range(1, TRIAL_STEPS)]
        return Timed(prompt(length) / 1e3, steps)

    return try_cache(generate, context), asked


def test_a_step_that_hardly_grows_reuses() -> None:
    found, asked = trial(lambda tokens: 1 + 0.1 * tokens, lambda past: 1 + 0.001 * past)
    assert found.reuses is True
    assert set(asked) == {8, 64}
    assert found.text == (
        "reused: a prompt of 64 tokens takes 7.4 ms and a step after it 1.07, of 8 tokens 1.8 and 1.01"
    )


def test_what_every_pass_costs_does_not_hide_a_cache() -> None:
    """Launches bound a short prompt and a step alike; a long prompt tells."""
    found, asked = trial(lambda tokens: max(2.0, 0.005 * tokens), lambda past: 2 + 0.0001 * past)
    assert found.reuses is True
    assert max(asked) == 1024


def test_a_prompt_with_a_cost_of_its_own_is_no_cache() -> None:
    """Each prompt takes 20 ms before its first pass: many times a step, and yet each step computes its row again."""
    found, _ = trial(lambda tokens: 20 + 0.1 * tokens, lambda past: 0.1 * past)
    assert found.reuses is False


@pytest.mark.parametrize("passes", [1, 2], ids=["one-pass", "all-but-one-then-one"])
def test_a_step_that_grows_as_its_prompt_computes_it_again(passes: int) -> None:
    found, asked = trial(lambda tokens: passes * (1 + 0.1 * tokens), lambda past: 1 + 0.1 * past)
    assert found.reuses is False
    assert found.text.startswith("computed again: a prompt of 128 tokens takes")
    assert max(asked) == 128, "seen twice is enough"


def test_where_length_costs_nothing_neither_can_be_told() -> None:
    found, asked = trial(lambda _: 2.0, lambda _: 2.0)
    assert found.reuses is None
    assert found.text.startswith("undecided: a prompt of 2039 tokens takes 2 ms and a step after it 2,")
    assert max(asked) + TRIAL_STEPS < 2048


def test_a_context_without_room() -> None:
    found, asked = trial(lambda tokens: 0.1 * tokens, lambda _: 0.1, context=20)
    assert (found.reuses, asked) == (None, [])
    assert found.text == "undecided: a context of 20 tokens is too short for a trial"


def test_a_disturbance_does_not_refute_a_cache() -> None:
    """While prompts of 64 tokens were timed, something slowed the steps after them."""
    found, asked = trial(lambda tokens: 1 + 0.1 * tokens, lambda past: 9.0 if 64 < past < 80 else 1.0)
    assert found.reuses is True
    assert max(asked) == 128

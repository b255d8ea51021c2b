"""Whether a runtime that does not expose its KV cache reuses it, inferred from the times of prompts and steps.

A step that computes its row again costs what its prompt costs, so it grows with the prompt's length as the prompt
itself does. A step that reuses its cache hardly grows. How much both grow is compared rather than how long they take:
what every pass costs whatever its length (launches on a GPU, reading the weights) is left out so.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

TRIAL_STEPS = 8
"""Tokens that each generation of a trial makes."""
_SHORT = 8
"""Tokens of the prompt that the longer ones are compared with."""
_LONG = 64
"""Tokens of the first longer one."""
_TIMES = 3
_LARGEST_SHARE = 0.25
"""Of a prompt's growth that a step's may be. Computed again it is 1, or 1/2 where two passes take a prompt in."""
_LEAST_GROWTH = 1.0
"""Of a prompt, in steps: a smaller growth is no clearer than the noise of a step."""


@dataclass(frozen=True)
class Timed:
    """One generation of `TRIAL_STEPS` tokens."""

    prompt_s: float
    """Until the first token."""
    steps_s: Sequence[float]
    """Of each token after it."""


@dataclass(frozen=True)
class CacheTrial:
    """Result of a trial."""

    reuses: bool | None
    """None where it cannot tell."""
    text: str
    """The times behind it."""


def try_cache(generate: Callable[[int], Timed], context_length: int) -> CacheTrial:
    """Compare prompts and steps of growing length, up to the context's, until they tell.

    `generate(length)` generates after a prompt of `length` tokens. That a row is computed again counts once it was
    seen twice in succession: a disturbance can look like it.
    """
    before: bool | None = None
    text = f"undecided: a context of {context_length} tokens is too short for a trial"
    for length in _lengths(context_length):
        reuses, times = _compare(generate, length)
        if reuses:
            return CacheTrial(True, f"reused: {times}")
        if reuses is False and before is False:
            return CacheTrial(False, f"computed again: {times}")
        before, text = reuses, f"undecided: {times}"
    return CacheTrial(None, text)


def _lengths(context_length: int) -> Iterator[int]:
    """Lengths of prompts to try: doubled each time, the longest that leaves room for the steps twice."""
    longest = context_length - TRIAL_STEPS - 1
    if longest < 2 * _SHORT:
        return
    length = _LONG
    while length < longest:
        yield length
        length *= 2
    yield longest
    yield longest


def _compare(generate: Callable[[int], Timed], length: int) -> tuple[bool | None, str]:
    """Whether the cache is reused after `length` tokens, and the times that say so."""
    short, long = [], []
    for _ in range(_TIMES):  # by turns, so that what slows the machine for a while slows both
        short.append(generate(_SHORT))
        long.append(generate(length))
    # The quickest of each, as the first prompt allocates memory and others may use the CPU too.
    prompt_s, long_prompt_s = (min(timed.prompt_s for timed in runs) for runs in (short, long))
    step_s, long_step_s = (min(statistics.median(timed.steps_s) for timed in runs) for runs in (short, long))
    growth_s = long_prompt_s - prompt_s
    times = (
        f"a prompt of {length} tokens takes {_ms(long_prompt_s)} ms and a step after it {_ms(long_step_s)}, "
        f"of {_SHORT} tokens {_ms(prompt_s)} and {_ms(step_s)}"
    )
    if growth_s < _LEAST_GROWTH * step_s:
        return None, times
    return long_step_s - step_s <= _LARGEST_SHARE * growth_s, times


def _ms(duration_s: float) -> str:
    return f"{duration_s * 1e3:.3g}"

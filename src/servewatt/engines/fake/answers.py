"""Wrong answers of the fake engine, by the value of its option `fail`.

For tests of what looks at answers: that no wrong one is measured and ranked.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from servewatt.engines.answers import Asked
from servewatt.engines.base import Step
from servewatt.records import Facts

Steps = Iterator[Step]


def _tokens(change: Callable[[int, tuple[Any, ...], Asked], Sequence[Any]]) -> Callable[[Steps, Asked], Steps]:
    """Tokens of each step changed by `change(index of the step, its tokens, what was asked for)`."""

    def wrong(steps: Steps, asked: Asked) -> Steps:
        for index, step in enumerate(steps):
            yield replace(step, tokens=tuple(change(index, step.tokens, asked)))

    return wrong


def _first(value: Callable[[Asked], Any]) -> Callable[[Steps, Asked], Steps]:
    """The second step's first token is another value."""
    return _tokens(lambda index, tokens, asked: (value(asked), *tokens[1:]) if index == 1 else tokens)


def _times(change: Callable[[int, float], Any]) -> Callable[[Steps, Asked], Steps]:
    """Times changed by `change(index of the step, its time)`."""

    def wrong(steps: Steps, _asked: Asked) -> Steps:
        for index, step in enumerate(steps):
            yield replace(step, time_s=change(index, step.time_s))

    return wrong


def _standing_still(steps: Steps, _asked: Asked) -> Steps:
    begin_s = time.monotonic()
    for step in steps:
        yield replace(step, time_s=begin_s)


def _one_more(steps: Steps, _asked: Asked) -> Steps:
    for step in steps:
        yield step
    yield replace(step, time_s=time.monotonic())


def _without_end(_steps: Steps, asked: Asked) -> Steps:
    while True:
        yield Step((0,) * asked.rows, time.monotonic())


def _deaf_to_stops(steps: Steps, asked: Asked) -> Steps:
    last: list[int | None] = [None] * asked.rows
    for step in steps:
        last = [before if token is None else token for token, before in zip(step.tokens, last, strict=True)]
        yield replace(step, tokens=tuple(last))


STEPS: dict[str, Callable[[Steps, Asked], Steps]] = {
    "too-few-rows": _tokens(lambda _index, tokens, _asked: tokens[:-1]),
    "too-many-rows": _tokens(lambda _index, tokens, _asked: (*tokens, tokens[0])),
    "no-tokens": lambda _steps, _asked: iter(()),
    "too-few-tokens": lambda steps, asked: itertools.islice(steps, asked.new_tokens - 1),
    "too-many-tokens": _one_more,
    "tokens-without-end": _without_end,
    "id-of-vocabulary-size": _first(lambda asked: asked.vocabulary_size),
    "id-negative": _first(lambda _asked: -1),
    "id-float": _first(lambda _asked: 3.0),
    "id-bool": _first(lambda _asked: True),
    "id-none": _first(lambda _asked: None),
    "tokens-after-stop": _deaf_to_stops,
    "times-backwards": _times(lambda index, time_s: time_s - 1e-6 - 0.1 * (index == 1)),
    "times-standing-still": _standing_still,
    "times-before": _times(lambda index, _time_s: 1e-3 * index),
    "times-wall-clock": _times(lambda _index, _time_s: time.time()),
    "times-nan": _times(lambda index, time_s: math.nan if index == 1 else time_s),
    "times-infinite": _times(lambda index, time_s: math.inf if index == 1 else time_s),
    "times-text": _times(lambda _index, time_s: str(time_s)),
}
"""Name -> the steps of a generation, made wrong."""


def _facts(**changes: Any) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, **changes)


FACTS: dict[str, Callable[[Facts], Any]] = {
    "facts-none": lambda _facts: None,
    "facts-no-version": _facts(engine_version=""),
    "facts-surrogate": _facts(engine_version="1\udcff"),
    "facts-nan": _facts(weight_dtypes=(("fp32", math.nan),)),
    "facts-infinite": _facts(weight_dtypes=(("fp32", math.inf),)),
    "facts-negative": _facts(weight_dtypes=(("fp32", -40), ("bf16", 80))),
    "facts-absurd": _facts(weight_dtypes=(("fp32", 10**30),)),
    "facts-text-size": _facts(weight_dtypes=(("fp32", "40"),)),
    "facts-no-pairs": _facts(devices=(("cpu",),)),
    "facts-threads-float": _facts(threads=2.5),
    "facts-threads-zero": _facts(threads=0),
    "facts-cache-text": _facts(kv_cache="yes"),
}
"""Name -> the facts, made wrong."""

PEAKS: dict[str, Any] = {
    "peak-negative": -1,
    "peak-absurd": 10**30,
    "peak-nan": math.nan,
    "peak-text": "many",
}
"""Name -> the peak of device memory."""

SCORES: dict[str, Callable[[list[list[float]]], list[list[Any]]]] = {
    "scores-positive": lambda rows: [[0.5, *row[1:]] for row in rows],
    "scores-nan": lambda rows: [[math.nan, *row[1:]] for row in rows],
    "scores-minus-infinity": lambda rows: [[-math.inf, *row[1:]] for row in rows],
    "scores-text": lambda rows: [["-1", *row[1:]] for row in rows],
    "scores-too-few": lambda rows: [row[1:] for row in rows],
    "scores-too-many": lambda rows: [[*row, -1.0] for row in rows],
    "scores-too-few-rows": lambda rows: rows[1:],
}
"""Name -> the log probabilities of rows, made wrong."""

ANSWERING = {*STEPS, *FACTS, *PEAKS, *SCORES}

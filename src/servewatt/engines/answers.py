"""Checks whether an engine's output is a valid answer to its request.

An engine that returns too little work, or times of another clock, would be ranked first. Nothing here runs inside a
measured section: answers are kept as they come and looked at afterwards.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from servewatt.errors import RefusedError, counted
from servewatt.records import Facts

_CLOCK_S = 0.002
"""How far a step may seem to lie outside its generation: some libraries round their times to milliseconds."""
_MOST_BYTES = 1 << 60
_ROUNDING = 1e-3
"""How far above 0 rounding may bring a log probability."""
_HINT = "leave this configuration out, or use another version of the engine; what it returned is not kept"


@dataclass(frozen=True)
class Asked:
    """The request of a generation."""

    rows: int
    new_tokens: int
    stop_ids: frozenset[int]
    vocabulary_size: int


def check_tokens(asked: Asked, steps: Sequence[Sequence[object]]) -> None:
    """Raise RefusedError unless `steps`, one id or None a row, can be the answer.

    Every row has an id in each step up to its first stop id, and None after it. There are as many steps as tokens were
    asked for, or fewer where all rows have ended.
    """
    for number, step in enumerate(steps, 1):
        if len(step) != asked.rows:
            raise _wrong(f"{counted(len(step), 'row')}, not {asked.rows} (step {number})")
    given: list[Any] = list(chain.from_iterable(steps))
    ids = [token for token in given if token is not None] if asked.stop_ids else given
    if ids and not (set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) < asked.vocabulary_size):
        raise _wrong_id(asked, steps)
    any_end = len(ids) < len(given) or not asked.stop_ids.isdisjoint(ids)
    going_on = _check_ends(asked, steps) if any_end else list(range(asked.rows))
    if len(steps) > asked.new_tokens:
        raise _wrong(f"more tokens than the {asked.new_tokens} asked for")
    if len(steps) < asked.new_tokens and going_on:
        ended = f" although row {going_on[0] + 1} had not ended" if asked.stop_ids else ""
        raise _wrong(f"{counted(len(steps), 'token')}, not the {asked.new_tokens} asked for{ended}")


def check_times(asked: Asked, start_s: float, times_s: Sequence[object], end_s: float) -> None:
    """Raise RefusedError unless `times_s` can be those of the steps of a generation between `start_s` and `end_s`.

    All are monotonic times in seconds. Steps may share a time, as where several come from a device at once.
    """
    known = [time_s for time_s in times_s if isinstance(time_s, int | float) and math.isfinite(time_s)]
    if len(known) < len(times_s):
        number, wrong = next((n, t) for n, t in enumerate(times_s, 1) if t not in known)
        raise _wrong(f"{wrong!r} as the time of a step (step {number})")
    if any(map(operator.gt, known, known[1:])):
        number, back_s = next((n, a - b) for n, (a, b) in enumerate(pairwise(known), 2) if a > b)
        raise _wrong(f"times that run backwards, by {back_s:.3g} s (step {number})")
    if not known:
        return
    if known[0] < start_s - _CLOCK_S or known[-1] > end_s + _CLOCK_S:
        off_s, side = (
            (start_s - known[0], "before the generation began")
            if known[0] < start_s - _CLOCK_S
            else (known[-1] - end_s, "after the generation had ended")
        )
        raise _wrong(f"times {off_s:.3g} s {side}: they are not of the monotonic clock")
    # A row that ends early may leave tokens of others that are known at once.
    first_s = start_s if asked.stop_ids or len(known) == 1 else known[0]
    if known[-1] <= first_s:
        raise _wrong(f"times that stand still: {counted(len(known), 'step')} in no time")


def check_log_probabilities(rows: Sequence[Sequence[int]], scores: Sequence[Sequence[object]]) -> None:
    """Raise RefusedError unless `scores` can be the log probabilities of each token of each row after its first."""
    if len(scores) != len(rows):
        raise _wrong(f"log probabilities of {counted(len(scores), 'row')}, not {len(rows)}")
    for number, (row, values) in enumerate(zip(rows, scores, strict=True), 1):
        if len(values) != max(0, len(row) - 1):
            raise _wrong(f"{len(values)} log probabilities for the {len(row)} tokens of row {number}")
        for place, value in enumerate(values, 2):
            if not isinstance(value, int | float) or not math.isfinite(value) or value > _ROUNDING:
                raise RefusedError(
                    f"the engine returned {value!r} as a log probability (row {number}, token {place})",
                    "where a precision overflows, choose a wider one; else use another version of the engine",
                )


def check_facts(facts: Facts) -> None:
    """Raise RefusedError unless every field is of its type, and every size and count can be one."""
    complaint = next(_wrong_facts(facts), None)
    if complaint is not None:
        raise _wrong(f"facts that cannot be: {complaint}")


def check_peak_bytes(peak: object) -> int | None:
    """The most device memory that an engine held, in bytes, or None; RefusedError if it cannot be."""
    if peak is None:
        return None
    if not isinstance(peak, int) or not _is_count(peak):
        raise _wrong(f"{peak!r} as the bytes of device memory that it held")
    return peak


def _wrong(what: str) -> RefusedError:
    return RefusedError(f"the engine returned {what}", _HINT)


def _wrong_id(asked: Asked, steps: Sequence[Sequence[Any]]) -> RefusedError:
    """The message about the first entry that is not an id of the vocabulary."""
    entries = ((token, number, row) for number, step in enumerate(steps, 1) for row, token in enumerate(step, 1))
    token, number, row = next(
        (token, number, row)
        for token, number, row in entries
        if not ((type(token) is int and 0 <= token < asked.vocabulary_size) or (token is None and asked.stop_ids))
    )
    place = f"(step {number}, row {row})"
    if token is None:
        return _wrong(f"no token for a row, though nothing ends one {place}")
    if type(token) is not int:
        return _wrong(f"{token!r} as a token id, which is of type {type(token).__name__} {place}")
    return _wrong(f"token id {token}; the vocabulary has {asked.vocabulary_size:,} {place}")


def _check_ends(asked: Asked, steps: Sequence[Sequence[object]]) -> list[int]:
    """Rows that have not ended; RefusedError where one goes on after its stop id, or is silent before it."""
    ended = [False] * asked.rows
    for number, step in enumerate(steps, 1):
        if all(ended):
            raise _wrong(f"a step after every row had ended (step {number})")
        for row, token in enumerate(step):
            if (token is None) is not ended[row]:
                given, had = ("no token", "had not") if token is None else (f"token id {token}", "had")
                raise _wrong(f"{given} for a row that {had} ended (step {number}, row {row + 1})")
            if token in asked.stop_ids:
                ended[row] = True
    return [row for row in range(asked.rows) if not ended[row]]


def _wrong_facts(facts: object) -> Iterator[str]:
    if not isinstance(facts, Facts):
        yield f"they are of type {type(facts).__name__}"
        return
    for name, may_be in _FACTS:
        value = getattr(facts, name)
        if not may_be(value):
            yield f"{name} is {value!r}"
    for name, is_value in _FACTS_IN_PAIRS:
        pairs = getattr(facts, name)
        if not isinstance(pairs, tuple | list):
            yield f"{name} is {pairs!r}"
            continue
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2 or not _is_text(pair[0]):
                yield f"{name} has {pair!r}"
            elif not is_value(pair[1]):
                yield f"{name}: {pair[0]} is {pair[1]!r}"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_BYTES


def _is_text(value: object) -> bool:
    """Whether it is text that JSON can hold: half of a surrogate pair is none."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_count_or_none(value: object) -> bool:
    return value is None or (_is_count(value) and value != 0)


_FACTS: tuple[tuple[str, Callable[[object], bool]], ...] = (
    ("engine_version", lambda value: _is_text(value) and value != ""),
    ("compute_dtype", _is_text),
    ("kv_cache_dtype", _is_text),
    ("kv_cache", lambda value: value in (None, True, False)),
    ("threads", _is_count_or_none),
    ("group", _is_count_or_none),
    ("cuda_graphs", lambda value: value is None or _is_text(value)),
    ("prefix_caching", lambda value: value in (True, False)),
    ("tf32", lambda value: isinstance(value, tuple | list) and all(map(_is_text, value))),
)
"""Field of facts -> whether a value can be its own."""
_FACTS_IN_PAIRS: tuple[tuple[str, Callable[[object], bool]], ...] = (
    ("libraries", _is_text),
    ("options", _is_text),
    ("detail", _is_text),
    ("devices", _is_count),
    ("weight_dtypes", _is_count),
    ("lookup_dtypes", _is_count),
)
"""Field of facts that holds (name, value) -> whether it can be a value."""

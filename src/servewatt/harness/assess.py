"""One configuration's outputs and log probabilities, from a process of its own like a trial's; nothing is metered.

`python -m servewatt.harness.assess ANSWER_FD PARENT_PID`: a Task as JSON on standard input, Said on the answer pipe.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

from servewatt import engines, wire
from servewatt.engines import Session
from servewatt.engines.answers import Asked, check_facts, check_log_probabilities, check_times, check_tokens
from servewatt.engines.proof import violations
from servewatt.errors import InputError, RefusedError, ServewattError, brief
from servewatt.harness.child import answering, ask
from servewatt.harness.failure import describe_failure, try_alone
from servewatt.harness.runner import worker_environment
from servewatt.models.cache import ArtefactCache
from servewatt.records import Configuration, Facts, Model, Status

ASSESSOR = "servewatt.harness.assess"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Task:
    """The outputs and probabilities asked of a configuration."""

    model: Model
    configuration: Configuration
    prompts: tuple[tuple[int, ...], ...]
    new_tokens: int
    stop_ids: tuple[int, ...]
    """Empty: all outputs have `new_tokens` tokens."""
    documents: tuple[tuple[int, ...], ...]
    """Token ids to be scored; none where probabilities are not wanted."""


@dataclass(frozen=True)
class Said:
    """The configuration's answer, or why there is none."""

    status: Status
    reason: str = ""
    hint: str = ""
    facts: Facts | None = None
    outputs: tuple[tuple[int, ...], ...] = ()
    log_probabilities: tuple[tuple[float, ...], ...] = ()
    """Of each document's tokens after the first."""
    not_scored: str = ""
    """Why there are none although documents were given."""


def assess(task: Task, *, timeout_s: float) -> Said:
    """Have the configuration answer in a process of its own; whatever happens there is in the answer."""
    configuration = task.configuration
    try:
        python, variables = engines.interpreter(configuration.engine, worker_environment(configuration))
    except ServewattError as error:
        return Said(Status.REFUSED, error.message, error.hint)
    reply = ask(ASSESSOR, (task,), timeout_s=timeout_s, environment=variables, python=python)
    if reply.ended.timed_out:
        reason = f"not finished after {timeout_s:g} s"
        return Said(Status.TIMED_OUT, reason, "raise --timeout, or lower --documents and --limit")
    found = reply.read(Said, "the worker")
    if not isinstance(found, Said):
        return Said(*found)
    return replace(found, reason=brief(found.reason), hint=brief(found.hint))


def answer(task: Task) -> Said:
    """The same in this process."""
    facts = None
    try:
        # Sessions read their artefacts again, for facts and probabilities, so these stay locked until the session ends.
        with (
            ArtefactCache() as cache,
            closing(engines.create(task.configuration.engine).load(task.model, task.configuration, cache)) as session,
        ):
            outputs = in_batches(task.prompts, task.configuration.batch, lambda rows: _generate(session, task, rows))
            told = session.facts()
            check_facts(told)
            facts = told
            if broken := violations(task.configuration, facts):
                raise RefusedError(f"what runs is not what is claimed: {'; '.join(broken)}")
            scores, not_scored = _scores(session, task)
            return Said(Status.OK, "", "", facts, outputs, scores, not_scored)
    except Exception as error:  # noqa: BLE001  (whatever an engine raises is this configuration's outcome)
        status, reason, hint = describe_failure(error, task.configuration)
        return Said(status, reason, hint or f"{try_alone(task.model, task.configuration)} (its log has more)", facts)


def in_batches(
    rows: Sequence[tuple[int, ...]], batch: int, work: Callable[[Sequence[tuple[int, ...]]], list[Item]]
) -> tuple[Item, ...]:
    """`work` over full batches in order; the last is filled with the first rows again, whose results are dropped."""
    results: list[Item] = []
    for first in range(0, len(rows), batch):
        chosen = [rows[index % len(rows)] for index in range(first, first + batch)]
        results += work(chosen)
    return tuple(results[: len(rows)])


def _generate(session: Session, task: Task, rows: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    stop_ids = frozenset(task.stop_ids)
    asked = Asked(len(rows), task.new_tokens, stop_ids, task.model.vocabulary_size)
    start_s = time.monotonic()
    steps = list(itertools.islice(session.generate(rows, task.new_tokens, stop_ids), task.new_tokens + 1))
    tokens = [tuple(step.tokens) for step in steps]
    check_tokens(asked, tokens)
    check_times(asked, start_s, [step.time_s for step in steps], time.monotonic())
    return [tuple(token for token in row if token is not None) for row in zip(*tokens, strict=True)]


def _scores(session: Session, task: Task) -> tuple[tuple[tuple[float, ...], ...], str]:
    """Log probabilities of the documents, or why the engine does not give them; RefusedError if they cannot be."""
    told: list[tuple[Sequence[tuple[int, ...]], list[list[float]]]] = []

    def score(rows: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        told.append((rows, session.log_probabilities(rows)))
        return [tuple(row) for row in told[-1][1]]

    try:
        scores = in_batches(task.documents, task.configuration.batch, score)
    except ServewattError as error:
        return (), error.message
    for rows, given in told:
        check_log_probabilities(rows, given)
    return scores, ""


def _said(lines: list[bytes]) -> bytes:
    (task,) = lines
    said = answer(wire.load(Task, task))
    try:
        return wire.dump(said).encode()
    except InputError as error:  # a probability that is NaN, for example
        return wire.dump(Said(Status.FAILED, f"the engine's answer cannot be kept: {error.message}", "")).encode()


if __name__ == "__main__":
    answering(sys.argv[1:], _said)

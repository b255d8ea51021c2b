"""Derives what an engine needs of a model in the interpreter that runs this engine, without measuring.

`python -m servewatt.harness.derive ANSWER_FD PARENT_PID`: Model and Configuration as two lines of JSON on standard
input; an Answer as JSON on the answer pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from servewatt import engines, wire
from servewatt.errors import ServewattError, brief
from servewatt.harness.answer import answer_of
from servewatt.harness.failure import oom_kills
from servewatt.harness.process import die_with_parent, run_module
from servewatt.harness.through_http import Failure, raised
from servewatt.models.cache import ArtefactCache
from servewatt.records import Configuration, Model

DERIVER = "servewatt.harness.derive"
TIMEOUT_S = 6 * 3600.0


@dataclass(frozen=True)
class Answer:
    """How it went."""

    failure: Failure | None


def derive(model: Model, configuration: Configuration) -> None:
    """Have the engine prepare `model`; see `servewatt.engines.Engine.prepare`.

    Raises what the engine raised, as a ServewattError.
    """
    python, variables = engines.interpreter(configuration.engine, os.environ)
    question = f"{wire.dump(model)}\n{wire.dump(configuration)}\n".encode()
    kills_before = oom_kills()
    ended = run_module(DERIVER, [], question, timeout_s=TIMEOUT_S, environment=variables, python=python)
    if ended.timed_out:
        raise ServewattError(f"{configuration.key} had not been prepared after {TIMEOUT_S / 3600:g} h")
    oom_killed = oom_kills() > kills_before
    found = answer_of(Answer, ended, "the engine's process", ended.last_words, oom_killed=oom_killed)
    if not isinstance(found, Answer):
        _, reason, hint = found
        raise ServewattError(f"{configuration.key}: {reason}", hint)
    failure = found.failure
    if failure is not None:
        error = raised(failure)
        raise error if isinstance(error, ServewattError) else ServewattError(f"{configuration.key}: {error}")


def _main(arguments: Sequence[str]) -> None:
    answer_fd, parent_pid = map(int, arguments)
    die_with_parent(parent_pid)
    model, configuration = sys.stdin.buffer.read().splitlines()
    failure = None
    try:
        asked = wire.load(Configuration, configuration)
        with ArtefactCache() as cache:
            engines.create(asked.engine).prepare(wire.load(Model, model), asked, cache)
    except Exception as error:  # noqa: BLE001  (whatever it is, whoever started us must learn it)
        hint = error.hint if isinstance(error, ServewattError) else ""
        text = error.message if isinstance(error, ServewattError) else str(error)
        failure = Failure(type(error).__name__, brief(text), brief(hint))
    with os.fdopen(answer_fd, "wb") as pipe:
        pipe.write(wire.dump(Answer(failure)).encode())


if __name__ == "__main__":
    _main(sys.argv[1:])

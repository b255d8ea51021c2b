"""Derives what an engine needs of a model in the interpreter that runs this engine, without measuring.

`python -m servewatt.harness.derive ANSWER_FD PARENT_PID`: Model and Configuration as two lines of JSON on standard
input; a Prepared as JSON on the answer pipe.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from servewatt import engines, wire
from servewatt.errors import ServewattError
from servewatt.harness.child import answering, ask, raised
from servewatt.models.cache import ArtefactCache
from servewatt.records import Configuration, Model
from servewatt.records.served import Failure

DERIVER = "servewatt.harness.derive"
TIMEOUT_S = 6 * 3600.0


@dataclass(frozen=True)
class Prepared:
    """How it went."""

    failure: Failure | None = None


def derive(model: Model, configuration: Configuration) -> None:
    """Have the engine prepare `model`; see `servewatt.engines.Engine.prepare`.

    Raises what the engine raised, as a ServewattError.
    """
    python, variables = engines.interpreter(configuration.engine, os.environ)
    reply = ask(DERIVER, (model, configuration), timeout_s=TIMEOUT_S, environment=variables, python=python)
    if reply.ended.timed_out:
        raise ServewattError(f"{configuration.key} had not been prepared after {TIMEOUT_S / 3600:g} h")
    found = reply.read(Prepared, "the engine's process")
    if not isinstance(found, Prepared):
        _, reason, hint = found
        raise ServewattError(f"{configuration.key}: {reason}", hint)
    if found.failure is not None:
        error = raised(found.failure)
        raise error if isinstance(error, ServewattError) else ServewattError(f"{configuration.key}: {error}")


def _prepare(lines: list[bytes]) -> bytes:
    model, configuration = lines
    prepared = Prepared()
    try:
        asked = wire.load(Configuration, configuration)
        with ArtefactCache() as cache:
            engines.create(asked.engine).prepare(wire.load(Model, model), asked, cache)
    except Exception as error:  # noqa: BLE001  (whatever it is, whoever started us must learn it)
        prepared = Prepared(Failure.of(error))
    return wire.dump(prepared).encode()


if __name__ == "__main__":
    answering(sys.argv[1:], _prepare)

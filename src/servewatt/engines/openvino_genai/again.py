"""The files of a pipeline compiled again by engine openvino, which shows what a pipeline does not.

For facts that happens in a process of its own: a second copy of the weights would count in the peak memory of the one
that measures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt import wire
from servewatt.engines.openvino.engine import OpenVinoEngine, OpenVinoSession
from servewatt.errors import UnavailableError, brief
from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.endings import ending
from servewatt.records import Configuration, Facts, Model


@dataclass(frozen=True)
class PlainGraph:
    """Files of engine openvino, and how it is to compile them."""

    model: Model
    configuration: Configuration
    """Of engine openvino."""
    folder: str
    """With graph.xml and graph.bin."""

    def load(self) -> OpenVinoSession:
        """Compile them in this process."""
        session = OpenVinoEngine().load(self.model, self.configuration, _Made(Path(self.folder)))
        assert isinstance(session, OpenVinoSession)
        return session


@dataclass(frozen=True)
class Shown:
    """Facts that engine openvino reads from a graph."""

    facts: Facts
    properties: dict[str, str]
    """The values of `servewatt.engines.openvino.engine.PROPERTIES`."""


@dataclass(frozen=True)
class Asked:
    """What the other process is to compile, and a prompt to begin with; without one it generates nothing."""

    graph: PlainGraph
    prompt: tuple[int, ...]


def shown(graph: PlainGraph, prompt: Sequence[int]) -> Shown:
    """What `graph` shows when it has generated two tokens after `prompt`, in a process of its own.

    UnavailableError if that process fails.
    """
    quiet = {name: value for name, value in child_environment(os.environ).items() if name != "OPENVINO_LOG_LEVEL"}
    done = subprocess.run(
        python_module_command("servewatt.engines.openvino_genai.again"),
        input=wire.dump(Asked(graph, tuple(prompt))),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=quiet,
    )
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2] or "it says nothing"
        raise UnavailableError(
            f"the process that compiles the graph again ended with {ending(done.returncode)}: {brief(last)}",
            "is there memory for the weights twice? engine openvino needs them once",
        )
    return wire.load(Shown, done.stdout)


@dataclass(frozen=True)
class _Made:
    """Artefacts of which one has been built."""

    folder: Path

    def get_or_build(self, kind: str, key: Sequence[str], build: Callable[[Path], None]) -> Path:
        return self.folder


def _answer(asked: Asked) -> Shown:
    session = asked.graph.load()
    try:
        if asked.prompt:
            list(session.generate([asked.prompt], 2))
        return Shown(session.facts(), session.properties())
    finally:
        session.close()


if __name__ == "__main__":
    sys.stdout.write(wire.dump(_answer(wire.load(Asked, sys.stdin.read()))))

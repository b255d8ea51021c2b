"""Tries engines out as far as importing them in their own interpreter."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from servewatt import engines
from servewatt.engines.environments import state
from servewatt.engines.environments.build import reason
from servewatt.errors import ServewattError
from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.endings import signal_name
from servewatt.processes.guarded import run_guarded

PROBE = "servewatt.engines.environments.probe"
TIMEOUT_S = 300.0
LITTLE_SPACE_BYTES = 5 * 10**9
"""Less free disk than this is pointed out: PyTorch with its CUDA libraries alone takes as much."""


class Condition(StrEnum):
    """How an engine is."""

    OK = "ok"
    ABSENT = "not installed"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """The findings on one engine."""

    engine: str
    condition: Condition
    version: str | None
    place: str
    """The environment's folder; empty for servewatt's own."""
    size_bytes: int | None
    """Of the environment."""
    problem: str
    remedy: str
    """The command that mends it."""


def examine(name: str) -> Finding:
    """Compare the engine's environment with its manifest and pins, then import everything in its interpreter."""
    known = engines.entry(name)
    environment = known.environment()
    version = known.version()
    place = str(environment.folder) if environment else ""
    size = _size(environment.folder) if environment else None
    problem = known.problem()
    if not problem and version is None:
        if environment is None:
            return Finding(name, Condition.ABSENT, None, "", None, "it is not installed", known.install_line)
        problem = "a package that it needs is missing"
    remedy = known.install_line
    if not problem and (problem := _import(known)) and environment is not None:
        remedy += " --rebuild"
    condition = Condition.BROKEN if problem else Condition.OK
    return Finding(name, condition, version, place, size, problem, remedy if problem else "")


def free_bytes() -> int:
    """Free disk space where environments lie, or will."""
    folder = state.root()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _import(known: engines.EngineEntry) -> str:
    """Why the engine cannot be imported; empty if it can."""
    try:
        python, variables = engines.interpreter(known.name, os.environ)
        command = python_module_command(PROBE, known.target, *known.packages, python=python)
        done = run_guarded(command, timeout_s=TIMEOUT_S, environment=child_environment(variables))
    except ServewattError as error:
        return error.message
    if done.timed_out:
        return f"importing it had not ended after {TIMEOUT_S:g} s"
    if done.returncode < 0:
        return f"importing it was ended by {signal_name(-done.returncode)}"
    return f"importing it fails: {reason(done.log)}" if done.returncode else ""


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

"""Processes that answer one question: a module of servewatt's, asked on standard input, answering on a pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.guarded import ANSWER_FD, PARENT_PID, Ended, run_guarded
from servewatt.processes.guardian import die_with_parent

__all__ = ["Ended", "die_with_parent", "run_module"]


def run_module(
    module: str,
    arguments: Sequence[str],
    question: bytes,
    *,
    timeout_s: float,
    environment: Mapping[str, str],
    python: str | None = None,
) -> Ended:
    """Run `python -m module ANSWER_FD PARENT_PID *arguments`; see `run_guarded`.

    Nothing is imported from the current folder.
    """
    command = python_module_command(module, ANSWER_FD, PARENT_PID, *arguments, python=python)
    return run_guarded(command, question, timeout_s=timeout_s, environment=child_environment(environment))

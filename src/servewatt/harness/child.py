"""Processes that answer one question: a module of servewatt's, asked on standard input, answering on a pipe.

The parent calls `ask`; the module, run as `python -m MODULE ANSWER_FD PARENT_PID ...`, calls `answering`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from servewatt import errors, wire
from servewatt.errors import InputError, ServewattError, brief
from servewatt.harness.failure import EngineError, Outcome, describe_end, oom_kills
from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.endings import ending
from servewatt.processes.guarded import ANSWER_FD, END_TIMEOUT_S, MOST_ANSWER_BYTES, PARENT_PID, Ended, run_guarded
from servewatt.processes.guardian import die_with_parent
from servewatt.records import Status
from servewatt.records.served import Failure

__all__ = [
    "ChildReply",
    "Ended",
    "answer_of",
    "answering",
    "ask",
    "die_with_parent",
    "end_note",
    "raised",
    "run_module",
]

T = TypeVar("T")


@dataclass(frozen=True)
class ChildReply:
    """How a child process ended, and whether one here was killed for memory meanwhile."""

    ended: Ended
    oom_killed: bool

    def read(self, kind: type[T], who: str, again: str | None = None) -> T | Outcome:
        """The record that it answered with, or what it means that there is none; see `answer_of`.

        Without `again` the hint is the last of what the process wrote.
        """
        hint = self.ended.last_words if again is None else again
        return answer_of(kind, self.ended, who, hint, oom_killed=self.oom_killed)


def ask(
    module: str,
    question: Sequence[object],
    *,
    timeout_s: float,
    environment: Mapping[str, str],
    python: str | None = None,
    arguments: Sequence[str] = (),
) -> ChildReply:
    """Run `module` in a process of its own with the records of `question`, one a line, on its standard input."""
    text = "\n".join(map(wire.dump, question)).encode()
    kills_before = oom_kills()
    ended = run_module(module, arguments, text, timeout_s=timeout_s, environment=environment, python=python)
    return ChildReply(ended, oom_kills() > kills_before)


def answering(arguments: Sequence[str], work: Callable[[list[bytes]], bytes]) -> None:
    """The child's side: end with the parent, do `work` on the lines of the question, and write what it returns."""
    answer_fd, parent_pid = int(arguments[0]), int(arguments[1])
    die_with_parent(parent_pid)
    answer = work(sys.stdin.buffer.read().splitlines())
    with os.fdopen(answer_fd, "wb") as pipe:
        pipe.write(answer)


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


def answer_of(kind: type[T], ended: Ended, who: str, again: str, *, oom_killed: bool) -> T | Outcome:
    """The record of type `kind` that a process answered with; without one, what that means.

    `who` names the process, and `again` is the hint for most ways in which it can end. A whole answer counts however
    the process ended after it: libraries that crash while they are unloaded have done their work by then.
    """
    if ended.answer_too_long:
        reason = f"{who} answered with more than {MOST_ANSWER_BYTES // 2**20} MiB"
        return Status.FAILED, reason, "cut the workload: fewer prompts or documents, or a shorter window"
    if ended.answer:
        try:
            return wire.load(kind, ended.answer)
        except InputError as error:
            if ended.returncode == 0 or ended.lingered:
                return Status.FAILED, brief(f"{who}'s answer cannot be read: {error.message}"), again
    return describe_end(who, ended.returncode, again, oom_killed=oom_killed)


def end_note(ended: Ended) -> str:
    """A line for the log about a process that answered and then did not end as it should; empty if it did."""
    if ended.lingered:
        return f"servewatt: it was killed, as it had not ended {END_TIMEOUT_S:g} s after its answer\n"
    return f"servewatt: after its answer it ended by {ending(ended.returncode)}\n" if ended.returncode else ""


def raised(failure: Failure) -> Exception:
    """The error that another process reports, as one of ours where it is one."""
    kind = getattr(errors, failure.type, None)
    if isinstance(kind, type) and issubclass(kind, ServewattError):
        return kind(failure.message, failure.hint)
    return EngineError(f"{failure.type}: {failure.message}".strip())

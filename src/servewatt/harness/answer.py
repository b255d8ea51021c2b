"""What a process answered, or why it did not."""

from __future__ import annotations

from typing import TypeVar

from servewatt import wire
from servewatt.errors import InputError, brief
from servewatt.harness.failure import Outcome, describe_end
from servewatt.processes.endings import ending
from servewatt.processes.guarded import END_TIMEOUT_S, MOST_ANSWER_BYTES, Ended
from servewatt.records import Status

T = TypeVar("T")


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

"""Turns errors into a trial's status, reason and hint."""

from __future__ import annotations

import shlex
import signal
from dataclasses import replace
from pathlib import Path

from servewatt.errors import ServewattError, brief, means_out_of_memory
from servewatt.harness.shortage import shortage_behind
from servewatt.processes.endings import ending, signal_name
from servewatt.records import Configuration, Model, ModelSource, Result, Status, Weights

Outcome = tuple[Status, str, str]
"""(status, reason, hint)."""


class EngineError(Exception):
    """What an engine in another process raised, as text such as `RuntimeError: ...`."""


class ProcessEndedError(Exception):
    """A process that a trial needs is gone."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome[1])
        self.outcome = outcome


def describe_failure(error: Exception, configuration: Configuration | None = None) -> Outcome:
    """The status, reason and hint for the exception that ended the trial of `configuration`. The reason does not repeat
    the configuration's name: callers prefix it. There is no hint if only the exception itself says what to do;
    `point_to_log` gives one to a trial.
    """
    if isinstance(error, ProcessEndedError):
        return error.outcome
    if isinstance(error, ServewattError):
        named = f"{configuration.key}: " if configuration else ""
        status = Status.FAILED if may_pass(error) else Status.REFUSED
        return status, brief(error.message.removeprefix(named)), brief(error.hint)
    text = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}".strip()
    if isinstance(error, MemoryError) or means_out_of_memory(text):
        hint = "use a smaller batch or a narrower precision, or free memory that others hold"
        return Status.OUT_OF_MEMORY, brief(text), hint
    shortage = shortage_behind(error)
    return Status.FAILED, brief(text), shortage.hint if shortage else ""


def may_pass(error: Exception) -> bool:
    """Whether the same may succeed later although nothing of the trial has changed: a full disk, no network."""
    return shortage_behind(error) is not None


def describe_end(who: str, returncode: int, again: str, *, oom_killed: bool) -> Outcome:
    """The failure for the process `who`, which ended before its work was done; `again` is the hint for most ways."""
    if returncode >= 0:
        return Status.FAILED, f"{who} left with {ending(returncode)} and no result", again
    if oom_killed and returncode == -signal.SIGKILL:
        hint = "use a smaller batch, a narrower precision or a smaller model"
        return Status.OUT_OF_MEMORY, f"the kernel killed {who} because memory ran out", hint
    return Status.CRASHED, f"{who} was killed by {signal_name(-returncode)}", again


def try_alone(model: Model, configuration: Configuration) -> str:
    """A hint: the command that tries the configuration of the model and no other, with the default prompts."""
    words = ["servewatt", "run", "--model", model.folder if model.source is ModelSource.FOLDER else model.name]
    if model.source is ModelSource.HUB:
        words += ["--revision", model.revision]
    if model.weights is Weights.RANDOM:
        words += ["--weights", "random"]
    return "try it alone: " + shlex.join([*words, "--configuration", configuration.key, "--blocks", "1"])


def point_to_log(result: Result) -> Result:
    """The result with a hint where its log can be read, if it has one and says what went wrong only there.

    No whole command: which store the result goes to is not known here.
    """
    if result.status not in {Status.FAILED, Status.CRASHED} or not result.log.strip():
        return result
    where = f"the JSON of the run's report has its log (servewatt report {result.trial.run_id} --json)"
    return replace(result, hint=f"{result.hint}; {where}" if result.hint else where)


def oom_kills() -> int:
    """How many processes the kernel has killed for lack of memory since boot; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

"""Runs trials one after another, each in a process of its own, and yields every outcome.

The parent does nothing while a worker runs: it sleeps in the kernel until the worker answers, dies or is late.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from servewatt import engines
from servewatt.engines.shared.host import cpu_threads
from servewatt.errors import ServewattError, brief, printable
from servewatt.harness.child import Ended, answer_of, ask, end_note
from servewatt.harness.failure import point_to_log, try_alone
from servewatt.harness.fitness import memory_bandwidth_bytes_s
from servewatt.harness.judge import judge
from servewatt.harness.schedule import Progress, preparation
from servewatt.harness.shortage import others_hold_most_memory
from servewatt.records import Configuration, Environment, Result, Run, Status, Trial

WORKER = "servewatt.harness.worker"

Notify = Callable[[Trial], None]


def prepare(run: Run, configuration: Configuration) -> Result:
    """Load a configuration once and generate a few tokens: fills caches, checks the claim, tells the pace."""
    return _run_worker(preparation(run, configuration), "prepare")


def run_trials(run: Run, done: Sequence[Result], *, before: Notify | None = None) -> Iterator[Result]:
    """Run what is missing of `run`, block by block, yielding each result as soon as it is there.

    `done` are results already stored; a trial that came out invalid is repeated at the end of its block. A
    configuration that is refused, or fails twice, is left out of later blocks. `before` is called with each trial
    that is about to start.
    """
    progress = Progress(run, list(done))
    for block in range(run.plan.procedure.blocks):
        while missing := progress.missing(block):
            for trial in missing:
                if before is not None:
                    before(trial)
                result = measure(trial, run.environment)
                progress.results.append(result)
                yield result


def measure(trial: Trial, environment: Environment) -> Result:
    """One trial in a process of its own, judged."""
    return judge(_run_worker(trial, "trial"), environment, memory_bandwidth_bytes_s)


def _run_worker(trial: Trial, mode: str) -> Result:
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    configuration = trial.configuration
    try:
        python, environment = engines.interpreter(
            configuration.engine, worker_environment(configuration), configuration.build
        )
    except ServewattError as error:  # broken since it was checked
        return Result(trial, Status.REFUSED, error.message, error.hint, started_at, transient=True)
    timeout_s = trial.procedure.timeout_s
    reply = ask(WORKER, (trial,), timeout_s=timeout_s, environment=environment, python=python, arguments=[mode])
    result = result_of(reply.ended, trial, started_at, oom_killed=reply.oom_killed)
    if result.status is Status.OUT_OF_MEMORY and others_hold_most_memory(configuration.provider):
        result = replace(result, transient=True)
    return point_to_log(replace(result, parent_cpu_s=reply.ended.waiter_cpu_s))


def worker_environment(configuration: Configuration) -> dict[str, str]:
    """The worker's environment variables: thread counts fixed, nothing fetched from the network."""
    threads = str(cpu_threads(configuration))
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    # A library that reports over the network while it is measured would be measured doing that.
    silent = {"ORT_DISABLE_TELEMETRY": "1"}
    return {**os.environ, **dict.fromkeys(pools, threads), **offline, **silent}


def of_build(result: Result, trial: Trial) -> Result:
    """A result from the process of `trial`, in our words: another version of servewatt may not know of builds, or of
    some other field."""
    plain = replace(trial, configuration=replace(trial.configuration, build=""))
    return replace(result, trial=trial) if trial.configuration.build and result.trial.id == plain.id else result


def result_of(ended: Ended, trial: Trial, started_at: str, *, oom_killed: bool) -> Result:
    """What the worker says of the trial, or what can be said in its place."""
    log = printable(ended.log)
    if ended.timed_out:
        reason, hint = f"not finished after {trial.procedure.timeout_s:g} s", "raise --timeout, or cut the workload"
        return Result(trial, Status.TIMED_OUT, reason, hint, started_at, log=log)
    again = try_alone(trial.model, trial.configuration)
    found = answer_of(Result, ended, "the worker", again, oom_killed=oom_killed)
    if not isinstance(found, Result):
        return Result(trial, *found, started_at, log=log)
    found = of_build(found, trial)
    if found.trial != trial:
        return Result(trial, Status.FAILED, "the worker answered for another trial", again, started_at, log=log)
    return replace(found, reason=brief(found.reason), hint=brief(found.hint), log=log + end_note(ended))

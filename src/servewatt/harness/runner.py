"""Runs trials one after another, each in a process of its own, and yields every outcome.

The parent does nothing while a worker runs: it sleeps in the kernel until the worker answers, dies or is late.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from servewatt import wire
from servewatt.errors import InputError
from servewatt.harness.fitness import memory_bandwidth_bytes_s
from servewatt.harness.judge import judge
from servewatt.harness.process import Ended, run_module
from servewatt.harness.schedule import Progress, preparation
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
    kills_before = _oom_kills()
    ended = run_module(
        WORKER,
        [mode],
        wire.dump(trial).encode(),
        timeout_s=trial.procedure.timeout_s,
        environment=_worker_environment(trial.configuration),
    )
    result = _answer(ended)
    if result is None:
        status, reason, hint = _explain_end(ended, trial, oom_killed=_oom_kills() > kills_before)
        result = Result(trial, status, reason, hint, started_at)
    return replace(result, parent_cpu_s=ended.waiter_cpu_s, log=ended.log)


def _worker_environment(configuration: Configuration) -> dict[str, str]:
    """The worker's environment variables: thread counts fixed, nothing fetched from the network."""
    threads = str(configuration.threads or len(os.sched_getaffinity(0)))
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **dict.fromkeys(pools, threads), **offline}


def _answer(ended: Ended) -> Result | None:
    if not ended.answer or ended.timed_out or ended.returncode != 0:
        return None
    try:
        return wire.load(Result, ended.answer)
    except InputError:  # cut off in the middle
        return None


def _explain_end(ended: Ended, trial: Trial, *, oom_killed: bool) -> tuple[Status, str, str]:
    name = trial.configuration.key
    again = f"try it alone: servewatt run --engine {trial.configuration.engine} --blocks 1"
    if ended.timed_out:
        limit = f"{trial.procedure.timeout_s:g} s"
        return Status.TIMED_OUT, f"{name} had not finished after {limit}", "raise --timeout, or cut the workload"
    if ended.returncode >= 0:
        return Status.FAILED, f"the worker left with exit code {ended.returncode} and no result", again
    if oom_killed and ended.returncode == -signal.SIGKILL:
        hint = "use a smaller batch, a narrower precision or a smaller model"
        return Status.OUT_OF_MEMORY, "the kernel killed the worker because memory ran out", hint
    return Status.CRASHED, f"killed by {signal.Signals(-ended.returncode).name}", again


def _oom_kills() -> int:
    """How many processes the kernel has killed for lack of memory since boot; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

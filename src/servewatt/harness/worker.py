"""One trial in a process of its own: trial as JSON on standard input, result as JSON on the answer pipe.

load -> settle -> warm up -> idle -> prefill -> generate -> tear down
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from servewatt import engines, wire
from servewatt.engines import Session
from servewatt.engines.proof import violations
from servewatt.errors import RefusedError, ServewattError
from servewatt.harness.process import die_with_parent
from servewatt.harness.sampler import Sampler, SamplerOrder, Samples
from servewatt.harness.schedule import section_lengths
from servewatt.harness.window import Generator, Mark, Stretch, Work, take_mark, to_section
from servewatt.meters import open_meters
from servewatt.meters.base import Meter
from servewatt.models.cache import ArtefactCache
from servewatt.records import Domain, Facts, Grade, Provider, Result, Status, Trial

TRY_OUT_TOKENS = 8


@dataclass
class Log:
    """What a trial has yielded so far; a trial that dies by an exception still reports it."""

    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    facts: Facts | None = None
    stretches: list[Stretch] = field(default_factory=list)
    work: Work | None = None
    generator: Generator | None = None
    peak_gpu_bytes: int | None = None


class Measurement:
    """The stages of one trial over open meters."""

    def __init__(self, trial: Trial, meters: Sequence[Meter], log: Log) -> None:
        self._trial = trial
        self._meters = meters
        self._log = log
        self.domains: tuple[Domain, ...] = tuple(domain for meter in meters for domain in meter.domains())
        self._quantum_s = max((d.quantum_s for d in self.domains if d.within is None), default=0.0)

    def load(self) -> Session:
        """Load the engine; its time and energy are the `load` section."""
        trial = self._trial
        first = take_mark(self._meters)
        engine = engines.create(trial.configuration.engine)
        session = engine.load(trial.model, trial.configuration, ArtefactCache())
        session.synchronize()
        self._log.stretches.append(Stretch("load", first, take_mark(self._meters)))
        self._log.generator = Generator(session, trial.workload, trial.configuration.batch, trial.model.eos_ids)
        return session

    def try_out(self, session: Session) -> None:
        """Generate a few tokens and check the engine's claim, for a preparation."""
        assert self._log.generator is not None
        self._log.work = self._log.generator.try_out(TRY_OUT_TOKENS)
        self._prove(session)

    def measure(self, session: Session) -> None:
        """Settle, warm up, prove, then the measured sections."""
        procedure = self._trial.procedure
        generator = self._log.generator
        assert generator is not None
        time.sleep(procedure.settle_s)
        generator.warm_up(procedure.warmup_s, procedure.warmup_max_s, procedure.warmup_tolerance)
        self._prove(session)
        session.synchronize()
        time.sleep(procedure.settle_s)
        lengths = section_lengths(procedure, self._quantum_s)
        # A garbage collection inside a window would be our work, not the engine's.
        gc.collect()
        gc.freeze()
        gc.disable()

        first = take_mark(self._meters)
        time.sleep(lengths.idle_s)
        self._end("idle", first, session)

        first = take_mark(self._meters)
        passes = generator.prefill_for(lengths.prefill_s)
        rows = len(self._trial.workload.prompts)
        self._end("prefill", first, session, passes, passes * generator.tokens_in_per_pass, passes * rows)

        first = take_mark(self._meters)
        work = generator.generate_for(lengths.generate_s)
        session.synchronize()
        last = take_mark(self._meters)
        gc.enable()
        self._log.work = work
        tokens_out = sum(g.tokens_out for g in generator.generations(work))
        tokens_in = work.passes * generator.tokens_in_per_pass
        self._log.stretches.append(Stretch("generate", first, last, work.passes, tokens_in, tokens_out))
        self._log.peak_gpu_bytes = session.peak_device_bytes()

    def _end(
        self, name: str, first: Mark, session: Session, passes: int = 0, tokens_in: int = 0, tokens_out: int = 0
    ) -> None:
        session.synchronize()
        stretch = Stretch(name, first, take_mark(self._meters), passes, tokens_in, tokens_out)
        self._log.stretches.append(stretch)

    def _prove(self, session: Session) -> None:
        facts = session.facts()
        self._log.facts = facts
        broken = violations(self._trial.configuration, facts)
        if broken:
            raise RefusedError(
                f"what runs is not what is claimed: {'; '.join(broken)}",
                "the engine's facts are kept with the trial; choose a configuration it can keep",
            )


def run_trial(trial: Trial, *, prepare: bool) -> Result:
    """Measure one trial (or only try its configuration out) in this process, and say how it went."""
    log = Log()
    status, reason, hint = Status.OK, "", ""
    samples = Samples()
    domains: tuple[Domain, ...] = ()
    try:
        with ExitStack() as stack:
            procedure = trial.procedure
            meters = open_meters(procedure.meters, procedure.cpu_watts)
            for meter in meters:
                stack.callback(meter.close)
            order = SamplerOrder(os.getpid(), procedure.sample_interval_s, procedure.meters, procedure.cpu_watts)
            sampler = None if prepare else Sampler(order)
            if sampler is not None:
                stack.callback(sampler.kill)
            measurement = Measurement(trial, meters, log)
            domains = measurement.domains
            session = measurement.load()
            stack.callback(session.close)
            if prepare:
                measurement.try_out(session)
            else:
                measurement.measure(session)
            if sampler is not None:
                samples = sampler.stop()
    except Exception as error:  # noqa: BLE001  (whatever an engine raises is this trial's outcome)
        status, reason, hint = describe_failure(error)
    return _to_result(trial, log, domains, samples, (status, reason, hint), prepare=prepare)


def describe_failure(error: Exception) -> tuple[Status, str, str]:
    """(status, reason, hint) for what an engine raised."""
    text = f"{type(error).__name__}: {error}".strip()
    if isinstance(error, ServewattError):
        return Status.REFUSED, error.message, error.hint
    lowered = text.lower()
    if isinstance(error, MemoryError) or any(
        sign in lowered for sign in ("outofmemory", "out of memory", "bad_alloc", "failed to allocate memory")
    ):
        hint = "use a smaller batch or a narrower precision, or free memory that others hold"
        return Status.OUT_OF_MEMORY, text[:500], hint
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Status.FAILED, text, "free disk space (servewatt models prune) and run the same command again"
    return Status.FAILED, text[:500], "the trial's log has the whole message: servewatt report RUN --json"


def _to_result(
    trial: Trial,
    log: Log,
    domains: Sequence[Domain],
    samples: Samples,
    outcome: tuple[Status, str, str],
    *,
    prepare: bool,
) -> Result:
    status, reason, hint = outcome
    result = Result(trial, status, reason, hint, log.started_at, log.facts)
    if prepare or status is not Status.OK:
        # No samples were taken, or none came back: power cannot be integrated, and that is not what went wrong.
        domains = [d for d in domains if d.grade is not Grade.INTEGRATED]
    try:
        sections = tuple(to_section(s, domains, samples.power, samples.cpu_share) for s in log.stretches)
    except ServewattError as error:  # a counter that wrapped twice, power without samples
        if status is not Status.OK:
            return result
        return replace(result, status=Status.INVALID, reason=error.message, hint=error.hint)
    if log.generator is not None and log.work is not None:
        result = replace(
            result,
            generations=log.generator.generations(log.work),
            outputs=log.generator.outputs(log.work) if log.work.passes else (),
        )
    return replace(
        result,
        sections=sections,
        power=samples.power,
        utilisation=samples.utilisation,
        peak_rss_bytes=_peak_rss_bytes(),
        peak_gpu_bytes=_peak_gpu_bytes(trial, log, samples),
        sampler_cpu_s=samples.cpu_s,
    )


def _peak_gpu_bytes(trial: Trial, log: Log, samples: Samples) -> int | None:
    """What the trial added to the GPU's used memory, context included: all engines by the same measure.

    A peak shorter than the sampler's interval shows only where the engine's own allocator reports it.
    """
    if trial.configuration.provider is Provider.CPU:
        return None
    used = [u.gpu_memory_bytes for u in samples.utilisation if u.gpu_memory_bytes is not None]
    added = max(used) - used[0] if used else 0
    return max(added, log.peak_gpu_bytes or 0) or None


def _peak_rss_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _main(arguments: Sequence[str]) -> None:
    answer_fd, parent_pid, mode = int(arguments[0]), int(arguments[1]), arguments[2]
    die_with_parent(parent_pid)
    trial = wire.load(Trial, sys.stdin.buffer.read())
    result = run_trial(trial, prepare=mode == "prepare")
    with os.fdopen(answer_fd, "wb") as pipe:
        pipe.write(wire.dump(result).encode())


if __name__ == "__main__":
    _main(sys.argv[1:])

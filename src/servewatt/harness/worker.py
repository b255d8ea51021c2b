"""One trial in a process of its own: trial as JSON on standard input, result as JSON on the answer pipe.

load -> settle -> warm up -> idle -> prefill -> generate -> tear down
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from servewatt import engines, wire
from servewatt.engines import Session
from servewatt.engines.answers import check_facts, check_peak_bytes
from servewatt.engines.proof import violations
from servewatt.errors import LONGEST_REASON, InputError, RefusedError, ServewattError, UnavailableError, brief
from servewatt.harness.child import answering
from servewatt.harness.failure import ProcessEndedError, describe_failure, may_pass
from servewatt.harness.sampler import Sampler, SamplerOrder, Samples
from servewatt.harness.schedule import ALIGN_FROM_S, section_lengths
from servewatt.harness.section import Mark, Stretch, check_sensor, take_mark, take_mark_at_step, to_section
from servewatt.harness.window import Generator, Work
from servewatt.meters import open_meters
from servewatt.meters.base import Meter
from servewatt.meters.cpu_times import peak_rss_bytes
from servewatt.meters.nvml import first_visible_board
from servewatt.models.cache import ArtefactCache
from servewatt.records import Component, Domain, Facts, Grade, Provider, Result, Status, Trial, Via

if TYPE_CHECKING:
    from servewatt.harness.through_http import HttpSession

TRY_OUT_TOKENS = 8


@dataclass
class Log:
    """Results of a trial so far; a trial that ends by an exception still reports them."""

    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    facts: Facts | None = None
    stretches: list[Stretch] = field(default_factory=list)
    work: Work | None = None
    generator: Generator | None = None
    peak_gpu_bytes: int | None = None
    server: HttpSession | None = None


class Measurement:
    """The stages of one trial over open meters."""

    def __init__(self, trial: Trial, meters: Sequence[Meter], log: Log) -> None:
        self._trial = trial
        self._meters = meters
        self._log = log
        self.domains: tuple[Domain, ...] = tuple(domain for meter in meters for domain in meter.domains())
        outermost = [d for d in self.domains if d.within is None]
        self._quantum_s = max((d.quantum_s for d in outermost), default=0.0)
        self.stepping = stepping_domain(outermost)
        self.pids: tuple[int, ...] = ()
        """Processes that work for the session, besides this one."""

    def load(self) -> Session:
        """Load the engine; its time and energy are the `load` section."""
        trial = self._trial
        first = take_mark(self._meters)
        session = self._open()
        session.synchronize()
        self._log.stretches.append(Stretch("load", first, take_mark(self._meters, self.pids)))
        self._log.generator = Generator(session, trial.workload, trial.configuration.batch, trial.model)
        return session

    def _open(self) -> Session:
        trial = self._trial
        if trial.configuration.via is Via.HTTP:
            from servewatt.harness.through_http import HttpSession, Server

            self._log.server = HttpSession(Server(trial.model, trial.configuration))
            self.pids = (self._log.server.pid,)
            return self._log.server
        return engines.create(trial.configuration.engine).load(trial.model, trial.configuration, ArtefactCache())

    def try_out(self, session: Session) -> None:
        """Generate a few tokens and check the engine's claim, for a preparation."""
        assert self._log.generator is not None
        self._log.work = self._log.generator.try_out(TRY_OUT_TOKENS)
        self.prove(session)

    def warm_up(self, session: Session, *, alone: bool = True) -> None:
        """Settle, warm up, and prove. Unless `alone`, others load meanwhile, so that no time will be steady."""
        procedure = self._trial.procedure
        most_s = procedure.warmup_max_s if alone else min(procedure.warmup_max_s, procedure.warmup_s)
        generator = self._log.generator
        assert generator is not None
        time.sleep(procedure.settle_s)
        generator.warm_up(procedure.warmup_s, most_s, procedure.warmup_tolerance)
        self.prove(session)

    def make_ready(self, session: Session) -> None:
        """Measure idle power and prefill of a session that is warm."""
        procedure = self._trial.procedure
        generator = self._log.generator
        assert generator is not None
        session.synchronize()
        time.sleep(procedure.settle_s)
        lengths = section_lengths(procedure, self._quantum_s)
        # A garbage collection inside a window would be our work, not the engine's.
        gc.collect()
        gc.freeze()
        gc.disable()

        first = self.mark()
        time.sleep(lengths.idle_s)
        # Waiting for a step goes on with idling, so here both ends can have one.
        self._log.stretches.append(Stretch("idle", first, self.mark()))

        first = self.mark()
        work = generator.prefill_for(lengths.prefill_s)
        tokens = work.passes * generator.tokens_in_per_pass, work.passes * generator.rows_per_pass
        self._end("prefill", first, session, work.passes, *tokens)
        generator.check(work, 1)

    def measure(self, session: Session) -> None:
        """Warm up and make ready, then the section `generate`."""
        self.warm_up(session)
        self.make_ready(session)
        generator = self._log.generator
        assert generator is not None
        first = self.mark()
        work = generator.generate_for(section_lengths(self._trial.procedure, self._quantum_s).generate_s)
        session.synchronize()
        last = take_mark(self._meters, self.pids)
        gc.enable()
        generator.check(work)
        self._log.work = work
        if self._log.server is not None:
            work.engine_s = self._log.server.engine_s[-len(work.starts_s) :]
        tokens_out = sum(g.tokens_out for g in generator.generations(work))
        tokens_in = work.passes * generator.tokens_in_per_pass
        self._log.stretches.append(Stretch("generate", first, last, work.passes, tokens_in, tokens_out))
        self.note_peak(session)

    def note_peak(self, session: Session) -> None:
        """Keep the most device memory that the engine tells of."""
        self._log.peak_gpu_bytes = check_peak_bytes(session.peak_device_bytes())

    def mark(self) -> Mark:
        """Read everything, just after a step of the counter in use if that is coarse."""
        return take_mark_at_step(self._meters, self.stepping, self.pids)

    def _end(
        self, name: str, first: Mark, session: Session, passes: int = 0, tokens_in: int = 0, tokens_out: int = 0
    ) -> None:
        session.synchronize()
        stretch = Stretch(name, first, take_mark(self._meters, self.pids), passes, tokens_in, tokens_out)
        self._log.stretches.append(stretch)

    def prove(self, session: Session) -> None:
        """Keep the engine's facts; RefusedError where they cannot be, or contradict the configuration."""
        facts = session.facts()
        check_facts(facts)
        self._log.facts = facts
        broken = violations(self._trial.configuration, facts)
        if broken:
            raise RefusedError(
                f"what runs is not what is claimed: {'; '.join(broken)}",
                "the engine's facts are kept with the trial; choose a configuration it can keep",
            )


def stepping_domain(domains: Sequence[Domain]) -> Domain | None:
    """The counter whose steps the ends of sections wait for: the coarsest, of the GPU in use if there are several."""
    coarse = [d for d in domains if d.grade is Grade.COUNTER and d.quantum_s >= ALIGN_FROM_S]
    if not coarse:
        return None
    in_use = f"gpu:{first_visible_board()}"
    return max(coarse, key=lambda d: (d.name == in_use, d.quantum_s))


def run_trial(trial: Trial, *, prepare: bool) -> Result:
    """Measure one trial (or only try its configuration out) in this process, and say how it went."""
    log = Log()
    status, reason, hint = Status.OK, "", ""
    transient = False
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
                # Again, for what changed while it was measured; only now, as reading facts is work.
                measurement.prove(session)
    except Exception as error:  # noqa: BLE001  (whatever an engine raises is this trial's outcome)
        status, reason, hint = describe_failure(error, trial.configuration)
        transient = may_pass(error)
        if not isinstance(error, ServewattError | ProcessEndedError) or len(str(error)) > LONGEST_REASON:
            # To the trial's log, as a reason is cut short.
            traceback.print_exception(error)
    result = to_result(trial, log, domains, samples, (status, reason, hint), prepare=prepare)
    return replace(result, transient=transient)


def to_result(
    trial: Trial,
    log: Log,
    domains: Sequence[Domain],
    samples: Samples,
    outcome: tuple[Status, str, str],
    *,
    prepare: bool = False,
) -> Result:
    """The trial's result from what it logged and sampled, and how it ended (status, reason, hint)."""
    status, reason, hint = outcome
    result = Result(trial, status, reason, hint, log.started_at, log.facts)
    if prepare or status is not Status.OK:
        # No samples were taken, or none came back: power cannot be integrated, and that is not what went wrong.
        domains = [d for d in domains if d.grade is not Grade.INTEGRATED]
    try:
        sections = tuple(
            to_section(s, domains if s.alone else (), samples.power, samples.cpu_share) for s in log.stretches
        )
        sensors = [d for d in domains if d.grade is Grade.INTEGRATED and d.component is Component.GPU]
        board = f"gpu:{first_visible_board()}" if sensors else ""
        for sensor in sensors:
            if sensor.name == board:
                check_sensor(sensor, samples.power, samples.utilisation)
    except ServewattError as error:
        if prepare or status is not Status.OK:
            # Only its times are of use here, and what went wrong is known already.
            sections = tuple(to_section(s, (), (), samples.cpu_share) for s in log.stretches)
        else:
            # A meter that does not work will not the next time; a suspend or a reset counter passes.
            status = Status.REFUSED if isinstance(error, UnavailableError) else Status.INVALID
            kept = replace(result, power=samples.power, utilisation=samples.utilisation)
            return replace(kept, status=status, reason=error.message, hint=error.hint)
    if log.generator is not None and log.work is not None:
        result = replace(
            result,
            generations=log.generator.generations(log.work),
            outputs=log.generator.outputs(log.work) if log.work.passes else (),
            repeated_rows=log.generator.repeated_rows,
        )
    return replace(
        result,
        sections=sections,
        power=samples.power,
        utilisation=samples.utilisation,
        peak_rss_bytes=_peak_rss_bytes(trial, log),
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


def _peak_rss_bytes(trial: Trial, log: Log) -> int | None:
    """Of the process that holds the model."""
    if trial.configuration.via is Via.HTTP:
        return log.server.peak_rss_bytes if log.server is not None else None
    # Not getrusage: its maximum starts from what the parent held when it started this process.
    return peak_rss_bytes(os.getpid())


def _main(arguments: Sequence[str]) -> None:
    def work(lines: list[bytes]) -> bytes:
        (trial,) = lines
        return as_json(run_trial(wire.load(Trial, trial), prepare=arguments[2] == "prepare"))

    answering(arguments, work)


def as_json(result: Result) -> bytes:
    """The result as it is answered; a failure in its place where it holds text that is not Unicode or a NaN."""
    try:
        return wire.dump(result).encode()
    except InputError as error:  # from an engine or a meter
        traceback.print_exception(error)
        reason = brief(f"the result cannot be written: {error.message}")
        return wire.dump(Result(result.trial, Status.FAILED, reason, started_at=result.started_at)).encode()


if __name__ == "__main__":
    _main(sys.argv[1:])

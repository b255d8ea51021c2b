"""One configuration in a process that stays loaded for a duet episode, and measures a slice when it is asked to.

A trial as JSON is the first line on standard input; orders follow, a line each. Every line is answered by one on the
answer pipe: the trial's result so far once it is loaded, the same once it is ready, a slice for each further order, and
the result at the end.

load -> settle -> warm up -> blocked -> idle -> prefill -> (blocked -> slice)* -> tear down
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import IO

from servewatt import wire
from servewatt.engines import Session
from servewatt.errors import LONGEST_REASON, InputError, ServewattError, UnavailableError, brief
from servewatt.harness.child import die_with_parent
from servewatt.harness.failure import ProcessEndedError, describe_failure, may_pass
from servewatt.harness.sampler import Sampler, SamplerOrder, Samples
from servewatt.harness.section import Stretch, take_mark_at_step, to_section
from servewatt.harness.window import Tokens, Work
from servewatt.harness.worker import Log, Measurement, to_result
from servewatt.meters import open_meters
from servewatt.records import Generation, Result, Section, Slice, Status, Trial

ALONE, BESIDE = "alone", "beside"
"""How a process is started: with nothing else loading, or beside others that load."""
SAMPLER_PAUSE_S = 0.02
"""For the sampler to take its first sample of a slice before that begins."""


@dataclass(frozen=True)
class Order:
    """A slice to measure; where `least_s` is 0 the trial is to end, or to become `ready`."""

    round: int = 0
    position: int = 0
    attempt: int = 0
    least_s: float = 0.0
    ready: bool = False
    """To measure what is measured once a process."""


@dataclass(frozen=True)
class Reply:
    """What an order yielded: a slice, or the result as far as it goes."""

    slice: Slice | None = None
    result: Result | None = None


class Residency:
    """The stages of one trial in a duet episode."""

    def __init__(self, trial: Trial, stack: ExitStack, *, alone: bool = True) -> None:
        """`alone`: whether nothing else loads at the same time."""
        self._trial = trial
        self._alone = alone
        self._log = Log()
        procedure = trial.procedure
        self._meters = open_meters(procedure.meters, procedure.cpu_watts)
        for meter in self._meters:
            stack.callback(meter.close)
        order = SamplerOrder(os.getpid(), procedure.sample_interval_s, procedure.meters, procedure.cpu_watts)
        self._sampler = Sampler(order)
        stack.callback(self._sampler.kill)
        self._samples = Samples()
        self._measurement = Measurement(trial, self._meters, self._log)
        self._stack = stack
        self._session: Session | None = None
        self._outputs: dict[int, Tokens] = {}
        """The first answer to each batch."""
        self._next_batch = 0
        self._peak_gpu_bytes: int | None = None
        """When it was ready: what later comes to the board's used memory may be the next process."""

    def load(self) -> Result:
        """Load the engine and warm it up."""
        self._session = self._measurement.load()
        self._stack.callback(self._session.close)
        self._measurement.warm_up(self._session, alone=self._alone)
        self._keep(self._sampler.pause())
        return self._result((Status.OK, "", ""))

    def make_ready(self) -> Result:
        """Measure what is measured once a process."""
        assert self._session is not None and self._log.generator is not None
        if not self._alone:
            # Neither the joules nor the board's memory were this process's alone.
            self._log.stretches = [replace(stretch, alone=False) for stretch in self._log.stretches]
            self._samples = replace(self._samples, utilisation=())
        self._sampler.resume()
        self._log.generator.touch()
        self._measurement.make_ready(self._session)
        self._keep(self._sampler.pause())
        self._measurement.note_peak(self._session)
        result = self._result((Status.OK, "", ""))
        self._peak_gpu_bytes = result.peak_gpu_bytes
        return result

    def measure(self, order: Order) -> Slice:
        """Measure one slice. The sampler works from before it begins until after it ends, and not in between slices."""
        generator, session = self._log.generator, self._session
        assert generator is not None and session is not None
        self._sampler.resume()
        time.sleep(SAMPLER_PAUSE_S)
        generator.touch()
        session.synchronize()
        first = self._measurement.mark()
        work = generator.some_for(order.least_s, self._next_batch)
        session.synchronize()
        end_s = time.monotonic()
        last = take_mark_at_step(self._meters, self._measurement.stepping, self._measurement.pids)
        samples = self._sampler.pause()
        self._keep(samples)
        generator.check(work)
        if self._log.server is not None:
            work.engine_s = self._log.server.engine_s[-len(work.starts_s) :]
        self._remember(work)
        if self._measurement.stepping is None:
            end_s = last.time_s
        generations = generator.generations(work)
        section, fault = self._section(Stretch("generate", first, last), samples)
        thirds = _thirds(generations, first.time_s, end_s)
        return Slice(
            round=order.round,
            position=order.position,
            start_s=first.time_s,
            work_s=end_s - first.time_s,
            tail_s=last.time_s - end_s,
            energy=section.energy,
            own_cpu_s=section.own_cpu_s,
            foreign_cpu_s=section.foreign_cpu_s,
            stolen_cpu_s=section.stolen_cpu_s,
            batches=len(work.starts_s),
            tokens_in=generator.tokens_in(work),
            tokens_out=sum(g.tokens_out for g in generations),
            first_third_s=thirds[0],
            last_third_s=thirds[1],
            attempt=order.attempt,
            fault=fault,
            generations=generations,
        )

    def _section(self, stretch: Stretch, samples: Samples) -> tuple[Section, str]:
        """What the slice took, and why that does not count, if it does not.

        A counter that was reset or a machine that slept costs a slice; a meter that does not work at all is raised.
        """
        try:
            return to_section(stretch, self._measurement.domains, samples.power, samples.cpu_share), ""
        except UnavailableError:
            raise
        except ServewattError as error:
            return to_section(stretch, (), (), samples.cpu_share), brief(error.message)

    def finish(self) -> Result:
        """The result without its slices: what was answered, what ran, and what it took at most."""
        generator, session = self._log.generator, self._session
        assert generator is not None and session is not None
        for batch in range(generator.batch_count):
            if batch not in self._outputs:  # too few slices for all of them
                self._remember(generator.once(batch))
        self._measurement.note_peak(session)
        # Again, for what changed while it was measured.
        self._measurement.prove(session)
        self._log.work = Work(tokens=[self._outputs[batch] for batch in range(generator.batch_count)])
        self._keep(self._sampler.stop())
        peaks = [peak for peak in (self._peak_gpu_bytes, self._log.peak_gpu_bytes) if peak is not None]
        return replace(
            self._result((Status.OK, "", "")),
            outputs=generator.outputs(self._log.work),
            repeated_rows=generator.repeated_rows,
            peak_gpu_bytes=max(peaks, default=None),
        )

    def fail(self, error: Exception) -> Result:
        """The result of a trial that `error` ended."""
        outcome = describe_failure(error, self._trial.configuration)
        if not isinstance(error, ServewattError | ProcessEndedError) or len(str(error)) > LONGEST_REASON:
            traceback.print_exception(error)
        return replace(self._result(outcome), transient=may_pass(error))

    def _remember(self, work: Work) -> None:
        generator = self._log.generator
        assert generator is not None
        for index, tokens in enumerate(work.tokens):
            self._outputs.setdefault((work.first_batch + index) % generator.batch_count, tokens)
        self._next_batch = generator.batch_after(work)

    def _keep(self, samples: Samples) -> None:
        known = self._samples
        self._samples = Samples(
            known.power + samples.power,
            known.utilisation + samples.utilisation,
            None if samples.cpu_s is None else (known.cpu_s or 0.0) + samples.cpu_s,
            known.duration_s + samples.duration_s,
        )

    def _result(self, outcome: tuple[Status, str, str]) -> Result:
        return to_result(self._trial, self._log, self._measurement.domains, self._samples, outcome)


def _thirds(generations: Sequence[Generation], start_s: float, end_s: float) -> tuple[float | None, float | None]:
    """Mean time from token to token in the first and in the last third of a slice; None where it has none there."""
    length_s = end_s - start_s
    gaps: tuple[list[float], list[float]] = ([], [])
    for generation in generations:
        now_s = generation.start_s + generation.ttft_s
        for gap_s in generation.inter_token_s:
            now_s += gap_s
            if now_s - start_s < length_s / 3:
                gaps[0].append(gap_s)
            elif now_s - start_s > 2 * length_s / 3:
                gaps[1].append(gap_s)
    first, last = (sum(found) / len(found) if found else None for found in gaps)
    return first, last


def replies(trial: Trial, lines: Iterator[bytes], *, alone: bool = True) -> Iterator[Reply]:
    """What a process of `trial` answers to the orders in `lines`, and that it is loaded before all of them.

    `alone`: whether nothing else loads at the same time.

    Ends with a result; after a failure without waiting for orders.
    """
    with ExitStack() as stack:
        try:
            residency = Residency(trial, stack, alone=alone)
        except Exception as error:  # noqa: BLE001  (a meter or the sampler)
            status, reason, hint = describe_failure(error, trial.configuration)
            yield Reply(result=Result(trial, status, reason, hint, transient=may_pass(error)))
            return
        try:
            yield Reply(result=residency.load())
            for line in lines:
                order = wire.load(Order, line)
                if order.ready:
                    yield Reply(result=residency.make_ready())
                    continue
                if order.least_s <= 0:
                    yield Reply(result=residency.finish())
                    return
                yield Reply(slice=residency.measure(order))
        except Exception as error:  # noqa: BLE001  (whatever an engine raises is this trial's outcome)
            yield Reply(result=residency.fail(error))


def _main(arguments: Sequence[str]) -> None:
    answer_fd, parent_pid = int(arguments[0]), int(arguments[1])
    die_with_parent(parent_pid)
    questions = sys.stdin.buffer
    trial = wire.load(Trial, questions.readline())
    with os.fdopen(answer_fd, "wb") as pipe:
        for reply in replies(trial, iter(questions.readline, b""), alone=arguments[2] == ALONE):
            _say(pipe, trial, reply)


def _say(pipe: IO[bytes], trial: Trial, reply: Reply) -> None:
    """Answer with a line; with a failure where the reply holds text that is not Unicode or a NaN."""
    try:
        line = wire.dump(reply).encode()
    except InputError as error:  # from an engine or a meter
        traceback.print_exception(error)
        reason = brief(f"the result cannot be written: {error.message}")
        line = wire.dump(Reply(result=Result(trial, Status.FAILED, reason))).encode()
    pipe.write(line + b"\n")
    pipe.flush()


if __name__ == "__main__":
    _main(sys.argv[1:])

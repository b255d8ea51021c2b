"""Samples power and utilisation of a measured process from a process of its own.

A thread inside the worker would fight the engine for the interpreter lock. This process sleeps in select(2)
between samples and reports its own CPU time, which is not counted as foreign load.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from servewatt import wire
from servewatt.errors import InputError, brief
from servewatt.harness.failure import ProcessEndedError
from servewatt.harness.process import die_with_parent
from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.endings import ending
from servewatt.records import PowerSample, Status, UtilisationSample

STARTED = b"started\n"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
END_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class SamplerOrder:
    """What the sampler is to watch."""

    pid: int
    interval_s: float
    meters: tuple[str, ...]
    cpu_watts: tuple[float, float] | None


@dataclass(frozen=True)
class Samples:
    """All that was sampled."""

    power: tuple[PowerSample, ...] = ()
    utilisation: tuple[UtilisationSample, ...] = ()
    cpu_s: float | None = None
    """CPU time the sampling took, start-up left out; None where there was none, or it died."""
    duration_s: float = 0.0

    @property
    def cpu_share(self) -> float:
        """CPU time per second of sampling, as far as it is known."""
        return self.cpu_s / self.duration_s if self.cpu_s is not None and self.duration_s > 0 else 0.0


class Sampler:
    """Handle of a sampling process; `stop` ends it and returns what it saw."""

    def __init__(self, order: SamplerOrder) -> None:
        self._child = subprocess.Popen(
            python_module_command("servewatt.harness.sampler", str(os.getpid()), wire.dump(order)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=child_environment(os.environ),
        )
        assert self._child.stdout is not None
        # It says so when it has started, so that its start-up is over by now.
        if not select.select([self._child.stdout], [], [], START_TIMEOUT_S)[0]:
            self.kill()
            raise _lost(f"had not started after {START_TIMEOUT_S:g} s")
        if self._child.stdout.readline() != STARTED:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(END_TIMEOUT_S)
            self.kill()
            raise _lost(f"did not start ({ending(self._child.returncode)})")

    @property
    def pid(self) -> int:
        """The sampling process."""
        return self._child.pid

    def stop(self) -> Samples:
        """End the sampling; ProcessEndedError, which makes the trial invalid, if the process died or is stuck."""
        try:
            answer, _ = self._child.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise _lost(f"did not answer within {STOP_TIMEOUT_S:g} s") from None
        if self._child.returncode != 0:
            raise _lost(f"ended early ({ending(self._child.returncode)})")
        try:
            return wire.load(Samples, answer)
        except InputError as error:
            raise _lost(f"gave an answer that cannot be read ({error.message})") from error

    def kill(self) -> None:
        """End it without an answer."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


def _lost(how: str) -> ProcessEndedError:
    reason = brief(f"the process that samples power and utilisation {how}")
    return ProcessEndedError((Status.INVALID, reason, "did something else end it? run the same command again"))


def sample_until_closed(order: SamplerOrder, started: Callable[[], None]) -> Samples:
    """Sample at the order's interval until standard input is closed; `started` is called when it begins."""
    from servewatt.meters import open_meters
    from servewatt.meters.nvml import first_visible_board
    from servewatt.meters.utilisation import UtilisationSampler

    meters = open_meters(order.meters, order.cpu_watts)
    utilisation = UtilisationSampler(order.pid, gpu=first_visible_board())
    power_seen: list[PowerSample] = []
    use_seen: list[UtilisationSample] = []
    gc.disable()
    started()
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    due_s = start_s
    while True:
        for meter in meters:
            power_seen.extend(meter.power())
        use_seen.append(utilisation.sample())
        due_s = max(due_s + order.interval_s, time.monotonic())
        readable, _, _ = select.select([sys.stdin], [], [], max(0.0, due_s - time.monotonic()))
        if readable:
            break
    for meter in meters:
        power_seen.extend(meter.power())
        meter.close()
    utilisation.close()
    return Samples(tuple(power_seen), tuple(use_seen), time.process_time() - start_cpu_s, time.monotonic() - start_s)


def _main(arguments: Sequence[str]) -> None:
    parent_pid, order = arguments
    die_with_parent(int(parent_pid))
    # What a library prints must not get among the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def say(words: bytes) -> None:
            answers.write(words)
            answers.flush()

        samples = sample_until_closed(wire.load(SamplerOrder, order), lambda: say(STARTED))
        say(wire.dump(samples).encode())


if __name__ == "__main__":
    _main(sys.argv[1:])

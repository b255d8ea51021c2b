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
from servewatt.harness.child import die_with_parent
from servewatt.harness.failure import ProcessEndedError
from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.endings import ending
from servewatt.records import PowerSample, Status, UtilisationSample

STARTED = b"started\n"
PAUSE, RESUME = b"p", b"r"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
END_TIMEOUT_S = 10.0
_READ_BYTES = 1 << 16


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

    def pause(self) -> Samples:
        """Stop sampling until `resume`; what it saw since then. Raises as `stop` does."""
        self._tell(PAUSE)
        return self._samples(self._line())

    def _line(self) -> bytes:
        assert self._child.stdout is not None
        give_up_s = time.monotonic() + STOP_TIMEOUT_S
        said = bytearray()
        while not said.endswith(b"\n"):
            if not select.select([self._child.stdout], [], [], max(0.0, give_up_s - time.monotonic()))[0]:
                self.kill()
                raise _lost(f"did not answer within {STOP_TIMEOUT_S:g} s")
            chunk = os.read(self._child.stdout.fileno(), _READ_BYTES)
            if not chunk:
                raise _lost(f"ended early ({ending(self._child.wait(END_TIMEOUT_S))})")
            said += chunk
        return bytes(said)

    def resume(self) -> None:
        """Go on sampling, with a sample at once."""
        self._tell(RESUME)

    def _tell(self, word: bytes) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(word)
        except OSError as error:
            raise _lost(f"ended early ({ending(self._child.wait(END_TIMEOUT_S))})") from error

    def stop(self) -> Samples:
        """End the sampling; ProcessEndedError, which makes the trial invalid, if the process died or is stuck."""
        try:
            answer, _ = self._child.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise _lost(f"did not answer within {STOP_TIMEOUT_S:g} s") from None
        if self._child.returncode != 0:
            raise _lost(f"ended early ({ending(self._child.returncode)})")
        return self._samples(answer)

    def _samples(self, answer: bytes) -> Samples:
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


class Sampling:
    """Samples at the order's interval, as standard input asks for: see `run`."""

    def __init__(self, order: SamplerOrder) -> None:
        from servewatt.meters import open_meters
        from servewatt.meters.nvml import first_visible_board
        from servewatt.meters.utilisation import UtilisationSampler

        self._interval_s = order.interval_s
        self._meters = open_meters(order.meters, order.cpu_watts)
        self._utilisation = UtilisationSampler(order.pid, gpu=first_visible_board())
        self._power: list[PowerSample] = []
        self._use: list[UtilisationSample] = []
        self._since = (0.0, 0.0)

    def run(self, say: Callable[[bytes], None]) -> None:
        """Sample until standard input is closed; a PAUSE on it ends that until a RESUME.

        What was seen since the last answer is said at each pause and at the end.
        """
        gc.disable()
        say(STARTED)
        while True:
            word = self._until_told()
            say(wire.dump(self._seen()).encode() + b"\n")
            if word != PAUSE:
                return
            if os.read(sys.stdin.fileno(), 1) != RESUME:
                say(wire.dump(Samples()).encode())
                return

    def _until_told(self) -> bytes:
        """Sample until something is on standard input; that, or nothing at its end."""
        self._since = time.monotonic(), time.process_time()
        due_s = self._since[0]
        while True:
            self._sample_power()
            self._use.append(self._utilisation.sample())
            due_s = max(due_s + self._interval_s, time.monotonic())
            readable, _, _ = select.select([sys.stdin], [], [], max(0.0, due_s - time.monotonic()))
            if readable:
                self._sample_power()
                return os.read(sys.stdin.fileno(), 1)

    def _sample_power(self) -> None:
        for meter in self._meters:
            self._power.extend(meter.power())

    def _seen(self) -> Samples:
        began_s, began_cpu_s = self._since
        seen = Samples(
            tuple(self._power), tuple(self._use), time.process_time() - began_cpu_s, time.monotonic() - began_s
        )
        self._power, self._use = [], []
        return seen

    def close(self) -> None:
        """Close meters and files."""
        for meter in self._meters:
            meter.close()
        self._utilisation.close()


def _main(arguments: Sequence[str]) -> None:
    parent_pid, order = arguments
    die_with_parent(int(parent_pid))
    # What a library prints must not get among the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def say(words: bytes) -> None:
            answers.write(words)
            answers.flush()

        sampling = Sampling(wire.load(SamplerOrder, order))
        sampling.run(say)
        sampling.close()


if __name__ == "__main__":
    _main(sys.argv[1:])

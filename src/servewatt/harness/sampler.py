"""Samples power and utilisation of a measured process from a process of its own.

A thread inside the worker would fight the engine for the interpreter lock. This process sleeps in select(2)
between samples and reports its own CPU time, which is not counted as foreign load.
"""

from __future__ import annotations

import gc
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from servewatt import wire
from servewatt.harness.process import die_with_parent
from servewatt.processes.command import child_environment, python_module_command
from servewatt.records import PowerSample, UtilisationSample


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
            env=child_environment(os.environ),
        )
        assert self._child.stdout is not None
        self._child.stdout.readline()  # it says so when it has started, so that its start-up is over by now

    @property
    def pid(self) -> int:
        """The sampling process."""
        return self._child.pid

    def stop(self) -> Samples:
        """End the sampling; no samples if the process died."""
        answer, _ = self._child.communicate()
        return wire.load(Samples, answer) if self._child.returncode == 0 else Samples()

    def kill(self) -> None:
        """End it without an answer."""
        self._child.kill()
        self._child.wait()


def sample_until_closed(order: SamplerOrder) -> Samples:
    """Sample at the order's interval until standard input is closed."""
    from servewatt.meters import open_meters
    from servewatt.meters.nvml import first_visible_board
    from servewatt.meters.utilisation import UtilisationSampler

    meters = open_meters(order.meters, order.cpu_watts)
    utilisation = UtilisationSampler(order.pid, gpu=first_visible_board())
    power_seen: list[PowerSample] = []
    use_seen: list[UtilisationSample] = []
    gc.disable()
    sys.stdout.write("started\n")
    sys.stdout.flush()
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
    sys.stdout.write(wire.dump(sample_until_closed(wire.load(SamplerOrder, order))))


if __name__ == "__main__":
    _main(sys.argv[1:])

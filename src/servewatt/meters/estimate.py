"""CPU energy modelled from utilisation, for machines without an energy counter. Always graded `estimated`.

The model is linear: power = idle + (max - idle) x busy share of the CPUs. Its integral needs no sampling: over any
window it is idle x time + (max - idle) x busy CPU seconds / number of CPUs, and both are cumulative quantities the
kernel keeps, so two readings give exactly the model's energy. It ignores clocks, vector width and memory traffic: two
programs that keep the CPUs equally busy get equal joules, whatever they draw. (Fan, Weber, Barroso, "Power provisioning
for a warehouse-sized computer", ISCA 2007, "Estimating Server Power Usage", for the linear model;
https://doi.org/10.1145/1273440.1250665.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from servewatt.errors import InputError, UnavailableError
from servewatt.meters.cpu_times import PROC, TICK_S, known_system_cpu, system_cpu_s
from servewatt.meters.plausible import is_power
from servewatt.records import Component, Domain, Grade, PowerSample, Reading

DEFAULT_IDLE_W = 0.74
DEFAULT_MAX_W = 3.84
"""Watts per logical CPU, idle and fully loaded. A weak source, but the best at hand: the mean of what the Cloud Carbon
Footprint methodology (section "Compute", https://www.cloudcarbonfootprint.org/docs/methodology/) assumes for a
processor that is not known, of AWS 0.74 and 3.5, GCP 0.71 and 4.26 (medians), Azure 0.78 and 3.76. Behind it stand
results of SPECpower_ssj2008: wall power of whole servers over their hardware threads. The means of single processor
families lie between 0.46 and 3.7 W idle, 1.7 and 9.0 W loaded (output/coefficients-aws-use.csv of March 2026 in
https://github.com/cloud-carbon-footprint/ccf-coefficients). Right in size for a virtual machine's share of a server,
and no substitute for a calibration."""


class EstimateMeter:
    """Estimates the power of the CPUs that this machine (or virtual machine) lists in /proc/stat.

    `cpu_watts` is (idle, full load) of them all together; without it the defaults above times the number of
    CPUs apply, and `calibrated` is false. `within` names a metered domain that already holds this energy.
    """

    name = "estimate"

    def __init__(
        self,
        cpu_watts: tuple[float, float] | None = None,
        *,
        within: str | None = None,
        proc: Path = PROC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proc = proc
        self._clock = clock
        self._reason: tuple[str, str] | None = None
        self._last: tuple[float, float] | None = None
        self.remarks: tuple[str, ...] = ()
        self.calibrated = cpu_watts is not None
        self.cpu_count = 0
        try:
            self.cpu_count = system_cpu_s(proc).cpu_count
        except UnavailableError as error:
            self._reason = (error.message, error.hint)
        else:
            if self.cpu_count == 0:
                self._reason = (f"{proc / 'stat'} lists no CPU", "the estimate needs Linux")
        self.present = self.cpu_count > 0
        idle_w, max_w = cpu_watts or (DEFAULT_IDLE_W * self.cpu_count, DEFAULT_MAX_W * self.cpu_count)
        if cpu_watts is not None and not 0 <= idle_w <= max_w < float("inf"):
            raise InputError(
                f"CPU watts {idle_w:g},{max_w:g} are not idle and full load", "give idle first: --cpu-watts 10,65"
            )
        self.idle_w, self.max_w = idle_w, max_w
        self._domain = Domain(
            name="cpu:estimated",
            component=Component.CPU,
            grade=Grade.ESTIMATED,
            quantum_s=TICK_S,
            within=within,
            max_power_w=max_w,
        )

    @property
    def description(self) -> str:
        """The model in one line, for reports."""
        source = "given by the user" if self.calibrated else "default per logical CPU, uncalibrated"
        return f"{self.idle_w:.3g} W idle to {self.max_w:.3g} W with {self.cpu_count} CPUs busy ({source})"

    def unavailable(self) -> tuple[str, str] | None:
        return self._reason

    def domains(self) -> tuple[Domain, ...]:
        return () if self._reason else (self._domain,)

    def read(self) -> tuple[Reading, ...]:
        if self._reason or (now := self._observe()) is None:
            return ()
        time_s, busy_s = now
        return (Reading(self._domain.name, time_s, self._joules(time_s, busy_s)),)

    def power(self) -> tuple[PowerSample, ...]:
        """Mean power since the previous call; nothing at the first."""
        if self._reason or (now := self._observe()) is None:
            return ()
        before = self._last
        if before is not None and now[0] - before[0] < TICK_S:
            return ()
        self._last = now
        if before is None:
            return ()
        power_w = (self._joules(*now) - self._joules(*before)) / (now[0] - before[0])
        return (PowerSample(self._domain.name, now[0], power_w),) if is_power(self._domain, power_w) else ()

    def close(self) -> None:
        pass

    def _observe(self) -> tuple[float, float] | None:
        system = known_system_cpu(self._proc)
        return None if system is None else (self._clock(), system.busy_s)

    def _joules(self, time_s: float, busy_s: float) -> float:
        return self.idle_w * time_s + (self.max_w - self.idle_w) * busy_s / self.cpu_count

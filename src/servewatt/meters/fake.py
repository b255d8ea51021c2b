"""A meter without hardware: constant power, read from the clock. For tests and for trying servewatt out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from servewatt.errors import InputError
from servewatt.meters.plausible import CEILING_W
from servewatt.records import Component, Domain, Grade, PowerSample, Reading

DEFAULT_WATTS = {"cpu:package-0": 20.0, "gpu:0": 100.0}


class FakeMeter:
    """Counters that advance at constant `watts` since the clock's zero, in every process alike.

    They step every `quantum_s` and wrap at `range_j`, as real ones do. A domain's component is the part of its name
    before the colon; `within` gives containers.
    """

    name = "fake"
    present = True
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        watts: Mapping[str, float] = DEFAULT_WATTS,
        *,
        quantum_s: float = 0.0,
        range_j: float | None = None,
        grade: Grade = Grade.COUNTER,
        within: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watts = dict(watts)
        self._clock = clock
        self._quantum_s = quantum_s
        self._range_j = range_j
        self._domains = tuple(
            Domain(name, _component(name), grade, quantum_s, (within or {}).get(name), range_j, power_w)
            for name, power_w in self._watts.items()
        )

    @classmethod
    def from_text(cls, text: str) -> FakeMeter:
        """From `DOMAIN=WATTS,...`, such as `cpu:package-0=20,gpu:0=100`; the default when empty."""
        watts = {}
        for part in filter(None, text.split(",")):
            name, _, number = part.partition("=")
            try:
                watts[name] = float(number)
            except ValueError:
                raise InputError(f"fake meter: {part!r} is not DOMAIN=WATTS", "such as fake:gpu:0=100") from None
            if not 0 <= watts[name] < CEILING_W[_component(name)]:
                raise InputError(
                    f"fake meter: {part!r} is no power",
                    f"from 0 to {CEILING_W[_component(name)]:g} W, such as fake:gpu:0=100",
                )
        return cls(watts or DEFAULT_WATTS)

    def unavailable(self) -> tuple[str, str] | None:
        return None

    def domains(self) -> tuple[Domain, ...]:
        return self._domains

    def read(self) -> tuple[Reading, ...]:
        now_s = self._clock()
        stepped_s = math.floor(now_s / self._quantum_s) * self._quantum_s if self._quantum_s else now_s
        energies = {name: power_w * stepped_s for name, power_w in self._watts.items()}
        counted = [d.name for d in self._domains if d.grade is not Grade.INTEGRATED]
        if self._range_j:
            energies = {name: energy_j % self._range_j for name, energy_j in energies.items()}
        return tuple(Reading(name, now_s, energies[name]) for name in counted)

    def power(self) -> tuple[PowerSample, ...]:
        now_s = self._clock()
        return tuple(PowerSample(name, now_s, power_w) for name, power_w in self._watts.items())

    def close(self) -> None:
        pass


def _component(name: str) -> Component:
    try:
        return Component(name.partition(":")[0])
    except ValueError:
        known = ", ".join(c.value for c in Component)
        raise InputError(f"domain {name!r} does not start with its component", f"one of {known}, a colon") from None

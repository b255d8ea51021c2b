"""The windows of an `EnergyMeter` that are open, and the readings at their ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from servewatt.api.power_watch import PowerWatch
from servewatt.api.window_energy import WindowEnergy
from servewatt.engines.shared.host import usable_cpus
from servewatt.errors import InputError, ServewattError, nearest
from servewatt.harness.section import Mark, Stretch, take_mark, take_mark_at_step, to_section
from servewatt.harness.worker import stepping_domain
from servewatt.meters import Meter
from servewatt.records import Domain, Section


@dataclass
class OpenWindows:
    """Meters that are open, and the windows that are."""

    meters: tuple[Meter, ...]
    own: tuple[Meter, ...]
    """Those to close at the end: who gave a meter closes it."""
    pids: tuple[int, ...]
    interval_s: float
    idle_power_w: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.domains = tuple(domain for meter in self.meters for domain in meter.domains())
        self._first: dict[str, Mark] = {}
        self._lock = threading.Lock()
        self._watch = PowerWatch(self.meters, self._lock, self.interval_s)

    @property
    def names(self) -> tuple[str, ...]:
        """The windows that are open, the last begun first."""
        return tuple(reversed(self._first))

    def check_new(self, name: str) -> None:
        if name in self._first:
            raise InputError(f"window {name} is open already", "end it first, or give the other one another name")

    def check_open(self, name: str) -> None:
        if name not in self._first:
            known = nearest(name, self._first) if self._first else "none is open"
            raise InputError(f"no window {name} is open", known)

    def begin(self, name: str, *, align: bool) -> None:
        with self._lock:
            self._first[name] = self._mark(stepping_domain(self.domains) if align else None)
            self._watch.look()

    def end(self, name: str, raised: str) -> WindowEnergy:
        """The window's energy; whatever the meters do is in it."""
        self.check_open(name)
        with self._lock:
            last = self._mark(None)
            self._watch.look()
            first = self._first.pop(name)
            samples = self._watch.since(first.time_s)
            self._watch.forget(min((m.time_s for m in self._first.values()), default=last.time_s))
        stretch = Stretch(name, first, last)
        try:
            section, problem = to_section(stretch, self.domains, samples, 0.0), None
        except ServewattError as error:
            section, problem = Section(name, first.time_s, last.time_s - first.time_s), error
        return WindowEnergy(section, usable_cpus(), raised, problem, self.idle_power_w)

    def close(self) -> None:
        self._watch.stop()
        for meter in self.own:
            meter.close()

    def _mark(self, stepping: Domain | None) -> Mark:
        """Everything read at one moment; nothing of the meters where one of them fails, which the window then tells."""
        try:
            return take_mark_at_step(self.meters, stepping, self.pids)
        except (OSError, ServewattError):
            return take_mark((), self.pids)

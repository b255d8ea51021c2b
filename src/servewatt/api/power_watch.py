"""Power while an `EnergyMeter` is open: for domains that have no counter, and for counters that wrap."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from servewatt.errors import ServewattError
from servewatt.meters import Meter
from servewatt.records import PowerSample

MARGIN_S = 5.0
"""Samples kept from before the earliest open window, as its first moments lie between two of them."""


class PowerWatch:
    """Samples of every domain's power, taken by a thread at an interval, and whenever `look` is called."""

    def __init__(self, meters: Sequence[Meter], lock: threading.Lock, interval_s: float) -> None:
        """`lock` is held while a meter is read: meters are not made for several threads."""
        self._meters = meters
        self._lock = lock
        self._interval_s = interval_s
        self._samples: list[PowerSample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="servewatt-power", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Take a sample of each domain now; the caller holds the lock."""
        for meter in self._meters:
            # A meter that fails leaves a gap, which the windows that need the samples tell.
            with suppress(OSError, ServewattError):
                self._samples.extend(meter.power())

    def since(self, start_s: float) -> tuple[PowerSample, ...]:
        """The samples from a little before `start_s` on; the caller holds the lock."""
        return tuple(sample for sample in self._samples if sample.time_s >= start_s - MARGIN_S)

    def forget(self, start_s: float) -> None:
        """Drop those that no window from `start_s` on needs; the caller holds the lock."""
        self._samples = list(self.since(start_s))

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(self._interval_s):
            with self._lock:
                self.look()

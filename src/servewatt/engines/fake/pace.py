"""How long the fake engine's steps take, and what it does to those that are measured beside it.

For tests of what duet episodes look out for: each option of `Pace` is one of the ways in which slices deceive.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping

from servewatt.engines.fake.company import Company

WAKING_GAP_S = 0.05
"""After a longer pause between two generations others may have run."""
_COLD_FACTOR = 2.0
_SPIKY_STEP = 2
"""The generations of two tokens before a slice have none."""


class Pace:
    """The time that steps take, by the options of a configuration; see `ENTRY` for what each does."""

    def __init__(self, options: Mapping[str, str], step_s: float) -> None:
        self._step_s = step_s
        numbers = {name: float(value) for name, value in options.items() if name in DEFAULTS}
        self._asked = {**DEFAULTS, **numbers}
        self._process_factor = math.exp(random.SystemRandom().gauss(0.0, self._asked["spread"]))
        self._company = Company()
        self._company_factor = 1.0
        self._turns = 0
        self._cold_left_s = 0.0
        self._generations = 0
        self._spike_due = False
        self._ended_s = -math.inf
        self._spinner = _Spinner()

    def begin(self) -> None:
        """A generation begins."""
        self._spinner.stop()
        self._generations += 1
        every = int(self._asked["spike_every"])
        self._spike_due = self._spike_due or (every > 0 and self._generations % every == 0)
        if time.monotonic() - self._ended_s > WAKING_GAP_S:
            self._wake()

    def _wake(self) -> None:
        self._cold_left_s = self._asked["cold_ms"] / 1e3
        self._company_factor = 1.0
        if self._asked["beside"] != 1 and self._company.pids():
            self._company_factor *= self._asked["beside"]
        if self._asked["after_other"] != 1:
            before, self._turns = self._turns, self._company.turns()
            if self._turns - before > _TELLING_TURNS:
                self._company_factor *= self._asked["after_other"]

    def step_s(self, index: int) -> float:
        """Seconds of step `index` of the generation."""
        step_s = self._step_s * self._process_factor * self._company_factor
        if self._cold_left_s > 0:
            step_s *= _COLD_FACTOR
            self._cold_left_s -= step_s
        if self._spike_due and index == _SPIKY_STEP:
            self._spike_due = False
            step_s += self._asked["spike_ms"] / 1e3
        return step_s

    def end(self) -> None:
        """A generation is over."""
        self._ended_s = time.monotonic()
        if self._asked["spin_ms"]:
            self._spinner.spin(self._asked["spin_ms"] / 1e3)


DEFAULTS = {
    "spin_ms": 0.0,
    "beside": 1.0,
    "after_other": 1.0,
    "cold_ms": 0.0,
    "spike_every": 0.0,
    "spike_ms": 20.0,
    "spread": 0.0,
}
"""Value of each option of the pace that is left out."""
_TELLING_TURNS = 10
"""A blocked process gets a CPU now and then; one that works, for each of its steps."""


class _Spinner:
    """Keeps a CPU busy in a thread of its own, as engines' idle threads do."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def spin(self, length_s: float) -> None:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._burn, args=[length_s], daemon=True)
        self._thread.start()

    def _burn(self, length_s: float) -> None:
        # Counted in its own CPU time: while it is stopped by a signal it has none.
        while time.thread_time() < length_s and not self._stopped.is_set():
            pass

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

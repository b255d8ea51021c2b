"""The joules of any code: windows between readings of the machine's energy counters."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from servewatt.api.open_windows import OpenWindows
from servewatt.api.window_energy import WindowEnergy
from servewatt.errors import InputError
from servewatt.meters import Meter, open_meters
from servewatt.records import Domain

Synchronize = Callable[[], Awaitable[None] | None]
"""Waits until a device has finished its work, such as `torch.cuda.synchronize`."""

WHOLE = "all"
"""Name of the window that is as long as the meter is open."""


class EnergyMeter:
    """Measures the joules of the code inside it, by domain, with grade and error bound.

        with EnergyMeter(synchronize=torch.cuda.synchronize) as meter:
            model = load()
            with meter.window("decode") as decode:
                generate(model)
        print(decode.result.energy_j, decode.result.grade, meter.result)

    Windows may stand within each other, overlap (`begin` and `end`), and be used with `async with`. The joules are
    those of the whole machine while a window is open; `foreign_cpu_share` is the CPU share of other processes. All
    domains of a window end at one moment of one clock, CLOCK_MONOTONIC.

    A window never raises because of its meters. Its result then has a `problem`, which every energy property raises.
    The rules are those by which `servewatt.measure` measures: docs/explanation/joule.md.
    """

    def __init__(
        self,
        meters: Sequence[str | Meter] = (),
        *,
        synchronize: Synchronize | None = None,
        align: bool = False,
        idle_s: float = 0.0,
        pids: Sequence[int] = (),
        cpu_watts: tuple[float, float] | None = None,
        sample_interval_s: float = 0.5,
    ) -> None:
        """Nothing is opened or read yet.

        `meters` are names, such as `nvml:0` or `rapl`, or meters of one's own; none means every one available.
        `synchronize` is called before each reading, and awaited in `async with` if it gives something to await.
        `align` opens windows just after the coarsest counter has stepped, which halves the error of its steps and
        takes up to one step. `idle_s` seconds are measured before anything else, with the program doing nothing: they
        tell `idle_power_w` and `active_j`. `pids` are other processes that belong to what is measured, such as a
        server's. `cpu_watts` are the CPU's watts idle and at full load, where no counter tells its energy.
        `sample_interval_s` is the time between two readings of power, for domains without a counter and counters that
        wrap; a thread takes them.
        """
        self._asked = tuple(meters)
        self._synchronize = synchronize
        self._align = align
        self._idle_s = idle_s
        self._pids = tuple(pids)
        self._cpu_watts = cpu_watts
        self._interval_s = sample_interval_s
        self._open: OpenWindows | None = None
        self._windows: list[WindowEnergy] = []
        self.idle: WindowEnergy | None = None
        """Energy before the outermost window; None where `idle_s` is 0."""

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The metered domains, while the meter is open."""
        return self._opened.domains

    @property
    def windows(self) -> tuple[WindowEnergy, ...]:
        """Every window that has ended, in the order of their ends; the whole is the last."""
        return tuple(self._windows)

    @property
    def result(self) -> WindowEnergy:
        """The whole time that the meter was open; InputError while it is."""
        if self._open is not None or not self._windows:
            raise InputError("the meter has not been closed yet", "read its result after the with statement")
        return self._windows[-1]

    def window(self, name: str) -> Window:
        """A window to be used as a context manager; the same name may be used again, one after another."""
        return Window(self, name)

    def begin(self, name: str) -> None:
        """Begin a window that `end` ends. Raises InputError if one of that name is open, or the meter is not."""
        self._opened.check_new(name)
        self._call_synchronize()
        self._opened.begin(name, align=self._align)

    def end(self, name: str) -> WindowEnergy:
        """End the window of that name, and tell its energy. Raises InputError if none is open."""
        self._opened.check_open(name)
        self._call_synchronize()
        return self._keep(self._opened.end(name, ""))

    def __enter__(self) -> Self:
        """Open the meters. Raises UnavailableError, with what would mend it, if none can be read here."""
        self._start()
        try:
            if self._idle_s > 0:
                self.begin("idle")
                time.sleep(self._idle_s)
                self._set_idle()
            self.begin(WHOLE)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end_all(kind, self._call_synchronize)
        finally:
            self._stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._start)
        try:
            if self._idle_s > 0:
                await self._abegin("idle")
                await asyncio.sleep(self._idle_s)
                self._set_idle()
            await self._abegin(WHOLE)
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._await_synchronize()
            self._end_all(kind, lambda: None)
        finally:
            self._stop()

    async def _abegin(self, name: str) -> None:
        self._opened.check_new(name)
        await self._await_synchronize()
        # To wait for a step in the event loop would hold up everybody in it.
        if self._align:
            await asyncio.to_thread(self._opened.begin, name, align=True)
        else:
            self._opened.begin(name, align=False)

    async def _await_synchronize(self) -> None:
        if self._synchronize is not None and inspect.isawaitable(waiting := self._synchronize()):
            await waiting

    def _call_synchronize(self) -> None:
        if self._synchronize is not None and inspect.isawaitable(waiting := self._synchronize()):
            if inspect.iscoroutine(waiting):
                waiting.close()
            raise InputError("synchronize has to be awaited", "use async with, or a function that waits by itself")

    def _start(self) -> None:
        if self._open is not None:
            raise InputError("the meter is open already", "use meter.window(NAME) inside of it")
        self._windows.clear()
        self.idle = None
        named = [m for m in self._asked if isinstance(m, str)]
        given = [m for m in self._asked if not isinstance(m, str)]
        opened = open_meters(named, self._cpu_watts) if named or not given else ()
        self._open = OpenWindows((*opened, *given), opened, self._pids, self._interval_s)

    def _set_idle(self) -> None:
        self.idle = self._opened.end("idle", "")
        if self.idle.problem is None and self.idle.duration_s > 0:
            self._opened.idle_power_w = {e.domain: e.energy_j / self.idle.duration_s for e in self.idle.energy}

    def _end_all(self, kind: type[BaseException] | None, synchronize: Callable[[], None]) -> None:
        """End the whole, and what an exception, or a forgotten `end`, has left open within it."""
        raised = kind.__name__ if kind is not None else ""
        try:
            synchronize()
        finally:
            for name in [*(n for n in self._opened.names if n != WHOLE), WHOLE]:
                if name in self._opened.names:
                    self._keep(self._opened.end(name, raised))

    def _end_window(self, name: str, kind: type[BaseException] | None) -> WindowEnergy:
        """End a window; one that outlived the meter, such as a cancelled task's, ended with it."""
        if self._open is None or name not in self._open.names:
            return next(w for w in reversed(self._windows) if w.name == name)
        return self._keep(self._open.end(name, kind.__name__ if kind is not None else ""))

    def _keep(self, ended: WindowEnergy) -> WindowEnergy:
        self._windows.append(ended)
        return ended

    def _stop(self) -> None:
        opened, self._open = self._opened, None
        opened.close()

    @property
    def _opened(self) -> OpenWindows:
        if self._open is None:
            raise InputError("the meter is not open", "write: with EnergyMeter() as meter")
        return self._open


class Window:
    """A part of the time that an `EnergyMeter` is open; a context manager, also with `async with`."""

    def __init__(self, meter: EnergyMeter, name: str) -> None:
        self._meter = meter
        self._name = name
        self._result: WindowEnergy | None = None

    @property
    def result(self) -> WindowEnergy:
        """The window's energy; InputError before the window has ended."""
        if self._result is None:
            raise InputError(f"window {self._name} has not ended yet", "read its result after the with statement")
        return self._result

    def __enter__(self) -> Self:
        self._meter.begin(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._meter._call_synchronize()
        finally:
            self._end(kind)

    async def __aenter__(self) -> Self:
        await self._meter._abegin(self._name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._meter._await_synchronize()
        finally:
            self._end(kind)

    def _end(self, kind: type[BaseException] | None) -> None:
        self._result = self._meter._end_window(self._name, kind)

"""A loaded configuration and the one thread that runs it."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from itertools import islice
from typing import TypeVar

from servewatt import engines
from servewatt.engines import Artefacts, Session
from servewatt.engines.answers import Asked, check_facts, check_peak_bytes, check_times, check_tokens
from servewatt.records import Configuration, Facts, Model
from servewatt.records.served import Answer
from servewatt.serve import PACKAGES

T = TypeVar("T")

MOST_WAITING = 32
"""Requests that may wait for the engine."""


class BusyError(Exception):
    """Too many requests wait for the engine."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"{waiting} requests wait for the engine already")
        self.retry_after_s = retry_after_s


class AbandonedError(Exception):
    """The client has left, so the generation is not needed any more."""


class Loaded:
    """A configuration ready to serve, one generation at a time.

    Engines keep state of their own in the thread that calls them (a pool of OpenMP threads, for one), so everything
    that touches the engine, loading included, runs in the same thread; a request that comes meanwhile waits for it.
    """

    def __init__(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        """Load; raises whatever the engine raises."""
        self.model = model
        self.configuration = configuration
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._waiting = 0
        self._last_s = 0.0
        self._session: Session = self._thread.submit(self._load, artefacts).result()

    async def generate(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int]) -> Answer:
        """All steps of one batch, once the device has finished; see `servewatt.engines.Session.generate`.

        If cancelled, it ends at the engine's next step; engines that return all steps at the end finish first. Raises
        BusyError where too many wait.
        """
        abandoned = threading.Event()

        def work() -> Answer:
            begin_s = time.monotonic()
            steps = []
            for step in islice(self._session.generate(prompts, max_new_tokens, stop_ids), max_new_tokens + 1):
                steps.append(step)
                if abandoned.is_set():
                    break
            self._session.synchronize()
            end_s = time.monotonic()
            self._last_s = end_s - begin_s
            if abandoned.is_set():
                raise AbandonedError(f"abandoned after {len(steps)} of {max_new_tokens} tokens")
            answer = Answer(tuple(s.tokens for s in steps), tuple(s.time_s for s in steps), end_s - begin_s)
            # JSON would change some wrong values, so they are detected here.
            asked = Asked(len(prompts), max_new_tokens, stop_ids, self.model.vocabulary_size)
            check_tokens(asked, answer.tokens)
            check_times(asked, begin_s, answer.times_s, end_s)
            return answer

        try:
            return await self._run(work)
        finally:
            abandoned.set()

    async def facts(self) -> Facts:
        """The engine's facts, with the server's own libraries among the versions."""
        facts = await self._run(self._session.facts)
        check_facts(facts)
        server = tuple((name, metadata.version(name)) for name in PACKAGES)
        return replace(facts, libraries=facts.libraries + server)

    async def peak_device_bytes(self) -> int | None:
        """Most device memory held so far; see `servewatt.engines.Session.peak_device_bytes`."""
        return check_peak_bytes(await self._run(self._session.peak_device_bytes))

    async def close(self) -> None:
        """Free the model, after what is being generated."""
        await self._run(self._session.close)

    def _load(self, artefacts: Artefacts) -> Session:
        session = engines.create(self.configuration.engine).load(self.model, self.configuration, artefacts)
        session.synchronize()
        # Objects from loading live as long as the server; later collections need not traverse them.
        gc.collect()
        gc.freeze()
        return session

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting > MOST_WAITING:
            raise BusyError(self._waiting, math.ceil(max(1.0, self._last_s)))
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        future.add_done_callback(self._done)
        return await future

    def _done(self, _future: object) -> None:
        self._waiting -= 1

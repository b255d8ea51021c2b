"""A fake engine: no model, a clock that counts. It runs the whole path anywhere, and can die in every way."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

from servewatt.engines.answers import Asked
from servewatt.engines.base import Artefacts, Step
from servewatt.engines.fake.answers import ANSWERING, FACTS, PEAKS, SCORES, STEPS
from servewatt.engines.fake.entry import ENTRY
from servewatt.engines.fake.failures import GENERATING
from servewatt.engines.fake.pace import Pace
from servewatt.engines.shared.host import cpu_threads
from servewatt.engines.shared.rows import Rows
from servewatt.errors import InputError, RefusedError, nearest
from servewatt.records import Configuration, Facts, Model, Precision
from servewatt.version import __version__

_FAILURES = {"load", "claim", *GENERATING, *ANSWERING}
_NARROW = {Precision.INT8: ("int8", "fp32"), Precision.INT4: ("int4", "fp32"), Precision.W8A8: ("int8", "int8")}
"""Precision of integer weights -> (their type, type of products)."""


class FakeEngine:
    """Engine whose steps take `step_ms` milliseconds and whose tokens count upwards from the prompt's sum.

    The option `fail` makes it misbehave: `load` is refused, `claim` computes in another precision than asked, and the
    rest is in `failures` and `answers`; with `after=N` the Nth generation is the first to fail. Options that change
    the pace are in `pace`.
    """

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        """Nothing to do: it loads checkpoints as they are."""

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> FakeSession:
        self.check(model, configuration)
        options = dict(configuration.options)
        failure = options.get("fail", "")
        if failure and failure not in _FAILURES:
            raise InputError(f"the fake engine cannot fail by {failure!r}", nearest(failure, _FAILURES))
        if failure == "load":
            raise RefusedError("the fake engine was asked to refuse", "leave out fail=load")
        return FakeSession(configuration, model, float(options.get("step_ms", "1")) / 1e3, failure)


class FakeSession:
    """See FakeEngine."""

    def __init__(self, configuration: Configuration, model: Model, step_s: float, failure: str) -> None:
        options = dict(configuration.options)
        self._configuration = configuration
        self._model = model
        self._pace = Pace(options, step_s)
        self._failure = failure
        self._failure_to_come = failure
        self._good_generations = int(options.get("after", "1")) - 1
        offset = options.get("offset", "0")
        self._offset = os.getpid() if offset == "process" else int(offset)

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        good = self._good_generations > 0
        self._good_generations -= 1
        if not good:
            self._misbehave()
        steps = self._steps(prompts, max_new_tokens, stop_ids)
        if self._failure in STEPS and not good:
            asked = Asked(len(prompts), max_new_tokens, stop_ids, self._model.vocabulary_size)
            steps = STEPS[self._failure](steps, asked)
        self._pace.begin()
        yield from steps
        self._pace.end()

    def _steps(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int]) -> Iterator[Step]:
        starts = [sum(prompt) + self._offset for prompt in prompts]
        rows = Rows(len(prompts), stop_ids)
        for produced in range(max_new_tokens):
            time.sleep(self._pace.step_s(produced))
            tokens = [(start + produced) % self._model.vocabulary_size for start in starts]
            yield rows.step(tokens, time.monotonic())
            if rows.over:
                return

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Half for the token that it would say next, counting up from the one before; the rest share the other half."""
        self._misbehave()
        others = max(1, self._model.vocabulary_size - 1)
        scores = (math.log(0.5), math.log(0.5 / others))
        told = [[scores[(b - a) % self._model.vocabulary_size != 1] for a, b in pairwise(row)] for row in rows]
        return SCORES[self._failure](told) if self._failure in SCORES else told

    def _misbehave(self) -> None:
        failure, self._failure_to_come = self._failure_to_come, ""
        if failure in GENERATING:
            GENERATING[failure]()

    def synchronize(self) -> None:
        """Nothing is ever pending."""

    def facts(self) -> Facts:
        precision, narrow = self._configuration.precision, _NARROW.get(self._configuration.precision)
        held, computed = narrow or (precision.value, precision.value)
        if self._failure == "claim":
            held = computed = "int2"
        threads = cpu_threads(self._configuration)
        facts = Facts(
            engine_version=__version__,
            devices=((self._configuration.provider.value, 1),),
            weight_dtypes=((held, self._model.weight_bytes),),
            compute_dtype=computed,
            kv_cache=True,
            kv_cache_dtype=computed,
            threads=threads,
        )
        return FACTS[self._failure](facts) if self._failure in FACTS else facts

    def peak_device_bytes(self) -> int | None:
        return PEAKS.get(self._failure)

    def close(self) -> None:
        """Nothing to free."""

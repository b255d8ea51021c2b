"""Inside a worker: the work of the sections, and the records of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from servewatt.engines import Session
from servewatt.records import Generation, Stop, Workload

SHORT_TOKENS = 8
"""Most new tokens of the generations whose times tell whether warm-up may end."""


@dataclass
class Batch:
    """Consecutive prompts that are generated together, going on from the first after the last."""

    first_prompt: int
    prompts: tuple[tuple[int, ...], ...]


def batches(workload: Workload, size: int) -> tuple[Batch, ...]:
    """The workload's prompts in order, `size` at a time; the last batch is filled up with the first prompts again.

    A smaller last batch would be cheaper per step and dearer per token, and not the batch that was asked for.
    """
    prompts = workload.prompts
    count = len(prompts)
    return tuple(
        Batch(first, tuple(prompts[(first + row) % count] for row in range(size))) for first in range(0, count, size)
    )


@dataclass
class Work:
    """What a section did: raw step times, kept as they come and made into records after the window."""

    passes: int
    starts_s: list[float]
    steps_s: list[list[float]]
    tokens: list[list[tuple[int | None, ...]]]
    """Tokens of each generated batch: of the first pass, and of every pass where lengths may differ."""
    engine_s: list[float] = field(default_factory=list)
    """Through HTTP: seconds that the engine worked on each batch, by the server."""


class Generator:
    """Runs a workload through a session."""

    def __init__(self, session: Session, workload: Workload, batch: int, eos_ids: Sequence[int]) -> None:
        self._session = session
        self._workload = workload
        self._batches = batches(workload, batch)
        self._stop_ids = frozenset(eos_ids) if workload.stop is Stop.EOS else frozenset()

    def warm_up(self, least_s: float, most_s: float, tolerance: float) -> None:
        """Generate until every prompt's shape has been seen and a repeated batch takes a steady time.

        The batch with the longest prompt is generated in full before all else: rows are padded to the longest, so what
        an engine makes room for then (a cache, recorded steps, a workspace) has room for every batch. Each batch is
        prefilled once and the first generated in full too; then a short generation of it is repeated for `least_s`,
        until three in a row agree within `tolerance`, or for `most_s`.
        """
        start_s = time.monotonic()
        first, longest = self._batches[0], max(self._batches, key=lambda batch: max(map(len, batch.prompts)))
        self._run_in_full(longest, self._workload.new_tokens)
        for batch in self._batches:
            self._run(batch, min(2, self._workload.new_tokens))
        self._show_decoding()
        if first is not longest:
            self._run_in_full(first, self._workload.new_tokens)
        short = min(SHORT_TOKENS, self._workload.new_tokens)
        recent: list[float] = []
        while (elapsed_s := time.monotonic() - start_s) < most_s:
            if elapsed_s >= least_s and len(recent) == 3 and max(recent) <= (1 + tolerance) * min(recent):
                return
            before_s = time.monotonic()
            self._run(first, short)
            recent = [*recent[-2:], time.monotonic() - before_s]

    def try_out(self, new_tokens: int) -> Work:
        """The first batch, twice, with few tokens; only the second time is kept."""
        new_tokens = min(new_tokens, self._workload.new_tokens)
        self._run_in_full(self._batches[0], new_tokens)
        self._show_decoding()
        start_s = time.monotonic()
        steps_s, tokens = self._run(self._batches[0], new_tokens)
        return Work(1, [start_s], [steps_s], [tokens])

    def prefill_for(self, least_s: float) -> int:
        """Prefill every batch, one token out, in whole passes for at least `least_s`; returns the passes."""
        start_s = time.monotonic()
        passes = 0
        while time.monotonic() - start_s < least_s:
            for batch in self._batches:
                self._run(batch, 1)
            passes += 1
        return passes

    def generate_for(self, least_s: float) -> Work:
        """Whole passes over the workload for at least `least_s`."""
        work = Work(0, [], [], [])
        begin_s = time.monotonic()
        while time.monotonic() - begin_s < least_s:
            keep = work.passes == 0 or bool(self._stop_ids)
            for batch in self._batches:
                work.starts_s.append(time.monotonic())
                steps_s, tokens = self._run(batch, self._workload.new_tokens)
                work.steps_s.append(steps_s)
                if keep:
                    work.tokens.append(tokens)
            work.passes += 1
        return work

    def generations(self, work: Work) -> tuple[Generation, ...]:
        """The records of what `generate_for` (or `try_out`) did."""
        return tuple(
            self._generation(index, start_s, steps_s, work)
            for index, (start_s, steps_s) in enumerate(zip(work.starts_s, work.steps_s, strict=True))
        )

    def outputs(self, work: Work) -> tuple[tuple[int, ...], ...]:
        """New token ids of each prompt, from the first pass; those of repeated prompts are left out."""
        rows: list[tuple[int, ...]] = []
        for batch, steps in zip(self._batches, work.tokens, strict=False):
            rows += [tuple(t for step in steps if (t := step[row]) is not None) for row in range(len(batch.prompts))]
        return tuple(rows[: len(self._workload.prompts)])

    @property
    def rows_per_pass(self) -> int:
        """Rows of all batches, repeated prompts included."""
        return sum(len(b.prompts) for b in self._batches)

    @property
    def repeated_rows(self) -> int:
        """Rows of a pass that repeat a prompt to fill the last batch."""
        return self.rows_per_pass - len(self._workload.prompts)

    @property
    def tokens_in_per_pass(self) -> int:
        return sum(len(prompt) for b in self._batches for prompt in b.prompts)

    def _generation(self, index: int, start_s: float, steps_s: list[float], work: Work) -> Generation:
        batch = self._batches[index % len(self._batches)]
        if self._stop_ids:
            tokens_out = sum(token is not None for step in work.tokens[index] for token in step)
        else:
            tokens_out = len(steps_s) * len(batch.prompts)
        return Generation(
            first_prompt=batch.first_prompt,
            rows=len(batch.prompts),
            start_s=start_s,
            ttft_s=steps_s[0] - start_s,
            inter_token_s=tuple(b - a for a, b in itertools.pairwise(steps_s)),
            tokens_out=tokens_out,
            engine_s=work.engine_s[index] if work.engine_s else None,
        )

    def _show_decoding(self) -> None:
        """Where the work is one token a prompt: decode a step all the same, as engines show their cache in one.

        The prompts lack their last token for it, so that it takes no more room than the work does.
        """
        if self._workload.new_tokens == 1:
            first = self._batches[0]
            self._run_in_full(replace(first, prompts=tuple(prompt[:-1] or prompt for prompt in first.prompts)), 2)

    def _run_in_full(self, batch: Batch, new_tokens: int) -> None:
        """Generate all of `new_tokens`, whatever ends a text: no batch takes more room than that."""
        for _ in self._session.generate(batch.prompts, new_tokens):
            pass

    def _run(self, batch: Batch, new_tokens: int) -> tuple[list[float], list[tuple[int | None, ...]]]:
        times_s = []
        tokens = []
        for step in self._session.generate(batch.prompts, new_tokens, self._stop_ids):
            times_s.append(step.time_s)
            tokens.append(step.tokens)
        return times_s, tokens

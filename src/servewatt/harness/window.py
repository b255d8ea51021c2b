"""Inside a worker: the work of the sections, and the records of it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field, replace

from servewatt.engines import Session
from servewatt.engines.answers import Asked, check_times, check_tokens
from servewatt.records import Generation, Model, Stop, Workload

Tokens = list[tuple[int | None, ...]]
"""The ids of each step of a generation, one a row."""

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

    passes: int = 0
    starts_s: list[float] = field(default_factory=list)
    steps_s: list[list[float]] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    """Of each generated batch; where a later pass said the same as the first, its very list."""
    end_s: float = 0.0
    engine_s: list[float] = field(default_factory=list)
    """Through HTTP: seconds that the engine worked on each batch, by the server."""
    first_batch: int = 0
    """Which of the workload's batches the first generation was; the others follow in their order."""

    def add(self, start_s: float, steps_s: list[float], tokens: Tokens, same_as: int | None = None) -> None:
        """Keep a generation; `same_as` is the index of one of the same batch."""
        self.starts_s.append(start_s)
        self.steps_s.append(steps_s)
        if same_as is not None and tokens == self.tokens[same_as]:
            # A window's tokens would be a good part of some engines' memory, which is measured as well.
            tokens = self.tokens[same_as]
        self.tokens.append(tokens)


class Generator:
    """Runs a workload through a session; RefusedError where its answers cannot be right."""

    def __init__(self, session: Session, workload: Workload, batch: int, model: Model) -> None:
        self._session = session
        self._workload = workload
        self._batches = batches(workload, batch)
        self._stop_ids = frozenset(model.eos_ids) if workload.stop is Stop.EOS else frozenset()
        self._vocabulary_size = model.vocabulary_size

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
            self._run_checked(batch, min(2, self._workload.new_tokens), self._stop_ids)
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
        return self._run_checked(self._batches[0], new_tokens, self._stop_ids)

    def touch(self) -> None:
        """Two tokens of the first batch, which refill the caches that other processes have evicted."""
        self._run(self._batches[0], min(2, self._workload.new_tokens))

    def some_for(self, least_s: float, first_batch: int) -> Work:
        """Whole batches for at least `least_s`, from `first_batch` on and around; nothing is looked at here."""
        work = Work(first_batch=first_batch)
        begin_s = time.monotonic()
        while not work.starts_s or time.monotonic() - begin_s < least_s:
            start_s = time.monotonic()
            place = len(work.starts_s)
            steps_s, tokens = self._run(self._batches[self._place(work, place)], self._workload.new_tokens)
            work.add(start_s, steps_s, tokens, place % len(self._batches) if place >= len(self._batches) else None)
        work.end_s = time.monotonic()
        work.passes = len(work.starts_s) // len(self._batches)
        return work

    def batch_after(self, work: Work) -> int:
        """The batch that comes after those of `work`."""
        return self._place(work, len(work.starts_s))

    def tokens_in(self, work: Work) -> int:
        """Prompt tokens of all its batches."""
        batches = (self._batches[self._place(work, index)] for index in range(len(work.starts_s)))
        return sum(len(prompt) for batch in batches for prompt in batch.prompts)

    def _place(self, work: Work, index: int) -> int:
        return (work.first_batch + index) % len(self._batches)

    def prefill_for(self, least_s: float) -> Work:
        """Prefill every batch, one token out, in whole passes for at least `least_s`."""
        return self._work_for(least_s, 1)

    def generate_for(self, least_s: float) -> Work:
        """Whole passes over the workload for at least `least_s`."""
        return self._work_for(least_s, self._workload.new_tokens)

    def _work_for(self, least_s: float, new_tokens: int) -> Work:
        """Nothing is checked here: `check` does it later, as its CPU time would count as the engine's."""
        work = Work()
        begin_s = time.monotonic()
        while time.monotonic() - begin_s < least_s:
            for place, batch in enumerate(self._batches):
                start_s = time.monotonic()
                steps_s, tokens = self._run(batch, new_tokens)
                work.add(start_s, steps_s, tokens, place if work.passes else None)
            work.passes += 1
        work.end_s = time.monotonic()
        return work

    def check(self, work: Work, new_tokens: int | None = None) -> None:
        """Raise RefusedError unless every generation of `work` can be the answer to what was asked.

        `new_tokens` is 1 for prefill, and left out for the workload's own.
        """
        new_tokens = self._workload.new_tokens if new_tokens is None else new_tokens
        ends_s = [*work.starts_s[1:], work.end_s]
        for index, (start_s, times_s, end_s) in enumerate(zip(work.starts_s, work.steps_s, ends_s, strict=True)):
            first = index % len(self._batches)
            asked = self._asked(self._batches[self._place(work, index)], new_tokens, self._stop_ids)
            if index == first or work.tokens[index] is not work.tokens[first]:
                check_tokens(asked, work.tokens[index])
            check_times(asked, start_s, times_s, end_s)

    def generations(self, work: Work) -> tuple[Generation, ...]:
        """The records of what `generate_for` (or `try_out`) did."""
        return tuple(
            self._generation(index, start_s, steps_s, work)
            for index, (start_s, steps_s) in enumerate(zip(work.starts_s, work.steps_s, strict=True))
        )

    @property
    def batch_count(self) -> int:
        """Batches of a pass."""
        return len(self._batches)

    def once(self, first_batch: int) -> Work:
        """One batch, with the check of its answer."""
        work = self._run_checked(self._batches[first_batch], self._workload.new_tokens, self._stop_ids)
        work.first_batch = first_batch
        return work

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
        batch = self._batches[self._place(work, index)]
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
        """Generate all of `new_tokens` and ignore stop ids: no batch takes more memory than that."""
        self._run_checked(batch, new_tokens, frozenset())

    def _run_checked(self, batch: Batch, new_tokens: int, stop_ids: frozenset[int]) -> Work:
        """One generation, with the check of its answer."""
        work = Work(passes=1)
        start_s = time.monotonic()
        steps_s, tokens = self._run(batch, new_tokens, stop_ids)
        work.end_s = time.monotonic()
        work.add(start_s, steps_s, tokens)
        asked = self._asked(batch, new_tokens, stop_ids)
        check_tokens(asked, tokens)
        check_times(asked, start_s, steps_s, work.end_s)
        return work

    def _asked(self, batch: Batch, new_tokens: int, stop_ids: frozenset[int]) -> Asked:
        return Asked(len(batch.prompts), new_tokens, stop_ids, self._vocabulary_size)

    def _run(self, batch: Batch, new_tokens: int, stop_ids: frozenset[int] | None = None) -> tuple[list[float], Tokens]:
        """The time and the ids of each step; one step more than asked for at most, from an engine that goes on."""
        times_s = []
        tokens = []
        stop_ids = self._stop_ids if stop_ids is None else stop_ids
        for step in itertools.islice(self._session.generate(batch.prompts, new_tokens, stop_ids), new_tokens + 1):
            times_s.append(step.time_s)
            tokens.append(tuple(step.tokens))
        return times_s, tokens

"""The work between marks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.engines import Step
from servewatt.engines.fake.engine import FakeSession
from servewatt.errors import InputError, RefusedError
from servewatt.harness.window import Generator, batches
from servewatt.records import Stop, Workload
from tests.harness.builders import fake, model


def test_the_last_batch_is_filled_with_the_first_prompts() -> None:
    work = Workload("three", ((1,), (2,), (3,)), new_tokens=4)
    assert [(b.first_prompt, b.prompts) for b in batches(work, 2)] == [(0, ((1,), (2,))), (2, ((3,), (1,)))]
    assert [b.prompts for b in batches(work, 3)] == [((1,), (2,), (3,))]
    assert [b.prompts for b in batches(work, 7)] == [((1,), (2,), (3,), (1,), (2,), (3,), (1,))]


class Positions(FakeSession):
    """A session that makes its cache anew where prompt and output do not fit into the one it has, if at all."""

    def __init__(self, folder: Path, most: int = 10_000) -> None:
        super().__init__(fake(), model(folder), 0.0, "")
        self.most = most
        self.room = self.made = 0
        self.asked: list[tuple[list[int], int]] = []
        """Lengths of the prompts and new tokens of each generation."""
        self.steps: list[int] = []
        """Taken by each."""

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        lengths = [len(prompt) for prompt in prompts]
        self.asked.append((lengths, max_new_tokens))
        needed = max(lengths) + max_new_tokens
        if needed > self.most:
            raise InputError(f"{needed} tokens, the model has {self.most} positions")
        if needed > self.room:
            self.room, self.made = needed, self.made + 1
        self.steps.append(0)
        while self.steps[-1] < max_new_tokens:
            self.steps[-1] += 1
            yield Step(tuple(prompt[0] for prompt in prompts), time.monotonic())
            if prompts[0][0] in stop_ids:
                return


def prompts(*lengths: int) -> tuple[tuple[int, ...], ...]:
    """Prompts of these lengths, the first of token 1, the second of token 2 ..."""
    return tuple((token,) * length for token, length in enumerate(lengths, 1))


def warmed_up(session: Positions, work: Workload, batch: int = 1, eos_ids: Sequence[int] = ()) -> Generator:
    generator = Generator(session, work, batch, replace(model(Path("nowhere")), eos_ids=tuple(eos_ids)))
    generator.warm_up(0.0, 0.01, 1e9)
    return generator


@pytest.mark.parametrize("lengths", [(8, 20, 40, 60), (60, 40, 20, 8), (8, 60, 40, 20)])
@pytest.mark.parametrize("batch", [1, 3])
def test_after_warm_up_the_measured_passes_need_no_more_room(
    tmp_path: Path, lengths: tuple[int, ...], batch: int
) -> None:
    session = Positions(tmp_path)
    generator = warmed_up(session, Workload("unequal", prompts(*lengths), new_tokens=30), batch)
    made = session.made
    assert session.room == 60 + 30
    generator.prefill_for(0.05)
    assert generator.generate_for(0.05).passes >= 1
    assert session.made == made


def test_the_longest_batch_comes_first_so_that_room_is_made_once(tmp_path: Path) -> None:
    session = Positions(tmp_path)
    warmed_up(session, Workload("unequal", prompts(8, 20, 60, 40), new_tokens=30), batch=2)
    assert session.asked[:4] == [([60, 40], 30), ([8, 20], 2), ([60, 40], 2), ([8, 20], 30)]
    assert session.made == 1


def test_a_text_that_ends_early_does_not_hide_the_room_of_others(tmp_path: Path) -> None:
    """Where the longest prompt's text ends at once, a shorter one that goes on can come to take more."""
    session = Positions(tmp_path)
    generator = warmed_up(session, Workload("two", prompts(9, 5), 6, Stop.EOS), eos_ids=[1])
    assert (session.asked[0], session.steps[0]) == (([9], 6), 6)
    # Measured, the first text ends with its first token and the second takes all six.
    assert [len(times_s) for times_s in generator.generate_for(0.05).steps_s][:2] == [1, 6]


@pytest.mark.parametrize("new_tokens", [1, 2, 7, 20])
def test_work_that_fills_the_context_can_be_warmed_up_and_tried_out(tmp_path: Path, new_tokens: int) -> None:
    session = Positions(tmp_path, most=512)
    work = Workload("full", prompts(512 - new_tokens, 100), new_tokens)
    warmed_up(session, work)
    Generator(session, work, 1, model(tmp_path)).try_out(8)
    assert session.room == 512


def test_a_decode_step_is_seen_where_one_token_is_asked_for(tmp_path: Path) -> None:
    """Engines show in it that they reuse their cache, and are refused if they do not."""
    work = Workload("one", prompts(9, 1), new_tokens=1)
    session = Positions(tmp_path, most=10)
    Generator(session, work, 2, model(tmp_path)).try_out(8)
    assert session.asked == [([9, 1], 1), ([8, 1], 2), ([9, 1], 1)]
    session.asked.clear()
    warmed_up(session, work, batch=2)
    assert ([8, 1], 2) in session.asked


class Turning(FakeSession):
    """A session that answers otherwise from its second generation on."""

    def __init__(self, folder: Path, later: Sequence[tuple[int | None, ...]], jump_s: float = 0.0) -> None:
        super().__init__(fake(step_ms=0), model(folder), 0.0, "")
        self.later = later
        self.jump_s = jump_s
        self.generations = 0

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        self.generations += 1
        if self.generations == 1:
            yield from super().generate(prompts, max_new_tokens, stop_ids)
        else:
            for tokens in self.later:
                time.sleep(0.001)
                yield Step(tokens, time.monotonic() - self.jump_s)


@pytest.mark.parametrize(
    ("later", "jump_s", "words"),
    [
        (((1,), (2,)), 0.0, ""),
        (((7,), (8,)), 0.0, ""),
        (((1,), (1000,)), 0.0, r"token id 1000; the vocabulary has 1,000 \(step 2, row 1\)"),
        (((1,),), 0.0, "1 token, not the 2 asked for"),
        (((1,), (2,), (3,)), 0.0, "more tokens than the 2 asked for"),
        (((1, 2), (2, 3)), 0.0, r"2 rows, not 1 \(step 1\)"),
        (((1,), (2,)), 5.0, "before the generation began"),
        (((1,), (2,)), -5.0, "after the generation had ended"),
    ],
)
def test_every_pass_of_a_window_is_checked(
    tmp_path: Path, later: tuple[tuple[int | None, ...], ...], jump_s: float, words: str
) -> None:
    """Also those whose tokens are not the first pass's: greedy decoding on a GPU need not repeat itself."""
    session = Turning(tmp_path, later, jump_s)
    generator = Generator(session, Workload("one", ((1,),), new_tokens=2), 1, model(tmp_path))
    work = generator.generate_for(0.02)
    assert work.passes > 1
    if words:
        with pytest.raises(RefusedError, match=words):
            generator.check(work)
    else:
        generator.check(work)
        assert generator.outputs(work) == ((1, 2),)


def test_tokens_that_every_pass_repeats_are_held_once(tmp_path: Path) -> None:
    session = FakeSession(fake(step_ms=0), model(tmp_path), 0.0, "")
    work = Generator(session, Workload("two", ((1,), (2,)), 3), 1, model(tmp_path)).generate_for(0.02)
    assert work.passes > 1
    assert len({id(tokens) for tokens in work.tokens}) == 2


def test_prefill_is_checked_for_one_token_a_prompt(tmp_path: Path) -> None:
    session = Turning(tmp_path, ((1,), (2,)))
    generator = Generator(session, Workload("one", ((1,),), new_tokens=2), 1, model(tmp_path))
    with pytest.raises(RefusedError, match="more tokens than the 1 asked for"):
        generator.check(generator.prefill_for(0.02), 1)

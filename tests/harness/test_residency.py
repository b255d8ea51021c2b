"""A process that stays for a duet episode: what it answers to each order, and how its failures are told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt import wire
from servewatt.harness.episode import RESIDENCY
from servewatt.harness.residency import ALONE, BESIDE, Order, Reply
from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.guarded import ANSWER_FD, PARENT_PID
from servewatt.processes.resident import Resident
from servewatt.records import Result, Slice, Status, Trial
from tests.harness.builders import fake, trial
from tests.processes_of import MARK, marked, new_mark, wait_until

READY = Order(ready=True)
FINISH = Order()


class Asked:
    """A resident that takes orders."""

    def __init__(self, resident: Resident) -> None:
        self.resident = resident

    def __call__(self, question: Trial | Order) -> Reply:
        answer = self.resident.ask(wire.dump(question).encode(), timeout_s=60)
        assert answer is not None, self.resident.end()
        return wire.load(Reply, answer)

    def slice(self, order: Order) -> Slice:
        found = self(order).slice
        assert found is not None
        return found

    def result(self, question: Trial | Order) -> Result:
        found = self(question).result
        assert found is not None
        return found

    def ready(self, asked: Trial, order: Order = READY) -> Result:
        """The result of a process that is loaded and was then asked to get ready, or of what kept it from that."""
        loaded = self.result(asked)
        return loaded if loaded.status is not Status.OK else self.result(order)


@contextmanager
def residency(mark: str = "", how: str = ALONE) -> Iterator[Asked]:
    command = python_module_command(RESIDENCY, ANSWER_FD, PARENT_PID, how)
    with Resident(command, child_environment({**os.environ, MARK: mark})) as resident:
        yield Asked(resident)


def test_ready_slices_and_the_end(tmp_path: Path) -> None:
    """The fake meter counts 20 W and 100 W; a step takes 2 ms, and a batch of one prompt five steps."""
    with residency() as ask:
        ready = ask.ready(trial(tmp_path, fake(step_ms=2)))
        assert ready.status is Status.OK, ready.reason
        assert [section.name for section in ready.sections] == ["load", "idle", "prefill"]
        assert ready.facts is not None
        assert (ready.outputs, ready.generations, ready.slices) == ((), (), ())
        slices = [ask.slice(Order(round_, position=1, attempt=2, least_s=0.05)) for round_ in range(2)]
        result = ask.result(FINISH)
        ended = ask.resident.close_politely(timeout_s=20)
    for number, one in enumerate(slices):
        assert (one.round, one.position, one.attempt, one.fault) == (number, 1, 2, "")
        assert 0.05 <= one.work_s < 5
        assert one.tail_s == 0
        assert one.tokens_out == 5 * one.batches == sum(g.tokens_out for g in one.generations)
        energies = {energy.domain: energy.energy_j for energy in one.energy}
        # The counters are read at the two ends of the slice.
        assert energies == pytest.approx({"cpu:package-0": 20 * one.work_s, "gpu:0": 100 * one.work_s}, rel=0.1)
        assert one.first_third_s == pytest.approx(one.last_third_s, rel=0.5)
        assert one.generations[0].start_s >= one.start_s
    # Batches go on where the last slice stopped: three prompts of 2, 1 and 3 tokens.
    firsts = [g.first_prompt for one in slices for g in one.generations]
    assert firsts == [index % 3 for index in range(len(firsts))]
    assert slices[0].tokens_in == sum((2, 1, 3)[index % 3] for index in range(slices[0].batches))
    assert result.status is Status.OK
    assert result.outputs == ((3, 4, 5, 6, 7), (3, 4, 5, 6, 7), (15, 16, 17, 18, 19))
    assert result.section("generate") is None
    assert result.peak_rss_bytes
    assert result.utilisation[0].time_s < slices[0].start_s < result.utilisation[-1].time_s
    assert ended.returncode == 0


def test_what_no_slice_reached_is_generated_at_the_end(tmp_path: Path) -> None:
    with residency() as ask:
        ask.ready(trial(tmp_path, fake()))
        assert len(ask.result(FINISH).outputs) == 3


def test_a_slice_is_a_whole_batch_at_least(tmp_path: Path) -> None:
    with residency() as ask:
        ask.ready(trial(tmp_path, fake(step_ms=20)))
        found = ask.slice(Order(0, 0, 0, 1e-6))
    assert (found.batches, found.tokens_out) == (1, 5)
    assert found.work_s >= 0.1


def test_loading_beside_others_has_a_time_but_no_joules_of_its_own(tmp_path: Path) -> None:
    with residency(how=BESIDE) as ask:
        loaded = ask.result(trial(tmp_path, fake()))
        assert [(s.name, bool(s.energy)) for s in loaded.sections] == [("load", True)]
        ready = ask.result(READY)
        assert [s.name for s in ready.sections if s.energy] == ["idle", "prefill"]
        assert ready.section("load").duration_s > 0  # type: ignore[union-attr]
        ask.slice(Order(0, 0, 0, 0.05))
        assert not ask.result(FINISH).section("load").energy  # type: ignore[union-attr]


def test_nothing_is_sampled_between_slices(tmp_path: Path) -> None:
    with residency() as ask:
        ready = ask.ready(trial(tmp_path, fake()))
        slices = [ask.slice(Order(number, 0, 0, 0.1)) for number in range(2)]
        # What is paused is a process of its own: it takes no time that could be waited for.
        result = ask.result(FINISH)
    later = [u.time_s for u in result.utilisation if u.time_s > ready.utilisation[-1].time_s]
    assert later
    for time_s in later:
        assert any(s.start_s - 0.5 <= time_s <= s.start_s + s.work_s + 0.5 for s in slices)


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        ("load", Status.REFUSED, "the fake engine was asked to refuse"),
        ("claim", Status.REFUSED, "what runs is not what is claimed"),
        ("generate", Status.FAILED, "RuntimeError: the fake engine was asked to fail"),
        ("memory", Status.OUT_OF_MEMORY, "MemoryError"),
        ("id-negative", Status.REFUSED, "-1"),
        ("facts-surrogate", Status.REFUSED, "engine_version"),
    ],
)
def test_a_failure_before_the_first_slice(tmp_path: Path, failure: str, status: Status, words: str) -> None:
    mark = new_mark()
    with residency(mark) as ask:
        found = ask.ready(trial(tmp_path, fake(fail=failure)))
        assert (found.status, words in found.reason) == (status, True), found.reason
        assert ask.resident.close_politely(timeout_s=20).returncode == 0
    assert wait_until(lambda: not marked(mark))


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        ("generate", Status.FAILED, "RuntimeError: the fake engine was asked to fail"),
        ("memory", Status.OUT_OF_MEMORY, "MemoryError"),
        ("id-of-vocabulary-size", Status.REFUSED, "1000"),
        ("times-backwards", Status.REFUSED, "time"),
        ("kill-sampler", Status.INVALID, "samples power and utilisation ended early (SIGKILL)"),
    ],
)
def test_a_failure_in_a_slice_keeps_what_was_measured_before(
    tmp_path: Path, failure: str, status: Status, words: str
) -> None:
    with residency() as ask:
        assert ask.ready(trial(tmp_path, fake(fail=failure, after=60, step_ms=1))).status is Status.OK
        reply = Reply()
        for number in range(200):
            reply = ask(Order(number, 0, 0, 0.02))
            if reply.result is not None:
                break
        assert reply.result is not None
        assert (reply.result.status, words in reply.result.reason) == (status, True), reply.result.reason
        assert [section.name for section in reply.result.sections] == ["load", "idle", "prefill"]


def test_a_meter_that_is_not_there(tmp_path: Path) -> None:
    asked = trial(tmp_path, fake())
    asked = replace(asked, procedure=replace(asked.procedure, meters=("no such meter",)))
    with residency() as ask:
        found = ask.ready(asked)
    assert found.status in (Status.REFUSED, Status.FAILED)
    assert "no such meter" in found.reason


def test_it_ends_with_its_parent_s_questions(tmp_path: Path) -> None:
    mark = new_mark()
    with residency(mark) as ask:
        ask.ready(trial(tmp_path, fake()))
        assert ask.resident.close_politely(timeout_s=20).returncode == 0
    assert wait_until(lambda: not marked(mark))

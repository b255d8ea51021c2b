from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.harness.schedule import Estimate, Progress, block_order, reopened, section_lengths
from servewatt.records import Configuration, Procedure, Result, Run, Status
from tests.harness.builders import QUICK, fake, run


@pytest.fixture
def three(tmp_path: Path) -> Run:
    return run(tmp_path, [fake(step_ms=n) for n in (1, 2, 3)], replace(QUICK, blocks=20))


def answer_all(progress: Progress, block: int, statuses: dict[Configuration, Status]) -> None:
    for trial in progress.missing(block):
        progress.results.append(Result(trial, statuses.get(trial.configuration, Status.OK)))


def test_every_block_holds_every_configuration_once_in_varying_order(three: Run) -> None:
    orders = [block_order(three.plan, block) for block in range(20)]
    assert all(sorted(order) == sorted(three.plan.configurations) for order in orders)
    assert len(set(orders)) == 6, "twenty shuffles of three show all six orders with this seed"


def test_the_order_depends_on_the_seed_and_not_on_how_configurations_were_listed(three: Run) -> None:
    turned = replace(three.plan, configurations=three.plan.configurations[::-1])
    assert block_order(turned, 3) == block_order(three.plan, 3)
    other = replace(three.plan, procedure=replace(three.plan.procedure, seed=1))
    assert [block_order(other, b) for b in range(5)] != [block_order(three.plan, b) for b in range(5)]


def test_only_what_is_missing_is_run(three: Run) -> None:
    progress = Progress(three, [])
    assert progress.remaining == 60
    answer_all(progress, 0, {})
    progress.results.pop()
    assert progress.remaining == 58
    assert len(progress.missing(0)) == 1


def test_an_invalid_trial_is_repeated_until_the_retries_are_used_up(three: Run) -> None:
    progress = Progress(three, [])
    bad = three.plan.configurations[0]
    for attempt in range(three.plan.procedure.retries + 1):
        assert [t.attempt for t in progress.missing(0) if t.configuration == bad] == [attempt]
        answer_all(progress, 0, {bad: Status.INVALID})
    assert progress.missing(0) == ()
    assert any(t.configuration == bad for t in progress.missing(1)), "the next block tries it afresh"


def test_a_refused_configuration_is_left_out_of_later_blocks_at_once(three: Run) -> None:
    progress = Progress(three, [])
    refused = three.plan.configurations[1]
    answer_all(progress, 0, {refused: Status.REFUSED})
    assert refused not in [t.configuration for t in progress.missing(1)]


def test_a_crash_is_tried_once_more_and_then_given_up(three: Run) -> None:
    progress = Progress(three, [])
    crashing = three.plan.configurations[1]
    answer_all(progress, 0, {crashing: Status.CRASHED})
    assert progress.missing(0) == ()
    answer_all(progress, 1, {crashing: Status.CRASHED})
    assert crashing not in [t.configuration for t in progress.missing(2)]


def test_what_may_pass_is_tried_again_by_the_next_start_and_not_before(three: Run) -> None:
    progress = Progress(three, [])
    full = three.plan.configurations[1]
    for block in (0, 1):
        for trial in progress.missing(block):
            failed = trial.configuration == full
            progress.results.append(Result(trial, Status.FAILED if failed else Status.OK, transient=failed))
        assert progress.missing(block) == ()
    assert full not in [t.configuration for t in progress.missing(2)], "two failures are enough for one start"

    again = Progress(three, reopened(progress.results))
    for block, attempt in ((0, 1), (1, 1), (2, 0)):
        assert [t.attempt for t in again.missing(block) if t.configuration == full] == [attempt]
    assert [t.configuration for t in again.missing(0)] == [full], "what succeeded is not repeated"


@pytest.mark.parametrize("status", [Status.CRASHED, Status.TIMED_OUT, Status.REFUSED])
def test_what_does_not_pass_stays(three: Run, status: Status) -> None:
    progress = Progress(three, [])
    bad = three.plan.configurations[1]
    answer_all(progress, 0, {bad: status})
    answer_all(progress, 1, {bad: status})
    again = Progress(three, reopened(progress.results))
    assert bad not in [t.configuration for block in range(3) for t in again.missing(block)]


def test_a_machine_that_was_busy_is_tried_again_by_the_next_start(three: Run) -> None:
    progress = Progress(three, [])
    bad = three.plan.configurations[0]
    attempts = three.plan.procedure.retries + 1
    for _ in range(attempts):
        answer_all(progress, 0, {bad: Status.INVALID})
    again = Progress(three, reopened(progress.results))
    for attempt in range(attempts, 2 * attempts):
        assert [t.attempt for t in again.missing(0)] == [attempt]
        answer_all(again, 0, {bad: Status.INVALID})
    assert again.missing(0) == ()


def test_sections_last_long_enough_for_a_counter_that_steps_every_tenth_of_a_second() -> None:
    # The section opens with a step, so its reading is off by at most half a step and
    # the time it takes to see one: 55 ms are 1 % of 5.5 s.
    lengths = section_lengths(Procedure(idle_s=0.5, window_s=3.0), quantum_s=0.1)
    assert lengths.generate_s == pytest.approx(5.5)
    assert lengths.idle_s == pytest.approx(1.1)
    assert lengths.prefill_s == pytest.approx(1.1)


def test_a_finer_counter_is_not_waited_for() -> None:
    # A counter of 10 ms is 1 % of 1 s; the window asked for is longer.
    lengths = section_lengths(Procedure(idle_s=2.0, window_s=3.0), quantum_s=0.01)
    assert (lengths.generate_s, lengths.idle_s, lengths.prefill_s) == (3.0, 2.0, 0.5)


def test_the_estimate_of_a_trial_adds_its_sections() -> None:
    procedure = Procedure(settle_s=0.5, idle_s=2.0, window_s=3.0, warmup_s=1.0)
    estimate = Estimate(fake(), load_s=4.0, pass_s=10.0)
    # start 1 + load 4 + settle 0.5 + warm up 3 (0.3 passes) + idle 2 + prefill 0.5 + one pass 10
    assert estimate.trial_s(procedure, quantum_s=0.0) == pytest.approx(21.0)

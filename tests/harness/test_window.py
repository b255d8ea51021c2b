"""Marks, and the work between them."""

from __future__ import annotations

import time

from servewatt.harness.window import batches, take_mark_at_step
from servewatt.meters.fake import FakeMeter
from servewatt.records import Workload


def test_a_mark_at_a_step_is_fresh() -> None:
    meter = FakeMeter({"gpu:0": 100.0, "cpu:package-0": 10.0}, quantum_s=0.1)
    mark = take_mark_at_step([meter], meter.domains()[0])
    gpu, cpu = mark.readings
    assert gpu.age_s is not None
    assert mark.time_s % 0.1 <= gpu.age_s < 0.1
    assert cpu.age_s is None
    # The counter shows the energy of the step that has just been taken.
    assert abs(gpu.energy_j - 100.0 * mark.time_s) <= 100.0 * gpu.age_s + 1e-6


def test_a_counter_that_stands_still_is_given_up() -> None:
    meter = FakeMeter({"gpu:0": 0.0}, quantum_s=0.02)
    begin_s = time.monotonic()
    mark = take_mark_at_step([meter], meter.domains()[0])
    assert [r.age_s for r in mark.readings] == [None]
    assert time.monotonic() - begin_s < 5.0


def test_without_a_stepping_counter_a_mark_is_just_a_mark() -> None:
    meter = FakeMeter({"gpu:0": 100.0})
    assert [r.age_s for r in take_mark_at_step([meter], None).readings] == [None]


def test_the_last_batch_is_filled_with_the_first_prompts() -> None:
    work = Workload("three", ((1,), (2,), (3,)), new_tokens=4)
    assert [(b.first_prompt, b.prompts) for b in batches(work, 2)] == [(0, ((1,), (2,))), (2, ((3,), (1,)))]
    assert [b.prompts for b in batches(work, 3)] == [((1,), (2,), (3,))]
    assert [b.prompts for b in batches(work, 7)] == [((1,), (2,), (3,), (1,), (2,), (3,), (1,))]

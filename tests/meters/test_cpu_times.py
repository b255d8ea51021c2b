from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from servewatt.meters.cpu_times import (
    PAGE_BYTES,
    TICK_S,
    process_cpu_s,
    process_stat,
    process_tree,
    system_cpu_s,
)
from tests.meters.builders import write_process, write_stat


def test_interrupts_are_busy_and_stolen_and_waiting_time_are_not(tmp_path: Path) -> None:
    write_stat(tmp_path, 1000, cpus=4, irq=20, softirq=30, steal=77)
    found = system_cpu_s(tmp_path)
    assert found.busy_s == pytest.approx(1050 * TICK_S)
    assert found.stolen_s == pytest.approx(77 * TICK_S)
    assert found.cpu_count == 4


def test_a_process_name_may_hold_brackets_and_spaces(tmp_path: Path) -> None:
    write_process(tmp_path, 7, "a) b (c", parent=3, ticks=(1, 2, 3, 4), pages=5)
    found = process_stat(7, tmp_path)
    assert found is not None
    assert (found.name, found.parent, found.rss_bytes) == ("a) b (c", 3, 5 * PAGE_BYTES)
    assert found.cpu_s == pytest.approx(10 * TICK_S)


def test_descendants_are_found_by_parents_or_by_lists_of_children(tmp_path: Path) -> None:
    for pid, parent in ((10, 1), (11, 10), (12, 11), (13, 1)):
        write_process(tmp_path, pid, "p", parent=parent, ticks=(100, 0, 0, 0))
    assert process_tree(10, tmp_path) == (10, 11, 12)
    assert process_cpu_s(10, tmp_path) == pytest.approx(300 * TICK_S)
    for pid, children in ((10, "11 "), (11, "12 "), (12, "")):
        (tmp_path / f"{pid}/task/{pid}").mkdir(parents=True)
        (tmp_path / f"{pid}/task/{pid}/children").write_text(children)
    assert process_tree(10, tmp_path) == (10, 11, 12)


def test_a_process_that_is_gone_has_no_tree(tmp_path: Path) -> None:
    assert process_tree(10, tmp_path) == ()
    assert process_cpu_s(10, tmp_path) == 0.0


def test_this_process_agrees_with_the_interpreter() -> None:
    until = time.process_time() + 0.03
    while time.process_time() < until:
        pass
    found = process_stat(os.getpid())
    assert found is not None
    times = os.times()
    own_s = times.user + times.system + times.children_user + times.children_system
    assert found.cpu_s == pytest.approx(own_s, abs=0.1)
    assert system_cpu_s().cpu_count >= 1

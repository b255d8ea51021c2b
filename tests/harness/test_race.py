"""Races over the fake engine: what they drop, when they stop, and how they go on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.errors import InputError
from servewatt.harness import episode, race
from servewatt.harness.episode import Ended, Event, Measured
from servewatt.harness.race import Progressed, Racing
from servewatt.harness.schedule import reopened
from servewatt.processes.command import python_command
from servewatt.records import Configuration, Race, Result, Run, Status
from servewatt.stats.race import Dropped, Standing
from servewatt.store import Store
from tests.harness.builders import DUET, fake, run, trial
from tests.processes_of import MARK, marked, new_mark, wait_until

A, B, FAR = fake(step_ms=2), fake(step_ms=5), fake(step_ms=40)
SAME = fake(step_ms="2.0")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode, "PAUSE_S", 0.02)


def raced(folder: Path, configurations: Sequence[Configuration], budget_s: float = 300.0, tie: float = 0.5) -> Run:
    made = run(folder, configurations, DUET)
    return replace(made, plan=replace(made.plan, race=Race(budget_s, tie)))


def measure(racing: Racing) -> tuple[list[Result], list[Standing]]:
    """What was measured, and where the race stood after each episode that said something."""
    events: list[Event | Progressed] = list(racing.measure())
    reached = [e.standing for e in events if isinstance(e, Progressed) and e.standing is not None]
    return [e.result for e in events if isinstance(e, Ended)], reached


def blocks(results: Sequence[Result], of: Configuration) -> list[int]:
    return [r.trial.block for r in results if r.trial.configuration == of]


def test_a_race_drops_what_is_far_behind_and_stops_when_it_is_decided(tmp_path: Path) -> None:
    """A takes 2 ms a step, B 5 and FAR 40: savings below a half are a tie here."""
    results, progress = measure(Racing(raced(tmp_path, [A, B, FAR]), []))
    assert {r.status for r in results} == {Status.OK}, [r.reason for r in results]
    last = progress[-1]
    assert (last.choice, last.decided) == (A.key, True)
    assert last.promise < 0.5 / 1.5
    assert last.dropped[FAR.key].ratio_low > 2
    assert last.dropped[FAR.key].episode <= 2
    # What rests, as it cannot save anything, or is dropped has no slice in later episodes.
    assert blocks(results, FAR) == [0]
    assert blocks(results, A) == list(range(len(progress)))
    assert [p.decided for p in progress[:-1]] == [False] * (len(progress) - 1)


def test_equals_are_a_tie_after_two_episodes_and_a_decided_race_measures_nothing(tmp_path: Path) -> None:
    """Savings below nine tenths of the cost count as a tie here."""
    planned = raced(tmp_path, [A, SAME], tie=9.0)
    results, progress = measure(Racing(planned, []))
    assert [p.decided for p in progress] == [False, True]
    assert len(results) == 4
    assert measure(Racing(planned, reopened(results))) == ([], [])
    # With a narrower tie the same results are no end: the race goes on in the next block.
    again = replace(planned, plan=replace(planned.plan, race=Race(0.1, 1e-6)))
    goes_on = Racing(again, reopened(results))
    assert goes_on.standing() is not None
    assert [t.block for t in goes_on._next_trials(goes_on.standing())] == [2, 2]


def test_the_nearest_rival_is_seen_once_more_where_one_start_has_dropped_all(tmp_path: Path) -> None:
    racing = Racing(raced(tmp_path, [A, B, FAR]), [])
    dropped = {B.key: Dropped(1, A.key, 12.0), FAR.key: Dropped(1, A.key, 90.0)}
    racing.results += [Result(t, Status.OK) for t in racing._next_trials(None)]
    reached = Standing(A.key, 0.0, None, dropped, frozenset(), (A.key,))
    assert {t.configuration.key for t in racing._next_trials(reached)} == {A.key, B.key}


def test_a_budget_that_is_too_short_measures_one_short_episode_a_start(tmp_path: Path) -> None:
    planned = raced(tmp_path, [A, SAME], budget_s=0.1, tie=1e-6)
    results, progress = measure(Racing(planned, []))
    assert [len([s for s in r.slices if s.round >= 0]) for r in results] == [4, 4]
    assert [p.decided for p in progress] == [False]
    more, _ = measure(Racing(planned, reopened(results)))
    assert [r.trial.block for r in more] == [1, 1]


def test_what_fails_twice_is_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad = fake(fail="segv")
    results, progress = measure(Racing(raced(tmp_path, [A, SAME, bad], tie=9.0), []))
    assert [r.status for r in results if r.trial.configuration == bad] == [Status.CRASHED] * 2
    assert progress[-1].decided
    assert blocks(results, A) == [0, 1]


@pytest.mark.parametrize(("asked", "rival", "expected"), [(None, SAME, True), (None, B, False), (False, SAME, False)])
def test_the_leader_has_a_twin_where_a_rival_is_near(
    tmp_path: Path, asked: bool | None, rival: Configuration, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second episode on: until then nobody leads. Near is within a half, as tests share the CPUs."""
    monkeypatch.setattr(race, "NEAR", 0.5)
    planned = raced(tmp_path, [A, rival], tie=9.0)
    planned = replace(planned, plan=replace(planned.plan, race=Race(300.0, 9.0, twin=asked)))
    results, _ = measure(Racing(planned, []))
    assert not any(r.twin_slices for r in results if r.trial.block == 0)
    assert any(r.twin_slices for r in results if r.trial.block == 1) == expected


def test_what_failed_in_preparation_is_no_episode(tmp_path: Path) -> None:
    planned = raced(tmp_path, [A, B, FAR])
    failed = Result(trial(tmp_path, FAR), Status.REFUSED, "not here")
    racing = Racing(planned, [failed])
    assert {(t.block, t.configuration) for t in racing._next_trials(None)} == {(0, A), (0, B)}
    # Where everything failed once, what may have another chance has it in the next block.
    crashed = [Result(trial(tmp_path, c), Status.CRASHED) for c in (A, B)]
    again = Racing(planned, [failed, *crashed])._next_trials(None)
    assert {(t.block, t.configuration) for t in again} == {(1, A), (1, B)}


def test_nothing_to_race_ends(tmp_path: Path) -> None:
    results, progress = measure(Racing(raced(tmp_path, [fake(fail="load"), fake(fail="claim")]), []))
    assert [r.status for r in results] == [Status.REFUSED] * 2
    assert progress == []
    with pytest.raises(InputError, match="no race"):
        Racing(run(tmp_path, [A]), [])


WITH_A_STORE = """
from pathlib import Path
from servewatt.harness.episode import Ended, Measured, Ready
from servewatt.harness.race import Racing
from servewatt.store import Store
with Store.open(sys.argv[1]) as store:
    run = store.run()
    places = {}
    for event in Racing(run, store.results(run.id)).measure():
        match event:
            case Ready(result):
                store.keep_ready(result)
            case Measured(trial, one):
                store.keep_slice(trial, places.setdefault(trial.id, 0), one)
                places[trial.id] += 1
                print(trial.configuration.key, one.round, flush=True)
            case Ended(result):
                store.append(result)
"""


def test_a_kill_of_the_parent_loses_at_most_the_open_slice(tmp_path: Path) -> None:
    path, mark = tmp_path / "results.db", new_mark()
    with Store.open(path) as store:
        store.create_run(raced(tmp_path, [A, SAME], tie=1e-6))
    command = python_command("-c", WITH_A_STORE, str(path))
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, MARK: mark})
    assert child.stdout is not None
    told = []
    for line in child.stdout:
        told.append(line.split())
        if line.split()[1] == "5" or len(told) == 14:  # two slices on joining, and six rounds at most
            break
    os.kill(child.pid, signal.SIGKILL)
    told += [line.split() for line in child.stdout.read().splitlines()]
    child.wait()
    child.stdout.close()
    assert wait_until(lambda: not marked(mark))
    with Store.open(path) as store:
        closed = store.close_journal("r1")
        kept = {(r.trial.configuration.key, str(s.round)) for r in store.results("r1") for s in r.slices}
        assert {(key, round_) for key, round_ in told} <= kept
        assert len(kept) <= len(told) + 1
        assert {r.status for r in closed} <= {Status.OK, Status.INVALID}
        # The race goes on with another block, or with another attempt.
        racing = Racing(store.run(), reopened(store.results("r1")))
        trials = racing._next_trials(racing.standing())
        assert {t.id for t in trials}.isdisjoint(r.trial.id for r in store.results("r1"))
        assert {t.configuration.key for t in trials} == {A.key, SAME.key}


def test_events_come_as_they_happen(tmp_path: Path) -> None:
    racing = Racing(raced(tmp_path, [A, SAME], budget_s=0.1, tie=1e-6), [])
    begun: list[int] = []
    events = []
    for event in racing.measure(lambda trials: begun.append(len(trials))):
        events.append(event)
        if isinstance(event, Measured):
            assert racing.results == []
    assert begun == [2]
    assert isinstance(events[-1], Progressed)

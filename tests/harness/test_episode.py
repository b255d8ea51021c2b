"""Duet episodes over the fake engine: order, groups, disturbances, and what a failing engine costs."""

from __future__ import annotations

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt import engines, wire
from servewatt.errors import ServewattError
from servewatt.harness import episode, room
from servewatt.harness.episode import JOINING, Ended, Episode, Event, Measured, Next, Ready, Round
from servewatt.harness.residency import ALONE, Order, Reply
from servewatt.processes.resident import Resident
from servewatt.records import (
    Component,
    Configuration,
    Domain,
    Environment,
    Grade,
    Provider,
    Result,
    Slice,
    Status,
    Trial,
)
from tests.harness.builders import DUET, ENVIRONMENT, fake, trial
from tests.processes_of import MARK, marked, new_mark, wait_until

A, B, C = fake(step_ms=1), fake(step_ms=2), fake(step_ms=3)


def after(rounds: int) -> Callable[[Sequence[Round], Sequence[str]], Next]:
    return lambda so_far, _here: Next(end=len(so_far) >= rounds)


def measure(
    folder: Path,
    configurations: Sequence[Configuration],
    decide: Callable[[Sequence[Round], Sequence[str]], Next] | None = None,
    *,
    environment: Environment = ENVIRONMENT,
    block: int = 0,
    anchor: str | None = None,
    twin: str | None = None,
    **changes: object,
) -> list[Event]:
    procedure = replace(DUET, **changes)  # type: ignore[arg-type]
    trials = [trial(folder, c, procedure, block) for c in configurations]
    return list(Episode(trials, environment, decide or after(4), anchor=anchor, twin=twin).run())


def results(events: Sequence[Event]) -> dict[str, Result]:
    found = [e.result for e in events if isinstance(e, Ended)]
    by_key = {r.trial.configuration.key: r for r in found}
    assert len(by_key) == len(found)
    return by_key


def slices(events: Sequence[Event]) -> list[tuple[str, Slice]]:
    return [(e.trial.configuration.key, e.slice) for e in events if isinstance(e, Measured)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode, "PAUSE_S", 0.02)


@pytest.fixture
def only_room_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have memory for so many processes at once."""

    def limit(most: int) -> None:
        alive: list[Resident] = []
        start = Episode._start

        def started(self: Episode, asked: object, how: str = ALONE) -> Resident:
            alive.append(start(self, asked, how))  # type: ignore[arg-type]
            return alive[-1]

        monkeypatch.setattr(Episode, "_start", started)
        monkeypatch.setattr(episode, "has_room", lambda _trial, _known: sum(bool(r.pids()) for r in alive) < most)

    return limit


def test_every_configuration_has_a_slice_in_each_round_in_random_order(tmp_path: Path) -> None:
    mark = new_mark()
    os.environ[MARK] = mark
    try:
        events = measure(tmp_path, [A, B, C], after(5))
    finally:
        del os.environ[MARK]
    found = results(events)
    assert [r.status for r in found.values()] == [Status.OK] * 3, [r.reason for r in found.values()]
    assert [type(e) for e in events[:6]] == [Ready, Measured] * 3
    by_round: dict[int, list[str]] = defaultdict(list)
    for key, one in slices(events):
        by_round[one.round].append(key)
        assert one.position == len(by_round[one.round]) - 1 or one.round == JOINING
    assert sorted(by_round) == [JOINING, 0, 1, 2, 3, 4]
    assert all(sorted(keys) == sorted(found) for keys in by_round.values())
    assert len({tuple(by_round[number]) for number in range(5)}) > 1
    assert [one.residents for _, one in slices(events)] == [1, 2, 3] + 15 * [3]
    for key, result in found.items():
        own = [one for k, one in slices(events) if k == key]
        assert [one.round for one in result.slices] == [JOINING, 0, 1, 2, 3, 4]
        section = result.section("generate")
        assert section is not None
        # What it took on joining is no part of the sum.
        assert section.duration_s == pytest.approx(sum(one.work_s for one in own[1:]))
        assert section.tokens_out == sum(one.tokens_out for one in own[1:])
        assert len(result.generations) == sum(one.batches for one in own[1:])
        assert result.outputs == ((3, 4, 5, 6, 7), (3, 4, 5, 6, 7), (15, 16, 17, 18, 19))
        assert result.started_at
        assert result.parent_cpu_s is not None
        assert result.parent_cpu_s < 1
    assert wait_until(lambda: not marked(mark))


def test_processes_join_in_random_order_the_same_for_a_seed(tmp_path: Path) -> None:
    def order(block: int) -> tuple[str, ...]:
        trials = [trial(tmp_path, c, DUET, block) for c in (A, B, C)]
        return tuple(t.configuration.key for t in Episode(trials, ENVIRONMENT, after(1))._waiting)

    assert order(0) == order(0)
    assert len({order(block) for block in range(20)}) == 6


def test_a_leave_is_decided_after_a_round(tmp_path: Path) -> None:
    asked: list[tuple[int, tuple[str, ...]]] = []

    def decide(rounds: Sequence[Round], here: Sequence[str]) -> Next:
        asked.append((len(rounds), tuple(sorted(here))))
        assert set(rounds[-1].slices) == set(here)
        return Next(frozenset({C.key}) if len(rounds) == 4 else frozenset(), len(rounds) == 6)

    events = measure(tmp_path, [A, B, C], decide)
    three, two = tuple(sorted([A.key, B.key, C.key])), tuple(sorted([A.key, B.key]))
    assert asked == [(1, three), (2, three), (3, three), (4, three), (5, two), (6, two)]
    found = results(events)
    assert {key: len(r.slices) for key, r in found.items()} == {A.key: 7, B.key: 7, C.key: 5}
    assert all(r.status is Status.OK for r in found.values())
    ended = [e.result.trial.configuration.key for e in events if isinstance(e, Ended)]
    assert ended[0] == C.key
    assert [one.residents for key, one in slices(events) if key == A.key][1:] == [3, 3, 3, 3, 2, 2]


def test_too_few_slices_make_a_trial_invalid(tmp_path: Path) -> None:
    (result,) = results(measure(tmp_path, [A], after(3))).values()
    assert (result.status, result.reason) == (Status.INVALID, "3 of 3 slices count, and 4 are needed")


# --- memory ------------------------------------------------------------------------------------------------------


def test_where_memory_holds_one_they_follow_one_another(tmp_path: Path, only_room_for: Callable[[int], None]) -> None:
    only_room_for(1)
    events = measure(tmp_path, [A, B, C], anchor=B.key)
    assert [r.status for r in results(events).values()] == [Status.OK] * 3
    assert all(one.residents == 1 for _, one in slices(events))
    keys = [key for key, _ in slices(events)]
    assert keys == [key for key in dict.fromkeys(keys) for _ in range(5)]
    assert keys[0] == B.key
    # No two of them share a round.
    rounds = Counter(one.round for _, one in slices(events) if one.round != JOINING)
    assert rounds == dict.fromkeys(range(12), 1)


def test_groups_come_one_after_another_and_the_anchor_stays(
    tmp_path: Path, only_room_for: Callable[[int], None]
) -> None:
    only_room_for(2)
    events = measure(tmp_path, [A, B, C], anchor=C.key)
    found = results(events)
    assert [r.status for r in found.values()] == [Status.OK] * 3
    by_round: dict[int, set[str]] = defaultdict(set)
    for key, one in slices(events):
        by_round[one.round].add(key)
    del by_round[JOINING]
    assert sorted(by_round) == list(range(8))
    first, second = ({tuple(sorted(by_round[n])) for n in part} for part in (range(4), range(4, 8)))
    assert len(first) == len(second) == 1
    assert first != second
    assert all(C.key in keys for keys in by_round.values())
    # One process of the anchor through both groups.
    assert [one.round for one in found[C.key].slices] == [JOINING, *range(8)]
    assert sum(isinstance(e, Ready) for e in events) == 3


def test_without_an_anchor_groups_have_nobody_in_common(tmp_path: Path, only_room_for: Callable[[int], None]) -> None:
    only_room_for(2)
    found = results(measure(tmp_path, [A, B, C]))
    assert sorted(len(r.slices) for r in found.values()) == [5, 5, 5]


def test_a_twin_takes_turns_like_everybody_and_is_kept_with_its_original(tmp_path: Path) -> None:
    mark = new_mark()
    os.environ[MARK] = mark
    try:
        events = measure(tmp_path, [A, B], after(5), twin=B.key)
    finally:
        del os.environ[MARK]
    assert not marked(mark)
    found = results(events)
    assert sum(isinstance(e, Ready) for e in events) == 2
    assert not found[A.key].twin_slices
    original = found[B.key]
    assert original.status is Status.OK
    assert [s.round for s in original.slices] == [JOINING, *range(5)]
    assert [s.round for s in original.twin_slices] == list(range(5))
    assert not any(s.twin for s in original.slices)
    assert all(s.twin and s.residents == 3 for s in original.twin_slices)
    # Its work is nobody's result.
    generate = original.section("generate")
    assert generate is not None
    assert generate.tokens_out == sum(s.tokens_out for s in original.slices if s.round >= 0)
    # It has places of its own in the rounds, now before its original and now after it.
    places = {s.position for s in original.twin_slices} | {s.position for s in original.slices if s.round >= 0}
    assert places == {0, 1, 2}


def test_a_twin_that_cannot_be_or_dies_costs_its_original_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = Episode._start, list[Resident]()

    def failing(self: Episode, asked: Trial, _how: str = ALONE) -> Resident:
        if started:
            raise ServewattError("no more processes")
        started.append(start(self, asked))
        return started[-1]

    monkeypatch.setattr(Episode, "_start", failing)
    found = results(measure(tmp_path, [A], twin=A.key))[A.key]
    assert (found.status, found.twin_slices) == (Status.OK, ())

    def killed_later(rounds: Sequence[Round], _here: Sequence[str]) -> Next:
        if len(rounds) == 1:
            os.kill(started[-1].pids()[0], signal.SIGKILL)
        return Next(end=len(rounds) >= 4)

    def noted(self: Episode, asked: Trial, _how: str = ALONE) -> Resident:
        started.append(start(self, asked))
        return started[-1]

    monkeypatch.setattr(Episode, "_start", noted)
    found = results(measure(tmp_path, [A], killed_later, twin=A.key))[A.key]
    assert (found.status, len(found.slices), len(found.twin_slices)) == (Status.OK, 5, 1)


def test_an_original_that_dies_takes_its_twin_with_it(tmp_path: Path) -> None:
    dies = fake(fail="segv", after=60, step_ms=1)
    found = results(measure(tmp_path, [A, dies], after(6), twin=dies.key))
    assert found[dies.key].status is Status.CRASHED
    assert (found[A.key].status, len(found[A.key].slices)) == (Status.OK, 7)


def test_out_of_memory_beside_others_is_tried_alone(tmp_path: Path, only_room_for: Callable[[int], None]) -> None:
    """Memory seems to hold two, and the second runs out of it; it has another chance, which it fails too."""
    only_room_for(2)
    short = fake(fail="memory")
    events = measure(tmp_path, [A, short], anchor=A.key)
    found = results(events)
    assert found[A.key].status is Status.OK
    assert (found[short.key].status, found[short.key].transient) == (Status.OUT_OF_MEMORY, False)
    ended = [e.result.trial.configuration.key for e in events if isinstance(e, Ended)]
    assert ended == [A.key, short.key]


def test_processes_load_side_by_side_where_there_are_cpus_enough(tmp_path: Path) -> None:
    """Four processes at once on sixteen CPUs: their starts overlap, and what each took to load is nobody's joules."""
    started: dict[int, list[str]] = {}
    for cpus in (2, 16):
        events = measure(tmp_path, [A, B, C], environment=replace(ENVIRONMENT, cpu_count=cpus))
        found = results(events)
        assert {r.status for r in found.values()} == {Status.OK}
        assert all(len(r.slices) == 5 for r in found.values())
        loads = sorted((s.start_s, s.start_s + s.duration_s) for r in found.values() for s in r.sections[:1])
        alone = {bool(r.sections[0].energy) for r in found.values()}
        started[cpus] = [type(e).__name__ for e in events[:4]]
        assert alone == {cpus == 2}
        readies = [min(s.start_s for s in r.sections[1:]) for r in found.values()]
        # Nobody measures anything while another loads.
        assert (loads[-1][1] <= min(readies)) == (cpus == 16)
    assert started[2] == started[16] == ["Ready", "Measured", "Ready", "Measured"]


def test_only_one_process_runs_while_it_gets_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that joined before it, and those that loaded beside it and wait for their turn, are stopped."""
    started: dict[str, Resident] = {}
    start, ask = Episode._start, Episode._ask
    asked_when_ready: list[str] = []

    def noted(self: Episode, asked: Trial, how: str = ALONE) -> Resident:
        started[asked.configuration.key] = start(self, asked, how)
        return started[asked.configuration.key]

    def asked(self: Episode, member: episode._Member, question: bytes, timeout_s: float) -> Reply | None:
        if wire.load(Order, question).ready:
            # Signals take a moment.
            assert wait_until(lambda: not_stopped(started) == {member.key}), not_stopped(started)
            asked_when_ready.append(member.key)
        return ask(self, member, question, timeout_s)

    monkeypatch.setattr(Episode, "_start", noted)
    monkeypatch.setattr(Episode, "_ask", asked)
    measure(tmp_path, [A, B, C], environment=replace(ENVIRONMENT, cpu_count=16))
    assert sorted(asked_when_ready) == sorted(c.key for c in (A, B, C))


def not_stopped(residents: Mapping[str, Resident]) -> set[str]:
    """Keys of those whose process is not stopped (state `T`)."""
    states = {key: Path(f"/proc/{r.pids()[0]}/stat").read_text().rpartition(")")[2] for key, r in residents.items()}
    return {key for key, state in states.items() if state.split()[0] != "T"}


def test_a_failure_while_others_load_costs_its_own_configuration(tmp_path: Path) -> None:
    """Short of memory beside others it is tried again, alone; and every other failure is final."""
    failing = [fake(fail=failure) for failure in ("load", "memory")]
    events = measure(tmp_path, [A, *failing, B], environment=replace(ENVIRONMENT, cpu_count=16))
    found = results(events)
    assert {found[c.key].status for c in (A, B)} == {Status.OK}
    assert [found[c.key].status for c in failing] == [Status.REFUSED, Status.OUT_OF_MEMORY]
    alone = results(measure(tmp_path, failing[1:] * 1, environment=replace(ENVIRONMENT, cpu_count=16)))
    assert alone[failing[1].key].status is Status.OUT_OF_MEMORY


def test_what_loads_side_by_side_is_bounded_by_cpus_and_memory(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 2000000 kB\n")
    trials = [trial(tmp_path, c) for c in (A, B, C)]
    assert room.side_by_side(trials, 2) == trials[:1]
    assert room.side_by_side(trials, 8) == trials[:2]
    assert room.side_by_side(trials, 64) == trials
    on_gpu = [replace(t, configuration=replace(t.configuration, provider=Provider.CUDA)) for t in trials]
    assert room.side_by_side(on_gpu, 4) == on_gpu[:2]
    # Each needs about 630 MB, and 1843 MB may be used: two find room, or one that is known to take 1.5 GB.
    assert room.side_by_side(trials, 64, root=tmp_path) == trials[:2]
    large = replace(Result(trials[0], Status.OK), peak_rss_bytes=1_500_000_000)
    assert room.side_by_side(trials, 64, [large], tmp_path) == trials[:1]
    greedy = replace(trials[0], configuration=Configuration("vllm"))
    assert room.side_by_side([greedy, *trials], 64) == [greedy]
    assert room.side_by_side([trials[0], greedy], 64) == trials[:1]


def test_room_is_by_what_a_configuration_took_before(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 2000000 kB\n")
    asked = trial(tmp_path, A)
    small, large = (replace(Result(asked, Status.OK), peak_rss_bytes=n) for n in (10**9, 3 * 10**9))
    # Nothing known: weights of 40 bytes, and 600 MiB of libraries.
    assert room.has_room(asked, root=tmp_path)
    assert room.has_room(asked, [small], root=tmp_path)
    assert not room.has_room(asked, [small, large], root=tmp_path)
    other = replace(large, trial=trial(tmp_path, B))
    assert room.has_room(asked, [other], root=tmp_path)
    big = replace(asked, model=replace(asked.model, parameters=400_000_000))  # 1.6 GB in fp32, half more while loading
    assert not room.has_room(big, root=tmp_path)
    assert not room.has_room(replace(asked, configuration=Configuration("vllm")), root=tmp_path)
    assert room.has_room(asked, [large], root=tmp_path / "nowhere")


def test_providers_are_not_resident_together(tmp_path: Path) -> None:
    cuda = replace(A, provider=Provider.CUDA)
    events = measure(tmp_path, [cuda, A, B])
    assert [r.status for r in results(events).values()] == [Status.OK] * 3
    keys = [key for key, _ in slices(events)]
    assert keys[-5:] == [cuda.key] * 5
    assert {one.residents for key, one in slices(events) if key == cuda.key} == {1}
    assert cuda.key not in keys[:-5]


# --- what goes wrong ---------------------------------------------------------------------------------------------


FAILURES = {
    "generate": (Status.FAILED, "RuntimeError: the fake engine was asked to fail"),
    "memory": (Status.OUT_OF_MEMORY, "MemoryError"),
    "segv": (Status.CRASHED, "the worker was killed by SIGSEGV"),
    "exit-139": (Status.FAILED, "exit code 139"),
    "close-files": (Status.FAILED, "exit code 1 and no result"),
    "kill-guardian": (Status.CRASHED, "the worker was killed by SIGKILL"),
    "fork-and-die": (Status.CRASHED, "the worker was killed by SIGKILL"),
    "hang": (Status.TIMED_OUT, "no answer within 8 s"),
    "raise-SystemExit": (Status.FAILED, "exit code 3"),
}


@pytest.mark.parametrize("generations", [1, 60])
def test_a_failing_engine_costs_its_own_configuration(tmp_path: Path, generations: int) -> None:
    """At its first generation, or in a slice later on; all of them beside one that does its work."""
    bad = {failure: fake(fail=failure, after=generations) for failure in FAILURES}
    found = results(measure(tmp_path, [A, *bad.values()], after(6), timeout_s=8.0))
    assert found[A.key].status is Status.OK, found[A.key].reason
    assert len(found[A.key].slices) == 7
    for failure, (status, words) in FAILURES.items():
        result = found[bad[failure].key]
        assert (failure, result.status, words in result.reason) == (failure, status, True), result.reason
        if generations > 1:
            assert result.section("idle") is not None
            assert result.facts is not None
    # Beside others it may have been they who held what it lacked; at the start it was tried alone.
    assert found[bad["memory"].key].transient is (generations > 1)


def test_what_an_engine_starts_ends_with_it(tmp_path: Path) -> None:
    mark = new_mark()
    os.environ[MARK] = mark
    try:
        found = results(measure(tmp_path, [A, fake(fail="children"), fake(fail="never-end")]))
    finally:
        del os.environ[MARK]
    assert {r.status for r in found.values()} == {Status.OK}
    assert wait_until(lambda: not marked(mark))


def test_an_interrupted_episode_leaves_nothing_behind(tmp_path: Path) -> None:
    mark = new_mark()
    os.environ[MARK] = mark
    try:
        running = Episode([trial(tmp_path, c) for c in (A, B)], ENVIRONMENT, after(99)).run()
        for event in running:
            if isinstance(event, Measured) and event.slice.round == 1:
                break
        assert marked(mark)
        running.close()  # type: ignore[attr-defined]
    finally:
        del os.environ[MARK]
    assert wait_until(lambda: not marked(mark))


def test_an_engine_s_interpreter_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "interpreter", lambda _name, environment, _build: ("/no/such/python", environment))
    (result,) = results(measure(tmp_path, [A])).values()
    assert (result.status, result.transient) == (Status.REFUSED, True)
    assert result.reason == "cannot start a process: No such file or directory"


def test_a_process_that_spins_while_it_is_blocked_is_stopped(tmp_path: Path) -> None:
    """Its thread would burn 10 s of CPU after each generation: it is stopped while others measure."""
    spins = fake(step_ms=2, spin_ms=10_000)
    found = results(measure(tmp_path, [A, spins], after(5)))
    assert [r.status for r in found.values()] == [Status.OK] * 2, [r.reason for r in found.values()]
    assert not [one.fault for r in found.values() for one in r.slices if one.fault]
    assert max(one.blocked_cpu_s or 0.0 for one in found[A.key].slices) < 0.005


def test_a_process_that_may_not_be_stopped_repeats_the_slices_that_it_disturbs(tmp_path: Path) -> None:
    """A GPU's driver minds it; so its spinning is told."""
    quiet, spins = (replace(c, provider=Provider.CUDA) for c in (A, fake(step_ms=2, spin_ms=10_000)))
    found = results(measure(tmp_path, [quiet, spins], after(5)))
    disturbed = [one for one in found[quiet.key].slices if one.fault]
    assert disturbed
    assert disturbed[0].fault.startswith("blocked processes used ")
    assert disturbed[0].fault.endswith(f"most of it {spins.key}")
    assert disturbed[0].blocked_by == spins.key
    assert disturbed[0].blocked_cpu_s is not None
    assert disturbed[0].blocked_cpu_s > 0.01


def test_a_short_spin_is_over_before_the_next_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode, "PAUSE_S", 1.0)  # time for it where tests share the CPUs
    events = measure(tmp_path, [replace(c, provider=Provider.CUDA) for c in (A, fake(step_ms=2, spin_ms=20))])
    assert not [one.fault for _, one in slices(events) if one.fault]


def test_what_others_use_of_the_machine_repeats_a_slice(tmp_path: Path) -> None:
    """Any CPU time of others is too much, a slice has three attempts, and without valid slices a trial does not count.

    The other is a spinner that may not be stopped, as it works on a GPU.
    """
    spins = replace(fake(spin_ms=10_000), provider=Provider.CUDA)
    quiet = replace(A, provider=Provider.CUDA)
    events = measure(tmp_path, [quiet, spins], after(2))
    result = results(events)[quiet.key]
    attempts = [(one.round, one.attempt) for one in result.slices if one.round >= 0]
    assert attempts == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert result.status is Status.INVALID
    assert result.reason.startswith("0 of 6 slices count, and 4 are needed: blocked processes used ")
    assert "servewatt doctor" in result.hint


def test_foreign_load_is_judged_slice_by_slice(tmp_path: Path) -> None:
    running = Episode([trial(tmp_path, A, replace(DUET, foreign_limit=0.05))], ENVIRONMENT, after(1))
    asked = trial(tmp_path, A, replace(DUET, foreign_limit=0.05))
    base = Slice(0, 0, 0.0, work_s=1.0, tail_s=0.0)
    # Of two CPUs for a second: 7 % is the limit and the two ticks that may be there by chance.
    assert running._fault(asked, replace(base, foreign_cpu_s=0.13)) == ""
    assert running._fault(asked, replace(base, foreign_cpu_s=0.15)) == "other processes used 8 % of the machine's CPU"
    assert running._fault(asked, replace(base, foreign_cpu_s=None)) == ""


def test_slices_last_as_long_as_the_meters_need(tmp_path: Path) -> None:
    """Ten steps of a counter of 0.1 s, ten power samples at intervals of 0.05 s."""
    coarse = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1)
    power = Domain("gpu:0", Component.GPU, Grade.INTEGRATED, 0.1)
    fine = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001)
    asked = trial(tmp_path, A)

    def slice_s(*domains: Domain) -> float:
        return Episode([asked], replace(ENVIRONMENT, domains=domains), after(1))._slice_s(asked)

    assert slice_s() == slice_s(fine) == 0.05
    assert slice_s(fine, coarse) == pytest.approx(1.0)
    assert slice_s(power) == pytest.approx(0.5)
    assert slice_s(fine, replace(coarse, within="machine:psys")) == 0.05

"""One duet episode: fresh processes of all configurations stay loaded, and slices of work alternate in random rounds.

Why, and what is computed from it: `servewatt.stats.race`. Only the process whose slice it is has work; the others, and
this one, are blocked in the kernel. Where memory holds only some of the processes they come in groups, and the anchor
(the configuration that leads so far) stays through all of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from servewatt import engines, wire
from servewatt.errors import InputError, ServewattError, brief, printable
from servewatt.harness.failure import oom_kills, point_to_log, try_alone
from servewatt.harness.fitness import memory_bandwidth_bytes_s
from servewatt.harness.judge import judge
from servewatt.harness.residency import ALONE, BESIDE, Order, Reply
from servewatt.harness.room import has_room, side_by_side
from servewatt.harness.runner import of_build, result_of, worker_environment
from servewatt.harness.schedule import ALIGN_FROM_S
from servewatt.harness.shortage import used_bytes
from servewatt.meters.cpu_times import TICK_S, threads_cpu_s
from servewatt.processes.command import child_environment, python_module_command
from servewatt.processes.guarded import ANSWER_FD, END_TIMEOUT_S, PARENT_PID
from servewatt.processes.resident import Resident
from servewatt.records import Environment, Grade, Provider, Result, Slice, Status, Trial
from servewatt.records.slices import blocked_limit, finished, with_slices

RESIDENCY = "servewatt.harness.residency"
PAUSE_S = 0.2
"""Before a slice beside processes that cannot be stopped: some engines' threads spin for up to 0.1 s after their last
step before they sleep."""
STILL_S = 0.03
"""The same where all others are stopped: for the kernel, and for this process, to come to rest."""
SLICE_RETRIES = 2
STEPS_A_SLICE = 10
"""Steps of a coarse counter that a slice should hold."""
SAMPLES_A_SLICE = 10
"""Power samples that a slice should hold where power is integrated."""
LEAST_BLOCKED_S = 0.005
"""Less is the kernel's own work, or ours of looking."""
JOINING = -1
"""Round of the slice that a process measures when it joins."""


@dataclass(frozen=True)
class Ready:
    """A process has joined; its result so far, without slices."""

    result: Result


@dataclass(frozen=True)
class Measured:
    """A slice of a trial."""

    trial: Trial
    slice: Slice


@dataclass(frozen=True)
class Ended:
    """A trial is over, with its slices or with what went wrong."""

    result: Result


Event = Ready | Measured | Ended


@dataclass(frozen=True)
class Round:
    """A finished round: the valid slice of each configuration, by its key, with the result that it is part of."""

    slices: Mapping[str, tuple[Result, Slice]]


@dataclass(frozen=True)
class Next:
    """How an episode goes on after a round."""

    leave: frozenset[str] = frozenset()
    """Keys of configurations that end here."""
    end: bool = False


Decide = Callable[[Sequence[Round], Sequence[str]], Next]
"""Called with the rounds of a group so far, and the keys of those that are still in it."""


@dataclass(eq=False)
class _Member:
    trial: Trial
    resident: Resident
    ready: Result
    slices: list[Slice] = field(default_factory=list)
    longest_s: float | None = None
    """Of its slices."""
    patience_s: float = 0.0
    """How long its last answer was waited for at most."""
    kills_before: int = field(default_factory=oom_kills)
    loaded_alone: bool = True
    twin: _Member | None = None
    """A second process of the same configuration, whose slices are kept with those of this one."""

    @property
    def key(self) -> str:
        return self.trial.configuration.key

    @property
    def may_freeze(self) -> bool:
        """Whether its processes may be stopped while it is blocked: a GPU's driver minds that."""
        return self.trial.configuration.provider is Provider.CPU


class Episode:
    """The trials of one block, measured together."""

    def __init__(
        self,
        trials: Sequence[Trial],
        environment: Environment,
        decide: Decide,
        *,
        anchor: str | None = None,
        twin: str | None = None,
        known: Sequence[Result] = (),
    ) -> None:
        """`trials`: one a configuration. `known`: earlier results, which tell how much memory each takes.

        `anchor` is the key of the configuration that stays through all groups; `twin` that of one which is to have a
        second process, where memory holds it.
        """
        self._environment = environment
        self._decide = decide
        self._anchor = anchor
        self._twin = twin
        self._known = known
        self._noise = random.Random(f"{trials[0].procedure.seed}:{trials[0].block}" if trials else "")
        self._waiting = list(trials)
        self._noise.shuffle(self._waiting)
        self._members: list[_Member] = []
        self._lacked_memory: set[str] = set()
        self._rounds_done = 0
        """Of all groups: rounds are numbered through the episode, as those of two groups have nothing in common."""
        self._stack = ExitStack()

    def run(self) -> Iterator[Event]:
        """Measure, group after group, and yield what happens as it happens."""
        with self._stack:
            # A CUDA context draws power that no CPU configuration causes, so each provider has groups of its own.
            for provider in Provider:
                waiting = [t for t in self._waiting if t.configuration.provider is provider]
                waiting.sort(key=lambda trial: trial.configuration.key != self._anchor)
                while waiting:
                    there = len(self._members)
                    waiting = yield from self._join(waiting)
                    grown = len(self._members) > there
                    self._join_twin()
                    if grown:
                        yield from self._rounds()
                    # An anchor beside which nobody finds room has to go as well.
                    staying = [m for m in self._members if waiting and grown and m.key == self._anchor]
                    for member in [m for m in self._members if m not in staying]:
                        yield self._leave(member)

    def _join(self, waiting: Sequence[Trial]) -> Generator[Event, None, list[Trial]]:
        """Start those that memory holds; the others are returned."""
        left: list[Trial] = []
        waiting = list(waiting)
        while waiting:
            if self._members and not has_room(waiting[0], self._known):
                left.append(waiting.pop(0))
                continue
            # One that did not find memory beside others has it to itself the next time.
            alone = waiting[0].configuration.key in self._lacked_memory
            self._only(None)
            group = waiting[:1] if alone else side_by_side(waiting, self._environment.cpu_count, self._known)
            del waiting[: len(group)]
            loaded = []
            for member in (yield from self._load(group)):
                reply = self._answer(member, member.trial.procedure.timeout_s)
                if _works(reply):
                    loaded.append(member)
                    if member.may_freeze:
                        member.resident.freeze()  # until it is its turn
                else:
                    yield from self._not_loaded(member, reply, left, beside=len(group) - 1)
            for member in loaded:
                yield from self._make_ready(member, left, alone=len(group) == 1)
        return left

    def _join_twin(self) -> None:
        """A second process of the configuration that is to have one, if it is there and memory holds it."""
        original = next((m for m in self._members if m.key == self._twin), None)
        if original is None or original.twin is not None or not has_room(original.trial, self._known):
            return
        self._only(None)
        trial, timeout_s = original.trial, original.trial.procedure.timeout_s
        try:
            twin = _Member(trial, self._start(trial), original.ready)
        except ServewattError:
            return
        ready = wire.dump(Order(ready=True)).encode()
        if _works(self._ask(twin, wire.dump(trial).encode(), timeout_s)) and _works(self._ask(twin, ready, timeout_s)):
            original.twin = twin
        else:
            twin.resident.kill()  # it shows nothing then, and costs its original nothing

    def _load(self, group: Sequence[Trial]) -> Generator[Event, None, list[_Member]]:
        """The processes of `group`, loading; those that cannot be started are ended."""
        found: list[_Member] = []
        for trial in group:
            started_at = datetime.now(UTC).isoformat(timespec="seconds")
            try:
                resident = self._start(trial, ALONE if len(group) == 1 else BESIDE)
            except ServewattError as error:
                yield Ended(_not_started(trial, error, started_at))
                continue
            member = _Member(trial, resident, Result(trial, Status.OK, started_at=started_at))
            self._tell(member, wire.dump(trial).encode(), trial.procedure.timeout_s)
            found.append(member)
        return found

    def _make_ready(self, member: _Member, left: list[Trial], *, alone: bool) -> Iterator[Event]:
        """What is measured once a process, and a slice; the member has then joined."""
        member.loaded_alone = alone
        self._only(member)
        order, timeout_s = Order(ready=True), member.trial.procedure.timeout_s
        reply = self._ask(member, wire.dump(order).encode(), timeout_s)
        if not _works(reply):
            yield from self._not_loaded(member, reply, left, beside=0)
            return
        assert reply is not None and reply.result is not None
        member.ready = reply.result
        self._members.append(member)
        yield Ready(reply.result)
        yield from self._measure(member, Order(JOINING, 0, 0, self._slice_s(member.trial)))

    def _not_loaded(self, member: _Member, reply: Reply | None, left: list[Trial], *, beside: int) -> Iterator[Event]:
        """The end of a process that did not get ready; it is tried again later if the others may be to blame."""
        gone = self._gone(member, reply, oom_killed=oom_kills() > member.kills_before)
        if gone.status is Status.OUT_OF_MEMORY and (self._members or beside):
            self._lacked_memory.add(member.key)
            left.append(member.trial)  # it may find room once the others are gone
        else:
            yield Ended(gone)

    def _start(self, trial: Trial, how: str = ALONE) -> Resident:
        configuration = trial.configuration
        python, environment = engines.interpreter(
            configuration.engine, worker_environment(configuration), configuration.build
        )
        command = python_module_command(RESIDENCY, ANSWER_FD, PARENT_PID, how, python=python)
        resident = Resident(command, child_environment(environment))
        self._stack.callback(resident.kill)
        return resident

    def _rounds(self) -> Iterator[Event]:
        """Rounds of the processes that are there, until it is decided that they are enough."""
        rounds: list[Round] = []
        while self._members:
            found: dict[str, tuple[Result, Slice]] = {}
            everyone = self._everyone()
            for position, member in enumerate(self._noise.sample(everyone, len(everyone))):
                if member not in self._everyone():
                    continue  # a twin, whose original is gone
                order = Order(self._rounds_done, position, 0, self._slice_s(member.trial))
                valid = yield from self._measure(member, order)
                if valid is not None and not valid.twin:
                    found[member.key] = member.ready, valid
            self._rounds_done += 1
            rounds.append(Round(found))
            coming = self._decide(rounds, [member.key for member in self._members])
            for member in [m for m in self._members if m.key in coming.leave]:
                yield self._leave(member)
            if coming.end:
                return

    def _everyone(self) -> list[_Member]:
        """The processes that are there."""
        return self._members + [member.twin for member in self._members if member.twin is not None]

    def _measure(self, member: _Member, order: Order) -> Generator[Event, None, Slice | None]:
        """One slice, again while something disturbs it; None if all were. A member that cannot answer is gone."""
        for attempt in range(SLICE_RETRIES + 1 if order.round != JOINING else 1):
            original = next((m for m in self._members if m.twin is member), None)
            others = [m for m in self._everyone() if m is not member]
            self._only(member)
            time.sleep(STILL_S if all(other.may_freeze for other in others) else PAUSE_S)
            before_s, kills_before = [_cpu_s(other) for other in others], oom_kills()
            reply = self._ask(member, wire.dump(replace(order, attempt=attempt)).encode(), self._patience_s(member))
            used_s = [max(0.0, _cpu_s(other) - before) for other, before in zip(others, before_s, strict=True)]
            if reply is None or reply.slice is None:
                if original is not None:
                    original.twin = None
                    member.resident.kill()
                    return None
                self._members.remove(member)
                yield Ended(self._gone(member, reply, oom_killed=oom_kills() > kills_before))
                return None
            known = replace(reply.slice, blocked_cpu_s=sum(used_s), residents=len(others) + 1)
            if others and max(used_s) > 0:
                known = replace(known, blocked_by=others[used_s.index(max(used_s))].key)
            fault = known.fault or self._fault(member.trial, known)
            judged = replace(known, fault=fault, twin=original is not None)
            member.longest_s = max(member.longest_s or 0.0, judged.work_s)
            (original or member).slices.append(judged)
            yield Measured(member.trial, judged)
            if not judged.fault:
                return judged
        return None

    def _only(self, member: _Member | None) -> None:
        """Let `member` run, and stop the processes of the others that may be stopped."""
        for other in self._everyone():
            if other is not member and other.may_freeze:
                other.resident.freeze()
        if member is not None:
            member.resident.thaw()

    def _fault(self, trial: Trial, found: Slice) -> str:
        """Why a slice does not count; empty if it does."""
        window_s = found.work_s + found.tail_s
        blocked_s = found.blocked_cpu_s or 0.0
        if blocked_s > max(LEAST_BLOCKED_S, blocked_limit(self._environment.cpu_count) * window_s):
            share = 100 * blocked_s / window_s
            return f"blocked processes used {share:.0f} % of a CPU, most of it {found.blocked_by}"
        if found.foreign_cpu_s is not None:
            share = found.foreign_cpu_s / (window_s * self._environment.cpu_count)
            # The kernel counts in ticks, which a short slice may hold one or two of by chance.
            slack = 2 * TICK_S / window_s
            if share > trial.procedure.foreign_limit + slack:
                return f"other processes used {100 * min(1.0, share):.0f} % of the machine's CPU"
        return ""

    def _leave(self, member: _Member) -> Ended:
        """The result of a member that has measured enough."""
        if member.twin is not None:
            member.twin.resident.kill()
            member.twin = None
        self._only(member)
        self._members.remove(member)
        kills_before = oom_kills()
        full_bytes = used_bytes(member.trial.configuration.provider) if not member.loaded_alone else None
        reply = self._ask(member, wire.dump(Order()).encode(), member.trial.procedure.timeout_s)
        if reply is None or reply.result is None or not _works(reply):
            return Ended(self._gone(member, reply, oom_killed=oom_kills() > kills_before))
        ended = member.resident.close_politely(timeout_s=END_TIMEOUT_S)
        result = replace(reply.result, parent_cpu_s=ended.waiter_cpu_s, log=printable(ended.log))
        if full_bytes is not None:
            # What others loaded meanwhile is not in the difference: they are all blocked.
            freed_bytes = full_bytes - (used_bytes(result.trial.configuration.provider) or full_bytes)
            result = replace(result, peak_gpu_bytes=max(result.peak_gpu_bytes or 0, freed_bytes) or None)
        return Ended(judge(finished(result, member.slices), self._environment, memory_bandwidth_bytes_s))

    def _ask(self, member: _Member, question: bytes, timeout_s: float) -> Reply | None:
        """What a member answers; None where it does not."""
        return self._answer(member, timeout_s) if self._tell(member, question, timeout_s) else None

    def _tell(self, member: _Member, question: bytes, timeout_s: float) -> bool:
        member.patience_s = timeout_s
        return member.resident.tell(question, timeout_s=timeout_s)

    def _answer(self, member: _Member, timeout_s: float) -> Reply | None:
        answer = member.resident.answer(timeout_s=timeout_s)
        try:
            reply = None if answer is None else wire.load(Reply, answer)
        except InputError as error:
            reason = brief(f"the worker's answer cannot be read: {error.message}")
            again = try_alone(member.trial.model, member.trial.configuration)
            return Reply(result=Result(member.trial, Status.FAILED, reason, again, member.ready.started_at))
        if reply is None or reply.result is None:
            return reply
        return replace(reply, result=of_build(reply.result, member.trial))

    def _gone(self, member: _Member, reply: Reply | None, *, oom_killed: bool) -> Result:
        """The result of a member that failed, by its own words or by how it ended."""
        trial = member.trial
        if member.twin is not None:
            member.twin.resident.kill()
        if reply is not None and reply.result is not None:
            ended = member.resident.close_politely(timeout_s=END_TIMEOUT_S)
            found = replace(reply.result, log=printable(ended.log), reason=brief(reply.result.reason))
            found = replace(found, sections=found.sections or member.ready.sections)
            if found.trial != trial:
                again = try_alone(trial.model, trial.configuration)
                found = Result(trial, Status.FAILED, "the worker answered for another trial", again)
        else:
            try:
                ended = member.resident.end()
            except ServewattError as error:
                return _not_started(trial, error, member.ready.started_at)
            how = result_of(ended, trial, member.ready.started_at, oom_killed=oom_killed)
            if how.status is Status.TIMED_OUT:
                how = replace(how, reason=f"no answer within {member.patience_s:.3g} s")
            # What it yielded before it ended is kept.
            found = replace(member.ready, status=how.status, reason=how.reason, hint=how.hint, log=how.log)
        if found.status is Status.OUT_OF_MEMORY and any(other is not member for other in self._members):
            found = replace(found, transient=True)  # the others may have held what it lacked
        return point_to_log(with_slices(replace(found, parent_cpu_s=ended.waiter_cpu_s), member.slices))

    def _slice_s(self, trial: Trial) -> float:
        """How long a slice should last at least."""
        domains = [domain for domain in self._environment.domains if domain.within is None]
        least_s = trial.procedure.slice_s
        if any(domain.grade is Grade.INTEGRATED for domain in domains):
            least_s = max(least_s, SAMPLES_A_SLICE * trial.procedure.sample_interval_s)
        coarse_s = max((d.quantum_s for d in domains if d.grade is Grade.COUNTER), default=0.0)
        return max(least_s, STEPS_A_SLICE * coarse_s) if coarse_s >= ALIGN_FROM_S else least_s

    def _patience_s(self, member: _Member) -> float:
        """How long a slice may take: a process that hangs should not cost the whole time of a trial."""
        if member.longest_s is None:
            return member.trial.procedure.timeout_s
        return min(member.trial.procedure.timeout_s, 30.0 + 20.0 * member.longest_s)


def _not_started(trial: Trial, error: ServewattError, started_at: str) -> Result:
    return Result(trial, Status.REFUSED, error.message, error.hint, started_at, transient=True)


def _works(reply: Reply | None) -> bool:
    """Whether a process says that its trial goes on."""
    return reply is not None and reply.result is not None and reply.result.status is Status.OK


def _cpu_s(member: _Member) -> float:
    """CPU time so far of the living threads of all its processes."""
    return sum(threads_cpu_s(pid) for pid in member.resident.pids())

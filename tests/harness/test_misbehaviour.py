"""Engines, samplers and servers that misbehave: each is a result with a true reason, in time, of bearable size."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt import wire
from servewatt.errors import ServewattError
from servewatt.harness import child, sampler, worker
from servewatt.harness.child import Ended, run_module
from servewatt.harness.failure import ProcessEndedError
from servewatt.harness.runner import run_trials
from servewatt.harness.schedule import preparation
from servewatt.processes import guarded
from servewatt.processes.endings import ending, signal_name
from servewatt.records import Facts, Result, Status, Via
from tests.harness.builders import QUICK, fake, run

ENDED = Ended(0, False, b"", "", 0.0)


def one(folder: Path, timeout_s: float = 60.0, via: Via = Via.PROCESS, **options: object) -> Result:
    procedure = replace(QUICK, blocks=1, retries=0, timeout_s=timeout_s)
    (result,) = run_trials(run(folder, [replace(fake(**options), via=via)], procedure), [])
    return result


@pytest.mark.parametrize(
    ("failure", "status", "words", "hint", "transient"),
    [
        ("realtime-signal", Status.CRASHED, "the worker was killed by SIGRTMIN+3", "try it alone", False),
        ("abort", Status.CRASHED, "the worker was killed by SIGABRT", "try it alone", False),
        ("exit-139", Status.FAILED, "exit code 139 (as shells report SIGSEGV) and no result", "try it alone", False),
        ("disk-full", Status.FAILED, "No space left on device", "free disk space", True),
        ("no-more-files", Status.FAILED, "Too many open files", "ulimit -n", True),
        ("no-more-processes", Status.FAILED, "Resource temporarily unavailable", "ulimit -u", True),
        ("close-files", Status.FAILED, "exit code 1 and no result", "try it alone", False),
        ("kill-guardian", Status.CRASHED, "the worker was killed by SIGKILL", "try it alone", False),
        ("kill-sampler", Status.INVALID, "samples power and utilisation ended early (SIGKILL)", "again", False),
    ],
)
def test_a_misbehaving_engine_is_a_result_with_its_reason(
    tmp_path: Path, failure: str, status: Status, words: str, hint: str, transient: bool
) -> None:
    result = one(tmp_path, fail=failure)
    assert result.status is status, result.reason
    assert words in result.reason
    assert hint in result.hint
    assert result.transient is transient


def test_a_stopped_engine_is_timed_out(tmp_path: Path) -> None:
    assert one(tmp_path, timeout_s=3.0, fail="stop").status is Status.TIMED_OUT


@pytest.mark.parametrize("via", [Via.PROCESS, Via.HTTP])
def test_a_reason_of_any_length_is_cut_and_cannot_steer_a_terminal(tmp_path: Path, via: Via) -> None:
    result = one(tmp_path, via=via, fail="long-reason")
    assert result.status is Status.FAILED
    assert result.reason.startswith("RuntimeError: \\x1b[2J\\udcffxxx")
    assert result.reason.endswith("x ... (cut, of 5,000,019 characters)") or via is Via.HTTP
    assert len(result.reason) <= 2000
    assert len(wire.dump(result)) < 20_000


def test_a_log_of_any_length_keeps_its_end_and_takes_no_disk(tmp_path: Path) -> None:
    result = one(tmp_path, fail="flood")
    assert result.reason == "RuntimeError: the fake engine has talked long enough"
    assert "\\x1b[31mthe fake engine talks without end\ufffd\n" in result.log
    assert result.log.endswith("RuntimeError: the fake engine has talked long enough\n")
    # Four characters stand for each escape.
    assert len(result.log) < 4 * 4000


def test_an_engine_that_crashes_while_it_is_unloaded_has_done_its_work(tmp_path: Path) -> None:
    result = one(tmp_path, fail="die-at-exit")
    assert result.status is Status.OK, result.reason
    assert result.log.endswith("servewatt: after its answer it ended by SIGSEGV\n")


def test_an_engine_that_does_not_end_after_its_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "END_TIMEOUT_S", 0.5)
    result = one(tmp_path, fail="never-end")
    assert result.status is Status.OK, result.reason
    assert "it was killed" in result.log


def test_a_stuck_sampler_makes_the_trial_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = sampler.SamplerOrder(os.getpid(), 0.05, ("fake",), None)
    monkeypatch.setattr(sampler, "STOP_TIMEOUT_S", 0.2)
    stuck = sampler.Sampler(order)
    os.kill(stuck.pid, signal.SIGSTOP)
    with pytest.raises(ProcessEndedError, match=r"did not answer within 0\.2 s") as caught:
        stuck.stop()
    assert caught.value.outcome[0] is Status.INVALID
    with pytest.raises(ProcessEndedError, match=r"did not start \(exit code 1\)"):
        sampler.Sampler(replace(order, meters=("no such meter",)))
    monkeypatch.setattr(sampler, "START_TIMEOUT_S", 0.0)
    with pytest.raises(ProcessEndedError, match="had not started"):
        sampler.Sampler(order)


@pytest.mark.parametrize(
    ("spoil", "ended", "words"),
    [
        (lambda text: text[: len(text) // 2], ENDED, "the worker's answer cannot be read"),
        (lambda text: text + "}", ENDED, "the worker's answer cannot be read"),
        (lambda text: text.replace('"block":0', '"block":1'), ENDED, "the worker answered for another trial"),
        (lambda text: text, replace(ENDED, answer_too_long=True), "the worker answered with more than 64 MiB"),
        (lambda text: text[:100], replace(ENDED, returncode=-11), "the worker was killed by SIGSEGV"),
        (lambda _text: "", ENDED, "the worker left with exit code 0 and no result"),
    ],
)
def test_an_answer_that_is_none_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[str], str],
    ended: Ended,
    words: str,
) -> None:
    def answering(_module: str, _mode: object, question: bytes, **_named: object) -> Ended:
        text = json.dumps({"trial": json.loads(question), "status": "ok"}, separators=(",", ":"))
        return replace(ended, answer=spoil(text).encode())

    monkeypatch.setattr(child, "run_module", answering)
    result = one(tmp_path)
    assert result.status in (Status.FAILED, Status.CRASHED)
    assert words in result.reason


def test_facts_that_are_no_unicode_are_a_failure_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = preparation(run(tmp_path, [fake()]), fake())
    result = Result(trial, Status.OK, started_at="now", facts=Facts(engine_version="1.0 \udcff"))
    written = wire.load(Result, worker.as_json(result))
    assert (written.trial, written.status, written.started_at) == (trial, Status.FAILED, "now")
    assert written.reason.startswith("the result cannot be written: ")


def test_an_answer_that_is_too_long_is_refused_and_its_process_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talker.py").write_text("import os, sys\nwhile True: os.write(int(sys.argv[1]), b'x' * 65536)\n")
    monkeypatch.setattr(guarded, "MOST_ANSWER_BYTES", 2**20)
    ended = run_module("talker", [], b"", timeout_s=20, environment={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ended.answer_too_long and not ended.timed_out
    assert len(ended.answer) < 3 * 2**20


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def test_a_machine_without_files_left_says_so_in_two_lines() -> None:
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    for fd in taken[4:]:
        os.close(fd)
    try:
        with limited(resource.RLIMIT_NOFILE, taken[3] + 4), pytest.raises(ServewattError) as caught:
            run_module("this", [], b"", timeout_s=20, environment=dict(os.environ))
    finally:
        for fd in taken[:4]:
            os.close(fd)
    assert caught.value.message == "cannot start a process: Too many open files"
    assert "ulimit -n" in caught.value.hint


def test_a_machine_without_processes_left_says_so_in_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object, **_named: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(ServewattError, match="cannot start a process: Resource temporarily unavailable") as caught:
        run_module("this", [], b"", timeout_s=20, environment=dict(os.environ))
    assert "ulimit -u" in caught.value.hint


def test_an_interpreter_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServewattError, match="cannot start a process: No such file or directory") as caught:
        run_module("this", [], b"", timeout_s=20, environment=dict(os.environ), python=str(tmp_path / "python"))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("number", "name"),
    [(9, "SIGKILL"), (34, "SIGRTMIN"), (37, "SIGRTMIN+3"), (64, "SIGRTMAX"), (32, "signal 32"), (63, "SIGRTMIN+29")],
)
def test_every_signal_has_a_name(number: int, name: str) -> None:
    assert signal_name(number) == name
    assert ending(-number) == name


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "exit code 1"), (137, "exit code 137 (as shells report SIGKILL)"), (255, "exit code 255")],
)
def test_an_exit_code_says_what_shells_mean_by_it(code: int, words: str) -> None:
    assert ending(code) == words

"""No process that an engine started outlives its trial, whatever ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt import wire
from servewatt.harness.assess import Task
from servewatt.harness.runner import run_trials
from servewatt.processes.guarded import run_guarded
from servewatt.records import Result, Status, Via
from tests.harness.builders import QUICK, fake, model, run
from tests.processes_of import MARK, marked, new_mark, wait_until

CHILDREN = 3
TRIAL = (
    "import sys; from servewatt import wire; from servewatt.records import Run; from servewatt.harness import runner\n"
    "list(runner.run_trials(wire.load(Run, sys.argv[1]), []))"
)
ASSESSMENT = (
    "import sys; from servewatt import wire; from servewatt.harness.assess import Task, assess\n"
    "assess(wire.load(Task, sys.argv[1]), timeout_s=60)"
)


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    value = new_mark()
    monkeypatch.setenv(MARK, value)
    return value


def deaf(mark: str) -> list[int]:
    """The children that the fake engine has started."""
    return [pid for pid in marked(mark) if b"SIG_IGN" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def one(folder: Path, timeout_s: float = 60.0, **options: object) -> Result:
    procedure = replace(QUICK, blocks=1, timeout_s=timeout_s)
    (result,) = run_trials(run(folder, [fake(**options)], procedure), [])
    return result


def test_children_of_an_engine_end_with_its_trial(tmp_path: Path, mark: str) -> None:
    result = one(tmp_path, fail="children")
    assert result.status is Status.OK, result.reason + result.log
    assert marked(mark) == []


def test_a_late_engine_s_children_are_killed_with_it(tmp_path: Path, mark: str) -> None:
    assert one(tmp_path, timeout_s=3.0, fail="children-hang").status is Status.TIMED_OUT
    assert marked(mark) == []


@pytest.mark.parametrize("via", [Via.PROCESS, Via.HTTP])
def test_a_killed_parent_leaves_nothing_of_a_trial(tmp_path: Path, mark: str, via: Via) -> None:
    asked = run(tmp_path, [replace(fake(fail="children-hang"), via=via)], replace(QUICK, blocks=1))
    _kill_once_children_run([TRIAL, wire.dump(asked)], mark)


def test_a_killed_parent_leaves_nothing_of_an_assessment(tmp_path: Path, mark: str) -> None:
    task = Task(model(tmp_path), fake(fail="children-hang"), ((1, 2),), 3, (), ())
    _kill_once_children_run([ASSESSMENT, wire.dump(task)], mark)


def _kill_once_children_run(arguments: list[str], mark: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", *arguments])
    try:
        assert wait_until(lambda: len(deaf(mark)) == CHILDREN), "the children never ran"
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not marked(mark), 10), [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in marked(mark)]


def test_an_interrupted_parent_leaves_nothing(tmp_path: Path, mark: str) -> None:
    asked = run(tmp_path, [fake(fail="children-hang")], replace(QUICK, blocks=1))
    parent = subprocess.Popen([sys.executable, "-c", TRIAL, wire.dump(asked)], stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: len(deaf(mark)) == CHILDREN)
        parent.send_signal(signal.SIGINT)
        parent.wait(10)
    finally:
        parent.kill()
        parent.wait()
    # It has waited for them.
    assert marked(mark) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
def test_nothing_is_left_when_the_guardian_is_killed_or_stopped(mark: str, number: int) -> None:
    children = (
        "import os, sys, time; from servewatt.engines.fake.failures import start_children\n"
        f"start_children(); os.kill(os.getppid(), {int(number)}); time.sleep(60)"
    )
    ended = run_guarded([sys.executable, "-c", children], timeout_s=2.0, environment=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    assert ended.timed_out is (number == signal.SIGSTOP)
    assert wait_until(lambda: not marked(mark), 5)


def test_what_a_command_wrote_to_a_file_of_ours_is_there_and_its_children_are_not(tmp_path: Path, mark: str) -> None:
    says = "from servewatt.engines.fake.failures import start_children; start_children(); print('done')"
    with (tmp_path / "log").open("w") as log:
        ended = run_guarded([sys.executable, "-c", says], timeout_s=20.0, environment=dict(os.environ), log=log)
    assert (ended.returncode, (tmp_path / "log").read_text()) == (0, "done\n")
    assert marked(mark) == []

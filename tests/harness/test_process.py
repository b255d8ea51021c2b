from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import servewatt
from servewatt.errors import ServewattError
from servewatt.harness.child import Ended, run_module

CHILD = """
import os, signal, sys, time
from servewatt.harness.child import die_with_parent
fd, parent, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
die_with_parent(parent)
if mode == "deaf":
    time.sleep(20)
question = sys.stdin.buffer.read()
if mode == "echo":
    print("spoken to the log")
    os.write(fd, question)
elif mode == "large":
    with os.fdopen(fd, "wb") as pipe: pipe.write(b"x" * 5_000_000)
elif mode == "segv":
    os.kill(os.getpid(), signal.SIGSEGV)
elif mode == "half":
    os.write(fd, b"half"); os.close(fd); time.sleep(0.2); sys.exit(3)
elif mode == "sleep":
    time.sleep(float(question))
elif mode == "sleep-and-answer":
    time.sleep(float(question)); os.write(fd, b"slept")
elif mode == "grandchild":
    import subprocess
    child = subprocess.Popen(["sleep", "60"]); os.write(fd, str(child.pid).encode())
"""


@pytest.fixture
def child(tmp_path: Path) -> Path:
    (tmp_path / "child_module.py").write_text(CHILD)
    return tmp_path


def ask(folder: Path, mode: str, question: bytes = b"", timeout_s: float = 20.0) -> Ended:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return run_module("child_module", [mode], question, timeout_s=timeout_s, environment=environment)


def test_the_answer_comes_back_and_what_is_printed_goes_to_the_log(child: Path) -> None:
    ended = ask(child, "echo", b"a question")
    assert (ended.returncode, ended.timed_out, ended.answer) == (0, False, b"a question")
    assert "spoken to the log" in ended.log


def test_an_answer_larger_than_a_pipe_holds_comes_back_whole(child: Path) -> None:
    assert len(ask(child, "large").answer) == 5_000_000


def test_a_signal_is_told_apart_from_an_exit_code(child: Path) -> None:
    assert ask(child, "segv").returncode == -signal.SIGSEGV
    ended = ask(child, "half")
    assert (ended.returncode, ended.answer) == (3, b"half")


def test_a_late_child_is_killed(child: Path) -> None:
    begin_s = time.monotonic()
    ended = ask(child, "sleep", b"60", timeout_s=1.0)
    assert ended.timed_out
    assert ended.returncode == -signal.SIGKILL
    assert time.monotonic() - begin_s < 10


def test_a_child_that_does_not_read_is_killed_in_time(child: Path) -> None:
    begin_s = time.monotonic()
    # A pipe holds 64 KiB.
    assert ask(child, "deaf", b"x" * 1_000_000, timeout_s=1.0).timed_out
    assert time.monotonic() - begin_s < 10


def test_a_question_larger_than_a_pipe_holds_arrives_whole(child: Path) -> None:
    question = bytes(range(256)) * 4000
    assert ask(child, "echo", question).answer == question


def test_a_question_that_finds_no_room_says_so(child: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system stops every write to a file after some bytes, as it does where the disk is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(ServewattError, match="cannot write a temporary file: File too large") as caught:
            ask(child, "echo", b"x" * 101)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "TMPDIR" in caught.value.hint


def test_no_place_for_temporary_files_is_needed(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(child / "gone"))
    monkeypatch.setenv("TMPDIR", str(child / "gone"))
    assert ask(child, "echo", b"a question").answer == b"a question"


def test_a_kernel_without_files_in_memory_needs_one_and_says_so(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_name: str) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "memfd_create", refused)
    assert ask(child, "echo", b"a question").answer == b"a question"
    monkeypatch.setattr(tempfile, "tempdir", str(child / "gone"))
    with pytest.raises(ServewattError, match="No such file or directory"):
        ask(child, "echo")


def test_waiting_takes_no_cpu_time(child: Path) -> None:
    # A spinning parent would use about 2 s here.
    assert ask(child, "sleep", b"2").waiter_cpu_s < 0.02


WATCHER = """
import os, sys, time
def woken():  # how often the guardian has slept
    with open(f"/proc/{os.getppid()}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
time.sleep(0.5)
before, end_s = woken(), time.monotonic() + 2
while time.monotonic() < end_s:
    if sys.argv[3] == "chatty": print("a step", flush=True)
    time.sleep(0.002)
os.write(int(sys.argv[1]), str(woken() - before).encode())
"""


@pytest.mark.parametrize(("kind", "most"), [("silent", 0), ("chatty", 12)])
def test_the_guardian_sleeps_while_the_child_works(child: Path, kind: str, most: int) -> None:
    # It looks at a log twice a second: once when its pause is over, and again if there is something to read.
    (child / "watcher.py").write_text(WATCHER)
    environment = {**os.environ, "PYTHONPATH": str(child)}
    ended = run_module("watcher", [kind], b"", timeout_s=20, environment=environment)
    assert int(ended.answer) <= most
    assert ended.log.endswith("a step\n" if kind == "chatty" else "")


def test_what_the_child_started_dies_with_it(child: Path) -> None:
    grandchild = int(ask(child, "grandchild").answer)
    deadline_s = time.monotonic() + 5
    while _alive(grandchild) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not _alive(grandchild)


def test_killing_the_parent_kills_the_child(child: Path) -> None:
    script = (
        "import os\nfrom servewatt.harness.child import run_module\n"
        "run_module('child_module', ['sleep'], b'60', timeout_s=60, environment=dict(os.environ))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(child)})
    deadline_s = time.monotonic() + 15
    while not (children := _children(parent.pid)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    while any(map(_alive, children)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert children
    assert not any(map(_alive, children))


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_an_answer_that_came_while_the_parent_was_stopped_counts(child: Path) -> None:
    script = (
        "import os, sys\nfrom servewatt.harness.child import run_module\n"
        "ended = run_module('child_module', ['sleep-and-answer'], b'0.5', timeout_s=2, environment=dict(os.environ))\n"
        "print(ended.timed_out, ended.answer)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{child}{os.pathsep}{Path(servewatt.__file__).parents[1]}"}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as parent:
        time.sleep(0.5)
        parent.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        parent.send_signal(signal.SIGCONT)
        assert parent.communicate()[0] == b"False b'slept'\n"

"""Commands that stay: what they answer, and how they end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servewatt.errors import ServewattError
from servewatt.meters.cpu_times import threads_cpu_s
from servewatt.processes import resident
from servewatt.processes.command import child_environment, python_command
from servewatt.processes.guarded import ANSWER_FD
from servewatt.processes.resident import Resident
from tests.processes_of import MARK, marked, new_mark, wait_until

HEAD = "import os, sys, time; out = os.fdopen(int(sys.argv[1]), 'wb', 0); ask = sys.stdin.buffer.readline\n"
ECHO = "for line in iter(ask, b''): out.write(line.upper())"
LENGTH = "for line in iter(ask, b''): out.write(b'%d\\n' % len(line))"


@contextmanager
def started(code: str, mark: str = "") -> Iterator[Resident]:
    environment = child_environment({**os.environ, MARK: mark})
    with Resident(python_command("-c", HEAD + code, ANSWER_FD), environment) as found:
        yield found


def test_each_question_has_its_answer() -> None:
    with started(ECHO) as asked:
        assert [asked.ask(word, timeout_s=20) for word in (b"one", b"", b"two three")] == [b"ONE", b"", b"TWO THREE"]
        ended = asked.close_politely(timeout_s=20)
    assert (ended.returncode, ended.timed_out, ended.answer) == (0, False, b"")
    assert asked.pids() == ()
    assert asked.end() == ended


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_a_question_may_be_longer_than_a_pipe_holds(pause_s: float) -> None:
    """Three megabytes; a pipe holds 64 KiB."""
    with started(f"time.sleep({pause_s})\n{LENGTH}") as asked:
        assert asked.ask(b"x" * 3_000_000, timeout_s=20) == b"3000001"
        assert asked.ask(b"again", timeout_s=20) == b"6"


def test_an_answer_may_be_long_and_one_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with started("ask(); out.write(b'y' * 5_000_000 + b'\\n'); ask()") as asked:
        assert asked.ask(b"go", timeout_s=20) == b"y" * 5_000_000
    monkeypatch.setattr(resident, "MOST_ANSWER_BYTES", 1_000_000)
    with started("ask()\nwhile True: out.write(b'y' * 100_000)") as asked:
        assert asked.ask(b"go", timeout_s=20) is None
        assert asked.end().answer_too_long


def test_nothing_is_waited_for_longer_than_said() -> None:
    with started("ask(); time.sleep(600)") as asked:
        begin_s = time.monotonic()
        assert asked.ask(b"go", timeout_s=0.3) is None
        assert 0.3 <= time.monotonic() - begin_s < 5
        assert asked.end().timed_out


def test_a_question_that_nobody_reads_is_not_waited_for_either() -> None:
    with started("time.sleep(600)") as asked:
        assert asked.ask(b"x" * 3_000_000, timeout_s=0.3) is None
        assert asked.end().timed_out


@pytest.mark.parametrize(
    ("code", "returncode"),
    [
        ("ask(); print('last words', flush=True); os._exit(7)", 7),
        ("ask(); print('last words', flush=True); os.kill(os.getpid(), 11)", -signal.SIGSEGV),
        ("print('last words', flush=True); os.closerange(0, 1); os._exit(3)", 3),
        # Its child holds the answer pipe open.
        ("ask(); print('last words', flush=True)\nif os.fork(): os._exit(5)\nelse: time.sleep(600)", 5),
    ],
)
def test_a_command_that_ends_says_how(code: str, returncode: int) -> None:
    with started(code) as asked:
        assert asked.ask(b"x" * 200_000, timeout_s=20) is None
        ended = asked.end()
    assert (ended.returncode, ended.timed_out, ended.last_words) == (returncode, False, "last words")


def test_an_answer_before_the_end_counts() -> None:
    with started("ask(); out.write(b'done\\nhalf'); os._exit(9)") as asked:
        assert asked.ask(b"go", timeout_s=20) == b"done"
        assert asked.ask(b"more", timeout_s=20) is None
        ended = asked.end()
    assert (ended.returncode, ended.answer) == (9, b"half")


def test_frozen_processes_use_no_cpu_and_go_on_when_thawed() -> None:
    burning = (
        "import threading\nif os.fork() == 0:\n while True: pass\nout.write(b'begun\\n')\n"
        "threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()\n" + ECHO
    )
    with started(burning) as asked:
        assert asked.ask(b"first", timeout_s=20) == b"begun"
        pids = asked.pids()
        assert len(pids) == 2

        def used_s() -> float:
            return sum(map(threads_cpu_s, pids))

        asked.freeze()
        time.sleep(0.05)
        before_s = used_s()
        time.sleep(0.3)
        assert used_s() == before_s
        asked.thaw()
        assert asked.ask(b"", timeout_s=20) == b"FIRST"
        assert wait_until(lambda: used_s() > before_s + 0.05)


def test_a_frozen_one_ends_too() -> None:
    mark = new_mark()
    with started(ECHO, mark) as asked:
        assert asked.ask(b"a", timeout_s=20) == b"A"
        asked.freeze()
        assert asked.end().returncode == -signal.SIGKILL
    assert wait_until(lambda: not marked(mark))


def test_the_children_of_its_children_end_with_it() -> None:
    """A child, one with a session of its own, and one whose parent has ended."""
    code = (
        "import subprocess\n"
        "deaf = [sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)']\n"
        "subprocess.Popen(deaf); subprocess.Popen(deaf, start_new_session=True)\n"
        "subprocess.run([sys.executable, '-c', 'import subprocess, sys; subprocess.Popen(sys.argv[1:])', *deaf])\n"
    )
    mark = new_mark()
    with started(code + ECHO, mark) as asked:
        assert asked.ask(b"a", timeout_s=20) == b"A"
        assert wait_until(lambda: len(asked.pids()) == 4)
    assert wait_until(lambda: not marked(mark))


def test_the_parent_sleeps_while_it_waits() -> None:
    with started("ask(); time.sleep(1); out.write(b'x\\n'); ask()") as asked:
        assert asked.ask(b"go", timeout_s=20) == b"x"
        assert asked.end().waiter_cpu_s < 0.1


def test_what_cannot_be_started_is_told() -> None:
    with Resident(["/no/such/program"], dict(os.environ)) as asked:
        assert asked.ask(b"go", timeout_s=20) is None
        with pytest.raises(ServewattError, match="cannot start a process: No such file"):
            asked.end()


def test_no_file_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with started(ECHO) as asked:
            asked.ask(b"a", timeout_s=20)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

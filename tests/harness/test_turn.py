from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from servewatt.harness.turn import machine_turn

HOLDER = """
import sys, time
from servewatt.harness.turn import machine_turn
with machine_turn(lambda pid: print("waits for", pid, flush=True), b"\\0" + sys.argv[1].encode()):
    print("holds", flush=True)
    sys.stdin.read()
print("gave back", flush=True)
"""


def holder(name: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, name],
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_waits_names_the_first_and_follows_when_it_is_killed() -> None:
    name = f"servewatt-test-{os.getpid()}-{time.monotonic_ns()}"
    with holder(name) as first:
        assert line(first) == "holds"
        with holder(name) as second:
            assert line(second) == f"waits for {first.pid}"
            assert second.poll() is None
            first.send_signal(signal.SIGKILL)
            assert line(second) == "holds"
            second.communicate("")
            assert second.returncode == 0


def test_turns_of_one_process_follow_each_other() -> None:
    told: list[int] = []
    name = f"\0servewatt-test-{os.getpid()}-{time.monotonic_ns()}".encode()
    for _ in range(3):
        with machine_turn(told.append, name):
            pass
    assert told == []

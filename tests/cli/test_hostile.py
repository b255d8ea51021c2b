"""Every command with values that nobody should give: it ends in time, with a documented exit code and no traceback.

SERVEWATT_HOSTILE_EXAMPLES=2000 tries more; so does `python -m tools.hostile --examples 2000`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from servewatt.cli.ending import exit_code
from tools import hostile

EXAMPLES = os.environ.get("SERVEWATT_HOSTILE_EXAMPLES", "60")


def test_hostile_command_lines_end_as_documented() -> None:
    line = [sys.executable, "-m", "tools.hostile", "--examples", EXAMPLES, "--seed", "1"]
    done = subprocess.run(line, cwd=hostile.ROOT, capture_output=True, text=True, errors="replace", check=False)
    assert (done.returncode, done.stdout) == (0, f"{EXAMPLES} command lines, 0 faults\n"), done.stderr[-2000:]


def test_every_command_is_among_them() -> None:
    names = {name for name, _ in hostile.leaves()}
    assert {
        "run",
        "report",
        "doctor",
        "models",
        "models prune",
        "engines add",
        "study run",
        "study tables",
        "gate",
        "compare",
    } <= names


def unforeseen(_arguments: list[str]) -> int:
    return exit_code(ZeroDivisionError("division by zero"))


def slow(_arguments: list[str]) -> int:
    time.sleep(5)
    return 0


def printing(_arguments: list[str]) -> int:
    print("Traceback (most recent call last):", file=sys.stderr)
    return 2


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (unforeseen, "error: unexpected ZeroDivisionError"),
        (slow, "more than 0.2 s"),
        (printing, "Traceback"),
        (lambda _arguments: 3, "exit code 3"),
        (lambda _arguments: 1, None),
    ],
)
def test_what_is_taken_for_a_fault(
    command: Callable[[list[str]], int], what: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile, "run", command)
    fault = hostile.fault_of(["report"], limit_s=0.2)
    assert (fault is None) == (what is None)
    assert what is None or what in str(fault)

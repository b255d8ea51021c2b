"""Runs a generated program with its tests: `python -m servewatt.harness.unit_tests ANSWER_FD PARENT_PID`.

Limits of time, memory, files and processes keep a wrong program from harming by accident. They are no protection
from a program that means harm: it runs as the user, who must have asked for it.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Sequence

from servewatt.harness.process import die_with_parent, run_module

TESTER = "servewatt.harness.unit_tests"
TIMEOUT_S = 10.0
_CPU_S = 5
_MEMORY_BYTES = 2**30
_FILE_BYTES = 2**20
_PASSED = b"passed"
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")


def passes(program: str, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether `program`, tests included, runs to its end without an exception and within the limits."""
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    ended = run_module(TESTER, [], program.encode(), timeout_s=timeout_s, environment=variables)
    return ended.returncode == 0 and ended.answer == _PASSED


def _limit() -> None:
    limits = (
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in limits:
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # noqa: PLW2901
        resource.setrlimit(kind, (most, most))


def _main(arguments: Sequence[str]) -> None:
    answer_fd, parent_pid = map(int, arguments)
    die_with_parent(parent_pid)
    program = sys.stdin.buffer.read().decode()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _limit()
        exec(compile(program, "answer", "exec"), {"__name__": "answer"})
        os.write(answer_fd, _PASSED)
        os.chdir("/")


if __name__ == "__main__":
    _main(sys.argv[1:])

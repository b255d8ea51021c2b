"""Runs generated answers with their problems' tests: `python -m servewatt.harness.unit_tests ANSWER_FD PARENT_PID`.

The tests run in one process and the answer in another, each in a sandbox where there is one. What counts as passed is a
random word that the tests' process alone is given: an answer that ends itself, prints, raises SystemExit, writes to
whatever file descriptor it finds or changes what it can reach has not passed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt import wire
from servewatt.harness import examination
from servewatt.harness.child import die_with_parent, run_module
from servewatt.harness.sandbox import Sandbox, find_sandbox

TESTER = "servewatt.harness.unit_tests"
TIMEOUT_S = 10.0
_KEPT = ("PATH", "LANG", "LC_ALL", "SERVEWATT_GUARDED")
_PREFIX = "servewatt-tests-"


@dataclass(frozen=True)
class Examination:
    """An answer and its tests."""

    prompt: str
    """Imports and the function's head, which the answer continues."""
    answer: str
    test: str
    """Source that defines `check(candidate)`."""
    entry_point: str
    """Name of the function."""


@dataclass(frozen=True)
class _Order:
    """The order for the tests' process."""

    examination: Examination
    sandbox: Sandbox
    folder: str
    word: str


def passes(examination: Examination, *, timeout_s: float = TIMEOUT_S, sandbox: Sandbox | None = None) -> bool:
    """Whether the answer's function passes the tests, within the limits; in this machine's sandbox unless one is given.

    Temporary files lie where TMPDIR says, and are removed however the programs end.
    """
    word = secrets.token_hex(16)
    with _folder() as folder:
        order = _Order(examination, sandbox or find_sandbox(), folder, word)
        ended = run_module(TESTER, [], wire.dump(order).encode(), timeout_s=timeout_s, environment=os.environ)
    return ended.returncode == 0 and ended.answer == word.encode()


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """A temporary folder; those that killed processes have left there are removed as well."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _remove(left)
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    try:
        yield folder
    finally:
        _remove(Path(folder))


def _remove(folder: Path) -> None:
    """Remove what a program may have made hard to remove: folders that may not be entered, or thousands deep.

    The system's tools do not recurse by paths that grow.
    """
    with contextlib.suppress(OSError):
        folder.rmdir()
        return
    for tool in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
        with contextlib.suppress(OSError):
            subprocess.run([*tool, "--", str(folder)], stderr=subprocess.DEVNULL, check=False)


def _examine(order: _Order) -> bytes:
    """The verdict of the tests' process."""
    asked = order.examination
    calls_from, calls_to = os.pipe()
    results_from, results_to = os.pipe()
    verdict_from, verdict_to = os.pipe()
    answering = _start(
        order,
        ["answer", calls_from, results_to],
        {"program": asked.prompt + asked.answer, "entry_point": asked.entry_point},
    )
    examining = _start(
        order,
        ["examine", calls_to, results_from, verdict_to],
        {"prompt": asked.prompt, "test": asked.test, "entry_point": asked.entry_point, "word": order.word},
    )
    for fd in (calls_from, calls_to, results_from, results_to, verdict_to):
        os.close(fd)
    try:
        with os.fdopen(verdict_from, "rb") as verdict:
            said = verdict.read()
        return said if examining.wait() == 0 else b""
    finally:
        for child in (answering, examining):
            child.kill()
            child.wait()


def _start(order: _Order, arguments: Sequence[str | int], told: dict[str, str]) -> subprocess.Popen[bytes]:
    fds = [number for number in arguments if isinstance(number, int)]
    source = Path(examination.__file__).read_text(encoding="utf-8")
    command = [sys.executable, "-I", "-B", "-c", source, *map(str, arguments)]
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with tempfile.TemporaryFile(dir=order.folder) as question:
        question.write(json.dumps(told).encode())
        question.seek(0)
        return subprocess.Popen(
            order.sandbox.command(command, variables, order.folder),
            stdin=question,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=fds,
            cwd=order.folder,
        )


def _main(arguments: Sequence[str]) -> None:
    answer_fd, parent_pid = map(int, arguments)
    die_with_parent(parent_pid)
    os.set_inheritable(answer_fd, False)
    examination.hide()
    order = wire.load(_Order, sys.stdin.buffer.read())
    # The guardian has the same file open, and the word must not be read from there.
    os.ftruncate(sys.stdin.fileno(), 0)
    os.write(answer_fd, _examine(order))


if __name__ == "__main__":
    _main(sys.argv[1:])

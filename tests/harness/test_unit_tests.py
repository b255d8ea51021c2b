"""Generated answers and their tests; with the sandbox of this machine, if it has one, and without any."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from servewatt.harness import isolate
from servewatt.harness.sandbox import Sandbox, bubblewrap, find_sandbox, namespaces
from servewatt.harness.unit_tests import Examination, passes
from servewatt.workloads.prompts import read

NONE = Sandbox("none", (), "a test")
PROMPT = 'import math\n\ndef twice(x):\n    """Two times x."""\n'
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n"
RIGHT = "    return 2 * x\n"
SANDBOXES = [
    pytest.param(found, id=name, marks=pytest.mark.skipif(not found.prefix, reason=found.why_none))
    for name, found in (("bubblewrap", bubblewrap()), ("namespaces", namespaces()))
]
ways = pytest.mark.parametrize("way", [pytest.param(NONE, id="none"), *SANDBOXES])


def asked(answer: str = RIGHT, test: str = TEST, prompt: str = PROMPT) -> Examination:
    return Examination(prompt, answer, test, "twice")


@ways
def test_a_right_answer_passes_and_may_talk(way: Sandbox) -> None:
    assert passes(asked(), sandbox=way)
    assert passes(asked("    print('noise' * 1_000_000)\n" + RIGHT), sandbox=way)


@ways
@pytest.mark.parametrize(
    "answer",
    [
        "    return 3 * x\n",
        "    return (\n",
        "    raise ValueError(x)\n",
        "    import os; os._exit(0)\n",
        "    raise SystemExit(0)\n",
        "    x = bytearray(3 * 2**30)\n" + RIGHT,
        "    open('large', 'wb').write(b'x' * 2**22)\n" + RIGHT,
        "    import os; os.kill(os.getpid(), 9)\n",
        "    return input()\n",
    ],
)
def test_a_wrong_answer_fails(way: Sandbox, answer: str) -> None:
    assert not passes(asked(answer), sandbox=way)


CHEATS = {
    "ends well before the tests": RIGHT + "import os\nos._exit(0)\n",
    "ends as if all were well": RIGHT + "raise SystemExit(0)\n",
    "claims to equal everything": "    class Any(int):\n        __eq__ = lambda a, b: True\n    return Any()\n",
    "returns what runs code in whoever reads it": (
        "    class Code:\n        def __reduce__(self):\n            import os\n            return os._exit, (0,)\n"
        "    return Code()\n"
    ),
    "writes to every file descriptor": (
        "    import os\n    for fd in range(256):\n        try: os.write(fd, b'passed')\n        except OSError: pass\n"
        "    return 5\n"
    ),
    "writes to its parents' file descriptors": (
        "    import os\n    pid = os.getpid()\n    for _ in range(2):\n"
        "        try: pid = int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1])\n"
        "        except OSError: break\n"
        "        try: names = os.listdir(f'/proc/{pid}/fd')\n        except OSError: continue\n"
        "        for name in names:\n"
        "            try: os.write(os.open(f'/proc/{pid}/fd/{name}', os.O_WRONLY | os.O_NONBLOCK), b'passed')\n"
        "            except OSError: pass\n"
        "    return 5\n"
    ),
    "ends its parent": "    import os\n    os.kill(os.getppid(), 9)\n    return 5\n",
    "raises in a thread": (
        "    import threading\n    def end(): raise SystemExit(0)\n"
        "    threading.Thread(target=end).start()\n    return 5\n"
    ),
    "changes what assert uses": (
        "    return 5\nimport builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {})\n"
        "import sys\nsys.excepthook = lambda *_: None\n"
    ),
    "defines the check": "    return 5\ncheck = lambda candidate: None\n",
    "answers with what it says is the verdict": "    print('passed')\n    return 'passed'\n",
    "says more than can be read": "    return [0] * 50_000_000\n",
    "is a program that returns itself": "    return twice\n",
    "returns a list that never ends": "    a = []\n    a.append(a)\n    return a\n",
}


@ways
@pytest.mark.parametrize("cheat", CHEATS)
def test_no_answer_passes_that_is_not_right(way: Sandbox, cheat: str) -> None:
    begin_s = time.monotonic()
    assert not passes(asked(CHEATS[cheat]), sandbox=way)
    assert time.monotonic() - begin_s < 15


def test_what_an_answer_raises_and_changes_reaches_the_tests() -> None:
    test = (
        "def check(candidate):\n"
        "    try: candidate('x')\n"
        "    except ValueError as error: assert str(error) == 'no x'\n"
        "    else: assert False\n"
        "    rows = [3, 1]\n"
        "    assert list(candidate(rows)) == [1, 3] and rows == [1, 3]\n"
        "    assert twice([1]) is not None\n"  # some tests use its own name
    )
    answer = "    if x == 'x': raise ValueError('no x')\n    x.sort()\n    return iter(x)\n"
    assert passes(asked(answer, test))
    assert not passes(asked(RIGHT, test))


def test_tests_use_what_the_problem_defines_and_the_answer_cannot_change() -> None:
    prompt = "def half(x):\n    return x / 2\n\ndef twice(x):\n"  # no docstring: its head alone is no program
    test = "def check(candidate):\n    assert half(candidate(3)) == 3\n"
    assert passes(asked(RIGHT, test, prompt))
    assert not passes(asked("    return 7\nhalf = lambda x: 3\n", test, prompt))


def test_a_program_that_never_ends_is_ended() -> None:
    begin_s = time.monotonic()
    assert not passes(asked("    while True: pass\n"), timeout_s=1.0)
    assert not passes(asked("    import time; time.sleep(60)\n"), timeout_s=1.0)
    assert time.monotonic() - begin_s < 10


@ways
def test_temporary_files_lie_where_tmpdir_says_and_are_removed(
    way: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    written = "    import os, tempfile\n    open('here', 'w').write('1')\n    tempfile.mkstemp()\n"
    deep = "    for _ in range(300):\n        os.mkdir('d'); os.chdir('d')\n    os.chmod('.', 0)\n"
    for ends in (RIGHT, deep + RIGHT, "    import time; time.sleep(60)\n", "    os.kill(os.getppid(), 9)\n"):
        passes(asked(written + ends), timeout_s=2.0, sandbox=way)
        assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, tempfile\nfrom servewatt.harness.unit_tests import *\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "passes(Examination('def f():\\n', '    while True: pass\\n', 'def check(f): f()', 'f'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        deadline_s = time.monotonic() + 20
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    (tmp_path / f"servewatt-tests-{os.getpid()}-in-use").mkdir()
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert passes(asked())
    assert [left.name for left in tmp_path.iterdir()] == [f"servewatt-tests-{os.getpid()}-in-use"]


@pytest.mark.parametrize("way", SANDBOXES)
def test_in_a_sandbox_nothing_of_the_user_is_there(way: Sandbox, tmp_path: Path) -> None:
    """No home, no network, no other process, and nothing that is written stays."""
    secret, home = tmp_path / "secret", str(Path.home())
    # Python itself may lie there.
    pythons = {part for place in (sys.prefix, sys.base_prefix) for part in Path(place).parts}
    there = [entry.name for entry in Path.home().iterdir() if entry.name not in pythons]
    secret.write_text("42")
    answer = (
        "    import os, socket\n    found = []\n"
        f"    for path in ({str(secret)!r}, '/etc/passwd', '/proc/{os.getpid()}', {__file__!r}):\n"
        "        if os.path.exists(path): found.append(path)\n"
        f"    if os.path.isdir({home!r}) and set(os.listdir({home!r})) & set({there!r}):\n"
        "        found.append('home')\n"
        "    try: socket.create_connection(('127.0.0.1', x), timeout=1); found.append('network')\n"
        "    except OSError: pass\n"
        "    if {name for _, name in socket.if_nameindex()} - {'lo'}: found.append('interfaces')\n"
        f"    for path in ('/usr/x', '/x', {sys.prefix!r} + '/x'):\n"
        "        try: open(path, 'w'); found.append(path)\n"
        "        except OSError: pass\n"
        "    open('/tmp/x', 'w').write('1')\n"
        "    return found\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        test = f"def check(candidate):\n    found = candidate({port})\n    assert found == [], found\n"
        assert passes(asked(answer, test), sandbox=way)
        # The same answer finds them where nothing hides them.
        assert not passes(asked(answer, test), sandbox=NONE)


def test_a_machine_without_a_sandbox_says_so_and_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(isolate, "__file__", str(tmp_path / "isolate.py"))
    Path(isolate.__file__).write_text("import sys\nsys.exit('unshare: Operation not permitted')\n")
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    for path, why in (
        (str(tmp_path), "bubblewrap cannot be used: bwrap: setting up uid map: Permission denied"),
        ("/nowhere", "bubblewrap is not installed"),
    ):
        monkeypatch.setenv("PATH", path)
        find_sandbox.cache_clear()
        found = find_sandbox()
        assert (found.name, found.prefix) == ("none", ())
        because = f"({why}, namespaces cannot be used: unshare: Operation not permitted)"
        assert found.in_words.startswith(f"answers run without a sandbox {because}")
    find_sandbox.cache_clear()


def test_the_bundled_problems_solutions_pass_and_an_empty_answer_does_not() -> None:
    for problem in read("bundled:3").problems:
        examination = (problem.prompt, problem.canonical_solution, problem.test, problem.entry_point)
        assert passes(Examination(*examination))
        assert not passes(Examination(problem.prompt, "", problem.test, problem.entry_point))

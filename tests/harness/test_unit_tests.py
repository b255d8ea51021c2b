from __future__ import annotations

import time

import pytest

from servewatt.harness.unit_tests import passes
from servewatt.workloads.prompts import read


def test_a_program_that_ends_passes() -> None:
    assert passes("assert sum([1, 2]) == 3\nprint('noise')\n")


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 == 2",
        "def broken(:",
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "x = bytearray(3 * 2**30)",
        "open('large', 'wb').write(b'x' * 2**22)",
        "import os; os.kill(os.getpid(), 9)",
    ],
)
def test_a_program_that_does_not_fails(program: str) -> None:
    assert not passes(program)


def test_a_program_that_never_ends_is_ended() -> None:
    begin_s = time.monotonic()
    assert not passes("while True: pass", timeout_s=1.0)
    assert not passes("import time; time.sleep(60)", timeout_s=1.0)
    assert time.monotonic() - begin_s < 10


def test_the_bundled_problems_solutions_pass_and_an_empty_answer_does_not() -> None:
    for problem in read("bundled:3").problems:
        rest = f"\n{problem.test}\ncheck({problem.entry_point})\n"
        assert passes(problem.prompt + problem.canonical_solution + rest)
        assert not passes(problem.prompt + rest)

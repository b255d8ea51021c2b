"""A claim keeps others away while its claimant lives, and no longer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.store import Store
from servewatt.store.claims import Claim, Claimant, Held, lives, this_process
from servewatt.store.complaints import LostClaimError

HERE = Claimant("host", "boot-1", "pid:[1]", 100, 5000)


def proc(folder: Path, pid: int, started: int, state: str = "S") -> Path:
    """A /proc with one process, whose name is meant to confuse."""
    (folder / str(pid)).mkdir()
    fields = [state, *["0"] * 18, str(started), *["0"] * 10]
    (folder / str(pid) / "stat").write_text(f"{pid} (a ) b (c) {' '.join(fields)}\n")
    return folder


def claim(claimant: Claimant, expires_at: float = 1000.0) -> Claim:
    return Claim("plan", "token", claimant, "run", expires_at)


@pytest.mark.parametrize(
    ("claimant", "process", "held"),
    [
        (HERE, (100, 5000, "S"), True),
        (HERE, (100, 5000, "Z"), False),  # killed, and not yet waited for
        (HERE, (100, 5001, "S"), False),  # another process under its number
        (HERE, (101, 5000, "S"), False),
        (replace(HERE, boot="boot-0"), (100, 5000, "S"), False),  # the same host before it was booted again
    ],
)
def test_a_process_of_this_machine_is_looked_up_whatever_its_lease(
    tmp_path: Path, claimant: Claimant, process: tuple[int, int, str], held: bool
) -> None:
    found = proc(tmp_path, *process)
    assert lives(claim(claimant, expires_at=0.0), 500.0, HERE, found) is held
    assert lives(claim(claimant, expires_at=1000.0), 500.0, HERE, found) is held


@pytest.mark.parametrize(
    "claimant",
    [
        replace(HERE, host="another", boot="boot-9"),
        replace(HERE, namespace="pid:[2]"),  # a container on this host
        replace(HERE, boot="", namespace=""),  # nothing known
    ],
)
def test_elsewhere_only_the_lease_counts(tmp_path: Path, claimant: Claimant) -> None:
    found = proc(tmp_path, 7, 1)
    assert lives(claim(claimant), 999.0, HERE, found)
    assert not lives(claim(claimant), 1001.0, HERE, found)


def test_a_claim_is_held_renewed_and_given_back(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as one, Store.open(tmp_path / "a.db") as other:
        mine = one.claim("plan", 60.0)
        assert isinstance(mine, Claim)
        refused = other.claim("plan", 60.0)
        assert isinstance(refused, Held) and refused.by.token == mine.token
        assert isinstance(other.claim("another plan", 60.0), Claim)
        renewed = one.renew(mine, 60.0, "run-7")
        refused = other.claim("plan", 60.0)
        assert isinstance(refused, Held) and refused.by.run_id == "run-7"
        one.release(renewed)
        assert isinstance(other.claim("plan", 60.0), Claim)


CLAIMER = """
import sys, time
from servewatt.store import Store
from servewatt.store.claims import Claim
with Store.open(sys.argv[1]) as store:
    taken = isinstance(store.claim("plan", 3600.0), Claim)
    print(taken, flush=True)
    sys.stdin.read()
"""


def claimer(path: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", CLAIMER, str(path)],
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_processes_that_claim_at_once_one_gets_it_and_its_kill_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    several = [claimer(path) for _ in range(3)]
    said = [process.stdout.readline().strip() for process in several if process.stdout is not None]
    assert sorted(said) == ["False", "False", "True"]
    winner = several[said.index("True")]
    with Store.open(path) as store:
        held = store.claim("plan", 60.0)
        assert isinstance(held, Held) and held.by.claimant.pid == winner.pid
        winner.kill()
        winner.wait()
        assert isinstance(store.claim("plan", 60.0), Claim)
    for process in several:
        process.communicate("")


def test_one_that_lost_its_claim_is_told(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store:
        lapsed = store.claim("plan", -1.0)
        assert isinstance(lapsed, Claim)
        elsewhere = replace(lapsed, claimant=replace(this_process(), host="elsewhere", boot="other"))
        store.renew(elsewhere, -1.0, "run-1")
        assert isinstance(store.claim("plan", 60.0), Claim)
        with pytest.raises(LostClaimError, match="taken over run run-1"):
            store.renew(elsewhere, 60.0, "run-1")
        store.release(elsewhere)  # does not take the other's away
        assert isinstance(store.claim("plan", 60.0), Held)

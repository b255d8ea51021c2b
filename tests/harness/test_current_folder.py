"""What lies in the folder where the user works is neither imported nor run by a process that servewatt starts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import servewatt
from servewatt.engines.environments import doctor
from servewatt.harness.assess import Task, assess
from servewatt.harness.derive import derive
from servewatt.harness.runner import run_trials
from servewatt.harness.sampler import Sampler, SamplerOrder
from servewatt.harness.sandbox import Sandbox
from servewatt.harness.unit_tests import Examination, passes
from servewatt.processes.command import child_environment
from servewatt.records import Status, Via
from tests.harness.builders import QUICK, fake, model, run

NAMES = (
    "random",
    "numbers",
    "typing",
    "json",
    "signal",
    "pydantic",
    "uvicorn",
    "servewatt",
    "sitecustomize",
    "fnmatch",
)
TESTS = "import random\n\ndef check(f):\n    assert f() and random.random() < 1\n"
SOURCE = str(Path(servewatt.__file__).parents[1])


@pytest.fixture(params=["no PYTHONPATH of the user's", "an empty entry in PYTHONPATH"])
def ran(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the names of the user's files that were run; the current folder is full of such files."""
    here, ran = tmp_path / "here", tmp_path / "ran"
    here.mkdir()
    ran.mkdir()
    for name in NAMES:
        (here / f"{name}.py").write_text(
            f"open({str(ran / name)!r}, 'w')\nraise SystemExit('a file of the user, {name}')\n"
        )
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", SOURCE if request.param.startswith("no") else f":{SOURCE}:")
    return ran


@pytest.mark.parametrize("via", [Via.PROCESS, Via.HTTP])
def test_a_trial_with_its_sampler_and_server(ran: Path, tmp_path: Path, via: Via) -> None:
    (result,) = run_trials(run(tmp_path, [replace(fake(), via=via)], replace(QUICK, blocks=1)), [])
    assert result.status is Status.OK, result.reason + result.log
    assert result.utilisation
    assert not list(ran.iterdir())


def test_an_assessment(ran: Path, tmp_path: Path) -> None:
    said = assess(Task(model(tmp_path), fake(), ((1, 2),), 3, (), ()), timeout_s=60)
    assert said.status is Status.OK, said.reason
    assert not list(ran.iterdir())


def test_a_derivation(ran: Path, tmp_path: Path) -> None:
    derive(model(tmp_path), fake())
    assert not list(ran.iterdir())


def test_a_sampler(ran: Path) -> None:
    sampler = Sampler(SamplerOrder(os.getpid(), 0.05, ("fake",), None))
    assert sampler.stop().utilisation
    assert not list(ran.iterdir())


def test_a_program_that_is_tested(ran: Path) -> None:
    checked = Examination("import random\n\ndef f():\n", "    return random.random() < 1\n", TESTS, "f")
    assert passes(checked)
    assert passes(checked, sandbox=Sandbox("none", ()))
    assert not list(ran.iterdir())


def test_the_probe_of_an_engine(ran: Path) -> None:
    assert doctor.examine("fake").condition is doctor.Condition.OK
    assert not list(ran.iterdir())


def test_the_command_line_itself(ran: Path) -> None:
    if os.environ["PYTHONPATH"].startswith(":"):
        # Python itself runs a sitecustomize.py that its own PYTHONPATH leads to, before anything of ours.
        Path("sitecustomize.py").unlink()
    Path("servewatt.py").unlink()
    code = "from servewatt.cli.main import main; main(['doctor', '--help'])"
    for command in (["-P", "-c", code], ["-m", "servewatt", "doctor", "--help"]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert not list(ran.iterdir())


@pytest.mark.parametrize(
    ("given", "left"), [(None, None), ("", None), (":", None), (":/a::/b:", "/a:/b"), (".:/a", ".:/a")]
)
def test_only_named_folders_stay_in_the_python_path(given: str | None, left: str | None) -> None:
    found = child_environment({"HOME": "/h", **({} if given is None else {"PYTHONPATH": given})})
    assert found == {"HOME": "/h", "PYTHONSAFEPATH": "1", **({} if left is None else {"PYTHONPATH": left})}

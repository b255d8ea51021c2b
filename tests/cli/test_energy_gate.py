"""examples/energy-gate.yml: parsed as GitHub Actions does, its steps run in order in a folder of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import servewatt

FILE = Path(__file__).parents[2] / "examples" / "energy-gate.yml"
WORKFLOW: dict[str, Any] = yaml.safe_load(FILE.read_text())
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["energy"]["steps"]
_IF_MISSING = re.compile(r"\$\{\{ hashFiles\('([^']+)'\) == '' \}\}")


def test_it_is_a_workflow() -> None:
    # YAML 1.1 reads the key `on` as true.
    assert {str(key): value for key, value in WORKFLOW.items()}["True"] == ["pull_request"]
    assert all(("run" in step) != ("uses" in step) for step in STEPS)
    assert all("@v" in step["uses"] for step in STEPS if "uses" in step)
    assert not any(re.search(r"^\s*make\b", step.get("run", ""), re.MULTILINE) for step in STEPS)


def is_due(step: dict[str, Any], folder: Path) -> bool:
    """The one kind of condition that steps with commands have."""
    if "if" not in step:
        return True
    found = _IF_MISSING.fullmatch(step["if"])
    assert found is not None
    return not (folder / found[1]).exists()


def programs(folder: Path) -> Path:
    """A folder with a `servewatt` that is the one under test, with a meter that every machine has."""
    folder.mkdir()
    script = folder / "servewatt"
    added = 'case "$1" in run) set -- "$@" --meter fake;; esac'
    script.write_text(f'#!/bin/sh\n{added}\nexec "{sys.executable}" -P -m servewatt "$@"\n')
    script.chmod(0o755)
    return folder


def run_job(folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code of the first step that fails, else 0, and all that was said. Conditions hold at the job's beginning."""
    said = ""
    due = [step for step in STEPS if "run" in step and "pip install" not in step["run"] and is_due(step, folder)]
    for step in due:
        line = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(
            line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        said += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, said
    return 0, said


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="GitHub's runners have bash")
def test_its_steps_run(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    path = os.pathsep.join((str(programs(tmp_path / "bin")), os.environ["PATH"]))
    source = str(Path(servewatt.__file__).parents[1])
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": source,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    environment |= WORKFLOW["env"]
    # Whatever runs beside the tests must not fail them.
    environment["HOW"] = environment["HOW"].replace("--foreign-limit 0.5", "--foreign-limit 1")
    code, said = run_job(work, environment)
    assert code == 0, said
    assert json.loads((work / "energy-baseline.json").read_text())["format"] == "servewatt-baseline"
    verdict = json.loads((work / "energy.json").read_text())
    assert verdict["outcome"] in {"pass", "undecided"}, said
    assert [one["configuration"] for one in verdict["compared"]] == ["fake/cpu/fp32/b1/step_ms=5"]
    assert "### servewatt: " in (tmp_path / "summary.md").read_text()
    assert ElementTree.parse(work / "energy.xml").getroot().tag == "testsuites"
    assert json.loads((work / "energy-benchmark.json").read_text())[0]["unit"] == "J/token"
    # The change of a pull request that makes it worse: the baseline is there, and less is in it.
    baseline = json.loads((work / "energy-baseline.json").read_text())
    for costs in baseline["configurations"].values():
        costs["energy_j_per_token"] = [cost / 3 for cost in costs["energy_j_per_token"]]
    (work / "energy-baseline.json").write_text(json.dumps(baseline))
    code, said = run_job(work, environment)
    assert code == 1, said
    assert "Worse: 1 configuration takes more energy than the tolerance of 10 %" in said

"""CONTRIBUTING's three places for an engine, followed in a copy of the package; the toy engine is then measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ENTRY = '''"""Engine toy: what it needs, what it runs, its options."""

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import Option
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="toy",
    summary="Counts up from the sum of the prompt",
    target="servewatt.engines.toy.engine:ToyEngine",
    packages=("numpy",),
    extra="toy",
    supports=on(Provider.CPU, (Precision.FP32,)),
    options=(Option("step", ("1", "2"), "1", "By how much it counts."),),
    keeps_artefacts=False,
)
'''

ENGINE = '''"""The toy engine."""

import math
import time

from servewatt.engines.base import Step
from servewatt.engines.shared.host import cpu_threads
from servewatt.engines.shared.rows import Rows
from servewatt.engines.toy.entry import ENTRY
from servewatt.errors import RefusedError
from servewatt.records import Facts


class ToyEngine:
    def check(self, model, configuration):
        ENTRY.check_options(configuration)
        if model.architecture == "BloomForCausalLM":
            raise RefusedError(f"{model.name}: toy cannot count in Bloom", "use engine torch")

    def prepare(self, model, configuration, artefacts):
        self.check(model, configuration)

    def load(self, model, configuration, artefacts):
        self.check(model, configuration)
        return ToySession(model, configuration)


class ToySession:
    def __init__(self, model, configuration):
        self._model, self._configuration = model, configuration
        self._by = int(dict(configuration.options).get("step", "1"))

    def generate(self, prompts, max_new_tokens, stop_ids=frozenset()):
        rows = Rows(len(prompts), stop_ids)
        for produced in range(max_new_tokens):
            time.sleep(0.001)
            tokens = [(sum(p) + self._by * produced) % self._model.vocabulary_size for p in prompts]
            yield rows.step(tokens, time.monotonic())
            if rows.over:
                return

    def log_probabilities(self, rows):
        return [[-math.log(self._model.vocabulary_size)] * (len(row) - 1) for row in rows]

    def synchronize(self):
        pass

    def facts(self):
        return Facts(
            engine_version="1",
            devices=(("cpu", 1),),
            weight_dtypes=(("fp32", self._model.weight_bytes),),
            compute_dtype="fp32",
            kv_cache=True,
            kv_cache_dtype="fp32",
            threads=cpu_threads(self._configuration),
        )

    def peak_device_bytes(self):
        return None

    def close(self):
        pass
'''


def places(what: str) -> int:
    """How many places CONTRIBUTING says that an addition touches."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| \[?an? {what}\]?[^|]*\| (\d+)", page, re.MULTILINE)
    assert row, f"no row of {what}"
    return int(row[1])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package with the toy engine added, step by step."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    touched = []

    folder = tmp_path / "src/servewatt/engines/toy"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Engine toy."""\n', encoding="utf-8")
    (folder / "entry.py").write_text(ENTRY, encoding="utf-8")
    (folder / "engine.py").write_text(ENGINE, encoding="utf-8")
    touched.append(folder)

    table = tmp_path / "src/servewatt/engines/table.py"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace('    "fake",\n', '    "toy",\n    "fake",\n'), encoding="utf-8")
    touched.append(table)

    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = project.replace("[project.optional-dependencies]\n", '[project.optional-dependencies]\ntoy = ["numpy"]\n')
    (tmp_path / "pyproject.toml").write_text(extra, encoding="utf-8")
    touched.append(tmp_path / "pyproject.toml")

    assert len(touched) == places("engine") == 3
    return tmp_path


def servewatt(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(copy / "src"), "XDG_DATA_HOME": str(copy / "data")}
    variables["XDG_CACHE_HOME"] = str(copy / "cache")
    command = [sys.executable, "-m", "servewatt", *arguments]
    return subprocess.run(command, env=variables, cwd=copy, capture_output=True, text=True, timeout=120, check=False)


def test_an_engine_is_three_places(copy: Path) -> None:
    told = servewatt(copy, "engines", "show", "toy")
    assert told.returncode == 0, told.stderr
    assert "By how much it counts." in " ".join(told.stdout.split())
    procedure = {"blocks": 1, "settle_s": 0, "idle_s": 0.1, "window_s": 0.2, "warmup_s": 0.05, "foreign_limit": 1.0}
    study = {
        "workload": {"prompts": "bundled:2", "new_tokens": 4},
        "configurations": {"engines": ["toy"], "providers": ["cpu"], "options": {"step": "2"}},
        "procedure": {**procedure, "meters": ["fake"]},
    }
    (copy / "study.yaml").write_text(json.dumps(study), encoding="utf-8")
    ran = servewatt(copy, "run", "study.yaml", "--report", "out")
    assert "toy/cpu/fp32/b1/step=2" in ran.stdout, ran.stderr
    assert ran.returncode == 0, ran.stderr
    document = json.loads((copy / "out/report.json").read_text(encoding="utf-8"))
    assert document["recommendation"]["choice"]["engine"] == "toy"


def test_its_checks_are_asked_at_plan_time_and_its_extra_is_named(copy: Path) -> None:
    quick = ["--prompts", "bundled:1", "--new-tokens", "2", "--meter", "fake", "--plan"]
    refused = servewatt(copy, "run", "--engine", "toy", "--option", "step=3", *quick)
    assert refused.returncode == 2
    assert "option step cannot be '3'" in refused.stderr
    broken = copy / "src/servewatt/engines/toy/entry.py"
    broken.write_text(ENTRY.replace('"numpy",', '"no-such-package",'), encoding="utf-8")
    missing = servewatt(copy, "run", "--engine", "toy", *quick)
    assert missing.returncode != 0
    assert "servewatt[toy]" in missing.stderr


@pytest.mark.parametrize(("what", "count"), [("meter", 2), ("command", 2), ("column", 1), ("architecture", 1)])
def test_the_other_additions_are_listed(what: str, count: int) -> None:
    assert places(what) == count

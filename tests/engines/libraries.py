"""Engines that servewatt keeps in environments of their own, made importable for tests, or skipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from servewatt import engines, wire
from servewatt.records import Configuration

_MODULES = {
    "ctranslate2": ("ctranslate2",),
    "llama-cpp": ("llama_cpp", "gguf"),
    "onnxruntime-genai": ("onnxruntime_genai",),
    "openvino-genai": ("openvino_genai",),
}


@cache
def missing(engine: str) -> str:
    """Why `engine` cannot run here, with the command that mends it; empty if it can.

    What is not installed beside servewatt is taken from the environment that `servewatt engines add` built, behind
    everything else in the path: tests compare with transformers, so all must be in one process. To be called while
    tests are collected, as each of them has a home of its own.
    """
    if all(find_spec(module) for module in _MODULES[engine]):
        return ""
    known = engines.entry(engine)
    environment = known.environment()
    if environment is None:
        return f"not installed: {known.install_line}"
    if environment.problem:
        return f"{environment.problem}: {known.install_line}"
    packages = environment.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    if not packages.is_dir():
        return f"its environment has another Python: {known.install_line} --rebuild --python {sys.executable}"
    sys.path.append(str(packages))
    return ""


def require(engine: str) -> None:
    """Skip the module that calls this where `engine` cannot run."""
    if reason := missing(engine):
        pytest.skip(f"engine {engine}: {reason}", allow_module_level=True)


def variables() -> dict[str, str]:
    """Environment variables for a Python that a test starts, to import what this one does; threads are its own."""
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return own | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


def with_session(
    code: str, configuration: Configuration, folder: Path, artefacts: Path
) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own, where `session` is the model in `folder` loaded as `configuration` asks."""
    begin = (
        "import sys; from pathlib import Path; from servewatt import engines, wire;"
        "from servewatt.records import Configuration; from tests.engines.tiny import FolderArtefacts, model_of;"
        "asked, folder, artefacts = sys.argv[1:]; asked = wire.load(Configuration, asked);"
        "model, artefacts = model_of(Path(folder)), FolderArtefacts(Path(artefacts));"
        "session = engines.create(asked.engine).load(model, asked, artefacts);"
    )
    return _python(begin + code, wire.dump(configuration), str(folder), str(artefacts))


def imported_with(engine: str, *modules: str) -> list[str]:
    """Those of `modules` that a process has imported once it has created `engine`."""
    code = (
        "import json, sys; from servewatt import engines; engines.create(sys.argv[1]);"
        "print(json.dumps([module for module in sys.argv[2:] if module in sys.modules]))"
    )
    done = _python(code, engine, *modules)
    assert done.returncode == 0, done.stderr
    imported: list[str] = json.loads(done.stdout)
    return imported


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=variables(),
    )


def each_of(*names: str) -> list[object]:
    """Engines as values of a parameter; those that cannot run here are skipped."""
    return [
        pytest.param(name, marks=pytest.mark.skip(f"engine {name}: {missing(name)}"))
        if name in _MODULES and missing(name)
        else name
        for name in names
    ]

"""What of servewatt's dependencies goes into an engine's environment."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from servewatt.engines.environments.state import PARENT_ONLY, worker_requirements

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            raise ImportError(name + " is not for workers")
sys.meta_path.insert(0, Blocker())
import servewatt.harness.worker, servewatt.harness.sampler, servewatt.harness.derive, servewatt.harness.through_http
import servewatt.serve.server, servewatt.serve.app, servewatt.engines.environments.probe
from servewatt.models.cache import ArtefactCache
from servewatt import engines
for name in engines.ENGINES: engines.create(name)
"""


def test_workers_get_the_versions_that_run_here_and_none_that_the_engine_pins() -> None:
    needed = worker_requirements()
    assert f"numpy=={metadata.version('numpy')}" in needed
    assert f"uvicorn=={metadata.version('uvicorn')}" in needed
    assert not any(name.startswith(("torch", "click", "pytest")) for name in needed)
    left = worker_requirements(["NumPy==1.26.4", "vllm==0.24"])
    assert set(needed) - set(left) == {f"numpy=={metadata.version('numpy')}"}


def test_a_worker_imports_none_of_the_packages_that_are_left_out() -> None:
    modules = {"altair", "click", "huggingface_hub", "jinja2", "rich", "sqlalchemy", "tokenizers", "vl_convert", "yaml"}
    assert len(modules) == len(PARENT_ONLY)
    # Engines of servewatt's own environment may import what they like; here they are only looked at.
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=modules)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

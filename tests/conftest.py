from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from servewatt.engines.shared.host import usable_cpus

WORKER_BYTES = 2 << 30
"""More than a process holds that tests every engine."""
MOST_WORKERS = 8
"""Each exports its models and imports its libraries anew, so that more gain little."""

# A machine under load is no failure, and a failure found must come again.
settings.register_profile("servewatt", deadline=None, derandomize=True)
settings.load_profile("servewatt")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes side by side share the cores; libraries that take all of them for each slow all down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers() -> int:
    """Workers of `pytest -n auto`."""
    by_memory = psutil.virtual_memory().available // WORKER_BYTES
    return max(1, min(usable_cpus(), by_memory, MOST_WORKERS))


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's cache, results and configuration."""
    home = tmp_path_factory.mktemp("home")
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    return home

"""Several processes with one plan and one store at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from servewatt.records import Status
from servewatt.store import Store
from tests.cli.test_run import quick_file


def start(file: str, folder: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from servewatt.cli.main import main; main()", "run", file]
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen(command, stdout=out, stderr=err, env=dict(os.environ))


def said(folder: Path, name: str) -> str:
    return (folder / f"{name}.err").read_text()


def await_text(folder: Path, name: str, text: str) -> None:
    deadline_s = time.monotonic() + 120
    while text not in said(folder, name):
        assert time.monotonic() < deadline_s, said(folder, name)
        time.sleep(0.05)


def test_others_wait_and_go_on_where_a_killed_one_stopped(tmp_path: Path) -> None:
    file = quick_file(tmp_path)
    first = start(file, tmp_path, "first")
    with Store.open() as store:
        deadline_s = time.monotonic() + 120
        while not (runs := store.runs()) or not store.results(runs[0].id):
            assert time.monotonic() < deadline_s, said(tmp_path, "first")
            time.sleep(0.05)
    others = {name: start(file, tmp_path, name) for name in ("second", "third")}
    for name in others:
        await_text(tmp_path, name, "another servewatt is measuring the same plan as run")
        assert f"(process {first.pid} on " in said(tmp_path, name)
    first.kill()
    first.wait()
    for name, process in others.items():
        assert process.wait(timeout=240) == 0, said(tmp_path, name)
        assert said(tmp_path, name).count("waiting until it ends") <= 2
        assert "fake/cpu/fp32/b2" in (tmp_path / f"{name}.out").read_text()
    with Store.open() as store:
        (only,) = store.runs()
        results = store.results(only.id)
    assert sorted((r.trial.block, r.trial.configuration.batch) for r in results if r.status is Status.OK) == [
        (block, batch) for block in range(3) for batch in (1, 2)
    ]
    reports = [(tmp_path / f"{name}.out").read_text() for name in others]
    assert reports[0] == reports[1]

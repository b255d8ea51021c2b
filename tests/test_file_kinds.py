"""What a file of results is, told from its content."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from servewatt.file_kinds import recognise

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["run.json.gz", "whatever.parquet", "with space"])
def test_a_run_s_export_under_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    shutil.copy(ROOT / "examples" / "h200-bundled.json.gz", path)
    found = recognise(path)
    assert found is not None and found[0] == "a run's export"
    assert ("'" in found[1]) == (" " in name)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert recognise(path) == found


def test_a_study_s_results_file() -> None:
    found = recognise(ROOT / "results" / "h200.parquet")
    assert found is not None and found[0] == "a study's results file"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]\n",
        b"[" * 100_000,
        b"PAR1PAR1",
        b"\x1f\x8bbroken",
        gzip.compress(b"text", mtime=0),
        gzip.compress(b"x" * 99, mtime=0)[:20],
    ],
    ids=["empty", "object", "list", "deep", "parquet's sign", "gzip's sign", "text in gzip", "gzip cut short"],
)
def test_other_files_are_neither(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert recognise(tmp_path / "file") is None
    assert recognise(tmp_path / "missing") is None


def test_a_pipe_is_not_looked_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert recognise(tmp_path / "pipe") is None

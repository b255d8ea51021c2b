"""A disk that fills up while a file is written: the error says so, and what was there before is untouched."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.cli.study import files
from servewatt.errors import InputError
from servewatt.experiment import quality_file
from servewatt.study.data import results_file
from servewatt.study.data.results_file import Results
from tests.stats.builders import TORCH
from tests.stats.test_quality import quality
from tests.study.builders import small

RUN = str(Path(__file__).parents[2] / "examples" / "h200-bundled.json.gz")
ROOM_BYTES = 100


@contextmanager
def full_disk() -> Iterator[None]:
    """The system stops every write to a file after some bytes, as it does where the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("option", ["--html", "--csv", "--summary-csv", "--latex", "--export", "--figures", "--folder"])
def test_a_report_that_does_not_fit_leaves_the_old_one(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "report"
    assert run(["report", RUN, option, str(target)]) == 0
    before = contents(tmp_path)
    assert before
    capsys.readouterr()
    with full_disk():
        assert run(["report", RUN, option, str(target)]) == 2
    assert f"error: cannot write {target}" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_a_figure_that_does_not_fit_leaves_nothing(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"x.{suffix}"
    with full_disk():
        assert run(["study", "tables", "--published", "--figure", "size-groups", "--out", str(out)]) == 2
    assert f"error: cannot write {out}" in capsys.readouterr().err
    assert contents(tmp_path) == {}


def test_the_tables_of_a_study_that_do_not_fit_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_disk():
        assert run(["study", "tables", "--published", "--folder", str(tmp_path)]) == 2
    assert f"error: cannot write to {tmp_path}" in capsys.readouterr().err
    assert contents(tmp_path) == {}


def test_collected_results_that_do_not_fit_leave_the_old_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.parquet"
    results_file.write(out, Results(small(), ()))
    before = contents(tmp_path)
    with full_disk():
        assert run(["study", "collect", "--out", str(out), "--add", str(out), RUN]) == 2
    assert f"error: cannot write {out}" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_quality_and_selections_that_do_not_fit_leave_the_old_ones(tmp_path: Path) -> None:
    found, file = quality("2026-01-01T00:00:00+00:00", (TORCH, 1.0)), tmp_path / "quality.json"
    quality_file.write(found, file)
    with full_disk(), pytest.raises(InputError, match="cannot write"):
        quality_file.write(found, file)
    with full_disk(), pytest.raises(InputError, match="cannot write"):
        files.write_text(file, "x" * (ROOM_BYTES + 1))
    assert quality_file.read(file) == found
    assert list(tmp_path.iterdir()) == [file]


def test_a_figure_leaves_files_of_similar_names_alone(tmp_path: Path) -> None:
    other = tmp_path / "x.svg"
    other.write_text("mine")
    assert run(["study", "tables", "--published", "--figure", "size-groups", "--out", str(tmp_path / "x.SVG")]) == 0
    assert other.read_text() == "mine"

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.errors import InputError, StoreError
from servewatt.records import Status
from servewatt.store import read_file, read_qualities, write_file
from tests.stats.builders import ONNX, TORCH, failed, result, results_at, run, run_at
from tests.stats.test_quality import quality

# A file does not say where the model lies.
RUN = run_at("", run())
RESULTS = tuple(
    results_at("", [result(TORCH, 0), result(ONNX, 0), failed(ONNX, 1, Status.CRASHED, "killed by SIGSEGV")])
)


@pytest.mark.parametrize("name", ["run.json.gz", "run.jsonl", "run"])
def test_a_file_gives_back_what_was_written(tmp_path: Path, name: str) -> None:
    write_file(tmp_path / name, RUN, RESULTS)
    assert read_file(tmp_path / name) == (RUN, RESULTS)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_where_the_model_lies_stays_at_home(tmp_path: Path) -> None:
    found = quality("2026-01-01T00:00:00+00:00", (TORCH, 1.0))
    # As records of quality were once made.
    with_place = replace(found, model=replace(found.model, folder="/home/someone"))
    there = run_at("/home/someone", RUN), results_at("/home/someone", RESULTS)
    write_file(tmp_path / "run.jsonl", *there, [with_place])
    assert "someone" not in (tmp_path / "run.jsonl").read_text()
    assert read_file(tmp_path / "run.jsonl") == (RUN, RESULTS)
    assert read_qualities(tmp_path / "run.jsonl") == (found,)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    write_file(tmp_path / "a.json.gz", RUN, RESULTS)
    write_file(tmp_path / "b.json.gz", RUN, RESULTS)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_prompts_are_kept_once_and_other_work_is_kept_as_it_is(tmp_path: Path) -> None:
    (other,) = results_at("", [result(TORCH, 1)])
    other = replace(other, trial=replace(other.trial, workload=replace(other.trial.workload, prompts=((7, 8),))))
    path = tmp_path / "run.jsonl"
    write_file(path, RUN, (*RESULTS, other))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1]["plan"]["workload"]["prompts"] == [[1, 2, 3], [4, 5]]
    assert lines[2]["trial"]["workload"]["prompts"] == []
    assert lines[5]["trial"]["workload"]["prompts"] == [[7, 8]]
    assert read_file(path)[1][-1] == other


def test_a_file_without_results(tmp_path: Path) -> None:
    write_file(tmp_path / "run.json.gz", RUN, ())
    assert read_file(tmp_path / "run.json.gz") == (RUN, ())


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write_file(path, RUN, RESULTS)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match="cut short: 2 of 3"):
        read_file(path)
    path.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    with pytest.raises(InputError, match="damaged"):
        read_file(path)


@pytest.mark.parametrize("keep", [20, 200, -8, -1])
def test_a_compressed_file_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "run.json.gz"
    write_file(path, RUN, RESULTS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged"):
        read_file(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run.json.gz"
    write_file(path, RUN, RESULTS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_file(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"{}", b"[1]", b"\xff\xfe\x00", gzip.compress(b"PNG", mtime=0), b"null\n"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a servewatt run file"):
        read_file(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_file(tmp_path / "absent.json.gz")
    with pytest.raises(InputError, match="is a folder"):
        read_file(tmp_path)


@pytest.mark.parametrize(
    ("field", "what"), [("format_version", "run file of version 99"), ("record_version", "records")]
)
def test_newer_files_are_refused_with_the_way_out(tmp_path: Path, field: str, what: str) -> None:
    path = tmp_path / "run.jsonl"
    write_file(path, RUN, RESULTS)
    header, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(header) | {field: 99}), *rest]))
    with pytest.raises(StoreError, match=what) as caught:
        read_file(path)
    assert "upgrade" in caught.value.hint


def test_fields_of_a_later_program_with_the_same_version_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write_file(path, RUN, RESULTS)
    header, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, json.dumps(json.loads(first) | {"added_later": 1}), *rest]))
    assert read_file(path)[0] == RUN


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        write_file(tmp_path / "no" / "run.json.gz", RUN, RESULTS)
    path = tmp_path / "run.json.gz"
    write_file(path, RUN, RESULTS)
    with pytest.raises(InputError, match="run run-2"):
        write_file(path, RUN, (result(run_id="run-2"),))
    assert read_file(path) == (RUN, RESULTS)


def test_quality_travels_in_the_header_so_that_older_programs_read_the_rest(tmp_path: Path) -> None:
    file, found = tmp_path / "run.jsonl", quality("2026-01-01T00:00:00+00:00", (TORCH, 1.0))
    write_file(file, RUN, RESULTS, [found])
    assert read_qualities(file) == (found,)
    assert read_file(file) == (RUN, RESULTS)
    header, *others = file.read_text().splitlines()
    assert len(others) == 1 + len(RESULTS)
    content = json.loads(header)
    assert content["format_version"] == 1
    # What a version before quality wrote.
    del content["quality"]
    file.write_text("\n".join([json.dumps(content), *others]) + "\n")
    assert read_qualities(file) == ()
    assert read_file(file) == (RUN, RESULTS)


def test_another_model_s_quality_is_refused(tmp_path: Path) -> None:
    stranger = replace(quality("", (TORCH, 1.0)), model=replace(RUN.plan.model, revision="1"))
    with pytest.raises(InputError, match="another model"):
        write_file(tmp_path / "run.jsonl", RUN, RESULTS, [stranger])

"""What cannot be read is told, and hides nothing else."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from servewatt.cli.main import run as servewatt
from servewatt.errors import StoreError
from servewatt.records import Status
from servewatt.store import Store, StoreReader
from tests.stats.builders import MODEL, ONNX, TORCH, result, run
from tests.stats.test_quality import quality

OLD = run(id_="old", created_at="2026-01-01T00:00:00+00:00")
NEW = run(id_="new", created_at="2026-02-01T00:00:00+00:00")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two runs of three blocks of two configurations; `new` is the newer."""
    place = tmp_path / "results.db"
    with Store.open(place) as store:
        for each in (OLD, NEW):
            store.create_run(each)
            for block in range(3):
                for configuration in (TORCH, ONNX):
                    store.append(result(configuration, block, run_id=each.id))
    return place


def change(path: Path, sql: str, *parameters: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql, parameters)
        connection.commit()


def settle_null(plan: str) -> str:
    """The plan as an earlier version stored an infinite pause."""
    content = json.loads(plan)
    content["procedure"]["settle_s"] = None
    return json.dumps(content)


def unknown_provider(plan: str) -> str:
    content = json.loads(plan)
    content["configurations"][0]["provider"] = "abacus"
    return json.dumps(content)


@pytest.mark.parametrize(
    ("column", "changed", "reason"),
    [
        ("plan", settle_null, "settle_s"),
        ("plan", unknown_provider, "provider"),
        ("plan", lambda text: text[:100], "EOF"),
        ("plan", lambda text: b"\xff\xfe" + text.encode(), "damaged"),
        ("plan", lambda _: 7, "not a Plan record"),
        ("environment", lambda _: "[]", "not a Environment record"),
        ("record_version", lambda _: 99, "records of version 99"),
        ("record_version", lambda _: "many", "no known version"),
        ("created_at", lambda _: b"\x00", "a column is not text"),
    ],
)
def test_a_damaged_run_hides_no_other(
    path: Path, column: str, changed: Callable[[str], object], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (content,) = connection.execute(f"select {column} from runs where id = 'new'").fetchone()
    change(path, f"update runs set {column} = ? where id = 'new'", changed(content))
    store = ["--store", str(path)]

    assert servewatt(["report", "latest", *store]) == 0
    told = capsys.readouterr()
    assert "torch/cpu/fp32/b1" in told.out
    if column != "created_at":  # without its time it is not the newest
        assert "warning: run new cannot be read and is left out" in told.err
        assert reason in told.err
    assert servewatt(["recommend", *store]) in (0, 1)
    assert capsys.readouterr().out

    assert servewatt(["report", "--list", *store]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "old 2026-01-01T00:00:00+00:00" in listed
    assert "damaged: new," in listed
    assert reason in listed
    assert servewatt(["report", "--list", "--json", *store]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert reason in rows["new"]["damaged"]
    assert "damaged" not in rows["old"]

    assert servewatt(["report", "new", *store]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: run new cannot be read: ")
    assert "servewatt report --list" in hint


def test_a_store_whose_only_run_is_damaged_says_why(path: Path) -> None:
    change(path, "update runs set plan = '{'")
    with StoreReader.open(path) as reader:
        assert reader.runs() == []
        assert {d.run_id for d in reader.damaged} == {"old", "new"}
        with pytest.raises(StoreError, match="run new cannot be read"):
            reader.run()


def of_another_trial(content: bytes) -> bytes:
    return zlib.compress(zlib.decompress(content).replace(b'"run_id":"new"', b'"run_id":"else"'))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (lambda _: b"\x00\xff", "header"),
        (lambda content: content[:-20], "incomplete"),
        (lambda _: zlib.compress(b"{}"), "not a Result record"),
        (lambda _: "text", "bytes-like"),
        (of_another_trial, "record of another trial"),
    ],
)
def test_a_damaged_trial_is_told_and_the_run_still_shown(
    path: Path, changed: Callable[[bytes], object], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        number, content = connection.execute(
            "select number, result from trials where run_id = 'new' and block = 1 and engine = 'onnx'"
        ).fetchone()
    change(path, "update trials set result = ? where number = ?", changed(content), number)
    change(path, "delete from briefs")  # as in a store of an earlier version
    assert servewatt(["report", "new", "--json", "--store", str(path)]) == 0
    told = capsys.readouterr()
    assert "warning: trial onnx/cpu/fp32/b1 of block 1 (attempt 0) of run new cannot be read" in told.err
    assert reason in told.err
    blocks = {s["configuration"]["engine"]: s["blocks"] for s in json.loads(told.out)["analysis"]["summaries"]}
    assert blocks == {"torch": 3, "onnx": 2}
    with StoreReader.open(path) as reader:
        run_ = reader.run("new")
        found = reader.results(run_.id, with_samples=True, skip_damaged=True)
    # It stands there as invalid, so that the next command measures it again under the next attempt's number.
    assert [(r.trial.block, r.trial.attempt) for r in found if r.status is Status.INVALID] == [(1, 0)]


def test_damaged_samples_cost_no_result(path: Path) -> None:
    change(path, "update samples set content = x'00' where trial = 8")
    with StoreReader.open(path) as reader:
        found = reader.results(reader.run("new").id, with_samples=True, skip_damaged=True)
        assert [bool(r.power) for r in found] == [True, False, True, True, True, True]
        assert [d.what[:10] for d in reader.damaged] == ["samples of"]


def test_damaged_quality_costs_no_report(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(path) as store:
        store.add_quality(quality("2026-01-01T00:00:00+00:00", (TORCH, 1.0)))
    change(path, "update qualities set content = '{'")
    assert servewatt(["report", "--store", str(path)]) == 0
    assert "warning: quality of bundled cannot be read" in capsys.readouterr().err
    with StoreReader.open(path) as reader, pytest.raises(StoreError, match="quality of bundled"):
        reader.qualities(MODEL)


def test_of_a_file_with_damaged_pages_what_can_be_read_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Store.open(path) as store:
        store.create_run(NEW)
        for block in range(200):
            store.append(result(TORCH, block, run_id="new"))
    content = bytearray(path.read_bytes())
    # Leaves of the table (0x0d) that hold trials: their configuration stands there as text.
    leaves = [
        place
        for place in range(4096, len(content), 4096)
        if content[place] == 0x0D and b"torch/cpu/fp32/b1" in content[place : place + 4096]
    ]
    spoilt = leaves[len(leaves) // 2]
    content[spoilt : spoilt + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with StoreReader.open(path) as reader:
        found = reader.results(reader.run().id, skip_damaged=True)
    blocks = [r.trial.block for r in found]
    assert 150 < len(blocks) < 200
    assert blocks == sorted(set(blocks))

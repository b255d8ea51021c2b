from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from servewatt.errors import InputError, ServewattError, StoreError
from servewatt.records import Slice, Status, Weights
from servewatt.store import Store, StoreReader, migrations, read_qualities, sqlite_file
from tests.stats.builders import MODEL, ONNX, TORCH, failed, result, results_at, run, run_at
from tests.stats.test_quality import quality

RUN = run()
NEXT = migrations.SCHEMA_VERSION + 1
RESULTS = [result(TORCH, 0), result(ONNX, 0), failed(ONNX, 1, Status.CRASHED, "killed by SIGSEGV")]


def bare(results: list[Any]) -> list[Any]:
    return [replace(r, power=(), utilisation=()) for r in results]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def filled(store: Store) -> Store:
    store.create_run(RUN)
    for each in RESULTS:
        store.append(each)
    return store


def test_results_come_back_as_they_were_and_in_order(filled: Store) -> None:
    assert filled.results("run-1", with_samples=True) == RESULTS
    assert filled.results("run-1") == bare(RESULTS)
    assert filled.run("run-1") == RUN


def test_results_outlast_the_process(filled: Store, path: Path) -> None:
    filled.close()
    with Store.open(str(path)) as again:
        assert again.results("run-1", with_samples=True) == RESULTS
        again.append(result(TORCH, 1))
        assert len(again.results("run-1")) == 4


def test_runs_are_found_newest_first(store: Store) -> None:
    assert store.runs() == []
    assert store.find_run(RUN.plan.digest) is None
    older = run(id_="a-old", created_at="2025-01-01T00:00:00+00:00")
    newer = run(id_="a-new", created_at="2026-06-01T00:00:00+00:00")
    other = run(id_="b", created_at="2026-03-01T00:00:00+00:00")
    other = replace(other, plan=replace(other.plan, procedure=replace(other.plan.procedure, seed=9)))
    for each in (newer, older, other):
        store.create_run(each)
    assert [r.id for r in store.runs()] == ["a-new", "b", "a-old"]
    assert store.run().id == store.run("latest").id == "a-new"
    assert store.find_run(RUN.plan.digest) == newer
    assert store.find_run(other.plan.digest) == other
    assert store.find_run(RUN.plan.digest, newer.environment.fingerprint) == newer
    assert store.find_run(RUN.plan.digest, "another machine") is None


def test_a_run_by_the_beginning_of_its_id(store: Store) -> None:
    with pytest.raises(InputError, match="no run yet"):
        store.run()
    for id_ in ("20260102-abc", "20260102-abd", "20260102-ab"):
        store.create_run(run(id_=id_))
    assert store.run("20260102-abc").id == "20260102-abc"
    assert store.run("20260102-ab").id == "20260102-ab"
    with pytest.raises(InputError, match="3 runs begin with 2026"):
        store.run("2026")
    with pytest.raises(InputError, match="there is no run 20260102-abx") as caught:
        store.run("20260102-abx")
    assert "did you mean" in caught.value.hint
    assert "20260102-ab" in caught.value.hint
    with pytest.raises(InputError):
        store.results("nonsense")


def test_a_trial_is_stored_once(filled: Store) -> None:
    with pytest.raises(StoreError, match="already holds"):
        filled.append(RESULTS[0])
    with pytest.raises(StoreError, match="already holds"):
        filled.create_run(RUN)
    filled.append(result(TORCH, 0, attempt=1))
    assert len(filled.results("run-1")) == 4


def test_a_result_of_no_run_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="no run yet"):
        store.append(RESULTS[0])
    store.create_run(run(id_="run-12"))
    with pytest.raises(InputError, match="not the whole id"):
        store.append(RESULTS[0])


def test_columns_for_sql(filled: Store, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "select configuration, status, tokens_out, sum(energy_j) from trials"
            " join sections on sections.trial = trials.number"
            " join energies on energies.trial = trials.number and energies.section = sections.name"
            " where sections.name = 'generate' and counted group by trials.number"
        ).fetchall()
        mode = connection.execute("pragma journal_mode").fetchone()
    connection.close()
    assert rows == [("torch/cpu/fp32/b1", "ok", 40, 120.0), ("onnx/cpu/fp32/b1", "ok", 40, 120.0)]
    assert mode == ("wal",)


def test_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with Store.open():
        assert (tmp_path / "data" / "servewatt" / "results.db").is_file()


@pytest.mark.parametrize("name", ["with space.db", "what?.db", "a#b%20.db", "sub/folder/x.db"])
def test_any_path_is_a_store(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / name) as opened:
        opened.create_run(RUN)
    assert (tmp_path / name).is_file()


def test_a_store_by_url(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/by-url.db") as opened:
        opened.create_run(RUN)
    with StoreReader.open(tmp_path / "by-url.db") as opened:
        assert opened.run() == RUN


def test_export_and_import(filled: Store, tmp_path: Path) -> None:
    filled.export_run("latest", tmp_path / "run.json.gz")
    with Store.open(tmp_path / "other.db") as other:
        assert other.import_run(tmp_path / "run.json.gz") == run_at("", RUN)
        assert other.results("run-1", with_samples=True) == results_at("", RESULTS)
        with pytest.raises(StoreError, match="already holds"):
            other.import_run(tmp_path / "run.json.gz")
        assert len(other.results("run-1")) == 3


def test_quality_comes_back_newest_first_and_of_just_these_weights(store: Store, path: Path) -> None:
    older = quality("2026-01-01T00:00:00+00:00", (TORCH, 1.0), (ONNX, 1.01))
    newer = quality("2026-01-02T00:00:00+00:00", (TORCH, 1.0))
    for each in (newer, older, newer):  # the very same is kept once
        store.add_quality(each)
    assert store.qualities(MODEL) == [newer, older]
    assert store.qualities(replace(MODEL, revision="f" * 64)) == []
    assert store.qualities(replace(MODEL, weights=Weights.RANDOM)) == []
    with StoreReader.open(path) as reader:
        assert reader.qualities(MODEL) == [newer, older]
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "select created_at, configuration, perplexity_ratio, equal_share, pass_rate from assessments"
            " join qualities on qualities.number = assessments.quality order by created_at, perplexity_ratio"
        ).fetchall()
    assert rows == [
        ("2026-01-01T00:00:00+00:00", "torch/cpu/fp32/b1", 1.0, 0.75, None),
        ("2026-01-01T00:00:00+00:00", "onnx/cpu/fp32/b1", 1.01, 0.75, None),
        ("2026-01-02T00:00:00+00:00", "torch/cpu/fp32/b1", 1.0, 0.75, None),
    ]


def test_an_exported_run_carries_its_model_s_quality(filled: Store, tmp_path: Path) -> None:
    found = quality("2026-01-01T00:00:00+00:00", (TORCH, 1.0))
    filled.add_quality(found)
    filled.export_run("latest", tmp_path / "run.json.gz")
    assert read_qualities(tmp_path / "run.json.gz") == (found,)
    with Store.open(tmp_path / "other.db") as other:
        other.add_quality(found)
        other.import_run(tmp_path / "run.json.gz")
        assert other.qualities(MODEL) == [found]


def test_quality_of_a_newer_version_is_refused(store: Store) -> None:
    store.add_quality(replace(quality("", (TORCH, 1.0)), quality_version=99))
    with pytest.raises(StoreError, match="quality of version 99"):
        store.qualities(MODEL)


# --- what goes wrong ---------------------------------------------------------------------------------------------


def refused(place: str | Path, **options: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        Store.open(place, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def test_a_reader_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results store"):
        StoreReader.open(tmp_path / "absent.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("as_url", [False, True])
def test_a_reader_sees_what_was_stored(filled: Store, path: Path, as_url: bool) -> None:
    with StoreReader.open(f"sqlite:///{path}" if as_url else path) as reader:
        assert reader.runs() == [RUN]
        assert reader.run("run") == RUN
        assert reader.results("run-1", with_samples=True) == RESULTS
        assert reader.results("run-1") == bare(RESULTS)
        assert reader.find_run(RUN.plan.digest, RUN.environment.fingerprint) == RUN
        assert reader.find_run(RUN.plan.digest, "another machine") is None


def test_a_reader_reads_a_read_only_store(filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.close()
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: mode != os.W_OK and real(p, mode))
    with StoreReader.open(path) as reader:
        assert reader.results("run-1", with_samples=True) == RESULTS


def test_a_reader_brings_an_older_store_up_to_date(filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.close()
    for module in (migrations, sqlite_file):
        monkeypatch.setattr(module, "SCHEMA_VERSION", NEXT)
    monkeypatch.setattr(migrations, "STEPS", {NEXT: lambda connection: None})
    with StoreReader.open(path) as reader:
        assert reader.results("run-1", with_samples=True) == RESULTS
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select version from servewatt_schema").fetchall() == [(NEXT,)]


def test_reading_a_file_does_without_sqlalchemy(filled: Store, path: Path) -> None:
    code = (
        "import sys; from servewatt.store import StoreReader\n"
        "with StoreReader.open(sys.argv[1]) as reader: assert len(reader.results(reader.run().id)) == 3\n"
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0


def test_places_that_cannot_be_stores(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path).message
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all\n" * 100)
    assert "is not a results store" in refused(text).message
    assert "cannot make the folder" in refused(text / "below" / "x.db").message
    assert "no database driver" in refused("nonsense://host/db").message
    assert "not a database URL" in refused("://").message


def test_a_missing_driver_names_the_package() -> None:
    error = refused("postgresql+psycopg2://user:secret@localhost/db")
    assert "psycopg2" in error.hint
    assert "secret" not in error.message + error.hint


def test_a_newer_database_is_refused_and_left_alone(filled: Store, path: Path) -> None:
    filled.close()
    connection = sqlite3.connect(path)
    connection.execute("update servewatt_schema set version = 99")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    error = refused(path)
    assert "newer servewatt (schema 99" in error.message
    assert "upgrade" in error.hint
    assert path.read_bytes() == before


def test_a_newer_record_is_refused(store: Store) -> None:
    store.create_run(replace(RUN, record_version=99))
    with pytest.raises(StoreError, match="records of version 99"):
        store.run()


def test_another_programs_database_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table runs (id text)")
    connection.commit()
    connection.close()
    assert "not servewatt's" in refused(path).message


def test_an_older_database_is_migrated(filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.close()

    def add_note(connection: sa.Connection) -> None:
        connection.exec_driver_sql("alter table runs add column note text")

    monkeypatch.setattr(migrations, "SCHEMA_VERSION", NEXT)
    monkeypatch.setattr(migrations, "STEPS", {NEXT: add_note})
    with Store.open(path) as again:
        assert again.results("run-1", with_samples=True) == RESULTS
    connection = sqlite3.connect(path)
    assert connection.execute("select version from servewatt_schema").fetchall() == [(NEXT,)]
    assert connection.execute("select note from runs").fetchall() == [(None,)]
    connection.close()


def test_a_migration_that_fails_changes_nothing(filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.close()

    def fail(connection: sa.Connection) -> None:
        connection.exec_driver_sql("alter table runs add column note text")
        connection.exec_driver_sql("alter table absent add column note text")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "SCHEMA_VERSION", NEXT)
        patch.setattr(migrations, "STEPS", {NEXT: fail})
        assert "no such table" in refused(path).message
    with Store.open(path) as again:
        assert again.results("run-1", with_samples=True) == RESULTS


def test_a_database_of_schema_1_opens_with_its_results(path: Path) -> None:
    shutil.copy(Path(__file__).with_name("schema-1.db"), path)
    with Store.open(path) as opened:
        run_, results = opened.run(), opened.results("run-1", with_samples=True)
        assert (run_.id, run_.plan.model.name, len(run_.plan.workload.prompts)) == ("run-1", "bundled", 2)
        assert [(r.trial.configuration.key, r.status.value) for r in results] == [
            ("torch/cpu/fp32/b1", "ok"),
            ("onnx/cpu/fp32/b1", "ok"),
            ("onnx/cpu/fp32/b1", "crashed"),
        ]
        generate = results[0].section("generate")
        assert generate is not None and [e.energy_j for e in generate.energy] == [80.0, 40.0]
        assert opened.qualities(MODEL) == []
        opened.add_quality(quality("2026-01-01T00:00:00+00:00", (TORCH, 1.0)))
        assert len(opened.qualities(MODEL)) == 1


def test_a_database_of_schema_2_opens_with_its_results_and_quality(path: Path) -> None:
    shutil.copy(Path(__file__).with_name("schema-2.db"), path)
    with Store.open(path) as opened:
        results = opened.results("run-1", with_samples=True)
        assert [(r.trial.configuration.key, r.status.value, len(r.power)) for r in results] == [
            ("torch/cpu/fp32/b1", "ok", 1),
            ("onnx/cpu/fp32/b1", "ok", 1),
            ("onnx/cpu/fp32/b1", "crashed", 0),
        ]
        assert [q.created_at for q in opened.qualities(MODEL)] == ["2026-01-01T00:00:00+00:00"]
        opened.append(result(TORCH, 1))
        assert len(opened.results("run-1")) == 4


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_migrated_database_has_the_tables_of_a_new_one(path: Path, tmp_path: Path, version: int) -> None:
    shutil.copy(Path(__file__).with_name(f"schema-{version}.db"), path)

    def layout(place: Path) -> dict[str, object]:
        with Store.open(place), closing(sqlite3.connect(place)) as connection:
            names = sorted(row[0] for row in connection.execute("select name from sqlite_master where type = 'table'"))
            return {name: connection.execute(f"pragma table_info({name})").fetchall() for name in names}

    assert layout(path) == layout(tmp_path / "new.db")


def test_a_database_of_schema_3_opens_with_its_results_and_takes_slices(path: Path) -> None:
    shutil.copy(Path(__file__).with_name("schema-3.db"), path)
    with Store.open(path) as opened:
        assert opened.run("run-1") == RUN
        assert opened.results("run-1", with_samples=True) == RESULTS
        assert opened.close_journal("run-1") == []
        ready = replace(result(TORCH, 2), sections=())
        opened.keep_ready(ready)
        opened.keep_slice(ready.trial, 0, Slice(0, 0, 0.0, 1.0, 0.0))
        assert len(opened.results("run-1")) == 4


def test_every_version_has_its_step() -> None:
    assert sorted(migrations.STEPS) == list(range(2, migrations.SCHEMA_VERSION + 1))


def test_a_locked_database(filled: Store, path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    try:
        with Store.open(path, busy_timeout_s=0.1) as other:
            assert len(other.results("run-1")) == 3  # reading waits for nobody
            with pytest.raises(StoreError, match="is locked by another process"):
                other.append(result(TORCH, 1))
    finally:
        holder.execute("rollback")
        holder.close()
    filled.append(result(TORCH, 1))


def test_a_read_only_database_can_be_read(filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.close()
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: mode != os.W_OK and real(p, mode))
    with Store.open(path) as opened:
        assert opened.results("run-1", with_samples=True) == RESULTS
        with pytest.raises(StoreError, match="is read-only"):
            opened.append(result(TORCH, 1))
    assert "cannot be written" in refused(path.with_name("new.db")).message


def test_a_damaged_database(filled: Store, path: Path) -> None:
    filled.close()
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content), 512):
        content[place : place + 64] = b"\xa5" * 64
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught, Store.open(path) as opened:
        opened.results("run-1")
    assert "damaged" in caught.value.message


def test_a_damaged_result(filled: Store, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("update trials set result = x'00ff' where number = 2")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="a result of run run-1 is damaged"):
        filled.results("run-1")


def test_a_full_disk_loses_nothing_that_was_stored(path: Path) -> None:
    def limit(connection: Any, _record: Any) -> None:
        connection.execute("pragma max_page_count = 40")

    sa.event.listen(sa.Engine, "connect", limit)
    try:
        with Store.open(path) as opened:
            opened.create_run(RUN)
            stored = 0
            with pytest.raises(StoreError, match="disk is full") as caught:
                for block in range(1000):
                    opened.append(result(TORCH, block))
                    stored += 1
            assert "stored before are whole" in caught.value.hint
            assert len(opened.results("run-1")) == stored > 0
    finally:
        sa.event.remove(sa.Engine, "connect", limit)
    with Store.open(path) as opened:  # space has been freed
        opened.append(result(TORCH, stored))
        assert len(opened.results("run-1")) == stored + 1


# --- several processes -------------------------------------------------------------------------------------------

WRITER = """
import sys
from servewatt.store import Store
from tests.stats.builders import result, run, Configuration
path, engine, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store.open(path) as store:
    if store.find_run(run().plan.digest) is None:
        try:
            store.create_run(run())
        except Exception:
            pass
    for block in range(first, first + int(sys.argv[4])):
        store.append(result(Configuration(engine), block))
        print(block, flush=True)
"""


def writer(path: Path, engine: str, first: int, count: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", WRITER, str(path), engine, str(first), str(count)]
    return subprocess.Popen(
        command, cwd=root, env={**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}"}, stdout=subprocess.PIPE, text=True
    )


def test_kill_9_loses_at_most_the_running_trial(path: Path) -> None:
    told: list[int] = []
    for lines in (1, 3, 8, 20):
        with writer(path, "torch", max(told, default=-1) + 2, 100_000) as process:
            assert process.stdout is not None
            told += [int(process.stdout.readline()) for _ in range(lines)]
            time.sleep(lines / 1000)
            process.kill()
            told += [int(line) for line in process.stdout.read().splitlines()]
        connection = sqlite3.connect(path)
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        connection.close()
        with Store.open(path) as opened:
            blocks = [r.trial.block for r in opened.results("run-1", with_samples=True)]
        assert set(told) <= set(blocks)
        assert len(set(blocks) - set(told)) <= 4  # stored, but killed before it was told
        told = blocks


def test_two_processes_write_one_store_that_a_third_reads(path: Path) -> None:
    with writer(path, "torch", 0, 25) as first, writer(path, "onnx", 0, 25) as second:
        seen = 0
        while first.poll() is None or second.poll() is None:
            try:
                with StoreReader.open(path) as reader:
                    now = len(reader.results("run-1"))
            except ServewattError as error:
                assert "no run" in error.message or "no results store" in error.message, error.message
                now = 0
            assert now >= seen
            seen = now
    assert (first.returncode, second.returncode) == (0, 0)
    with Store.open(path) as reader:
        assert len(reader.results("run-1")) == 50


def test_importing_the_store_leaves_sqlalchemy_alone() -> None:
    code = "import servewatt.store, sys; sys.exit('sqlalchemy' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_may_get_more_blocks_but_no_other_work(filled: Store) -> None:
    more = replace(RUN.plan, procedure=replace(RUN.plan.procedure, blocks=RUN.plan.procedure.blocks + 3))
    filled.extend_run(replace(RUN, plan=more))
    assert filled.run(RUN.id).plan.procedure.blocks == RUN.plan.procedure.blocks + 3
    assert bare(filled.results(RUN.id)) == bare(RESULTS)
    other = replace(RUN.plan, workload=replace(RUN.plan.workload, new_tokens=3))
    with pytest.raises(StoreError, match="another plan"):
        filled.extend_run(replace(RUN, plan=other))

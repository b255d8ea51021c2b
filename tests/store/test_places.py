"""Where a store may lie, and what is said where it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from servewatt.cli.main import run as servewatt
from servewatt.errors import StoreError
from servewatt.store import Store, StoreReader
from servewatt.store.complaints import explain
from tests.stats.builders import ONNX, TORCH, result, run


def made(path: Path) -> Path:
    with Store.open(path) as store:
        store.create_run(run())
        for configuration in (TORCH, ONNX):
            store.append(result(configuration))
    return path


def fifo(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def loop(folder: Path) -> str:
    (folder / "loop").symlink_to(folder / "loop")
    return str(folder / "loop")


def empty(folder: Path) -> str:
    (folder / "empty.db").touch()
    return str(folder / "empty.db")


def others(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "others.db")) as connection:
        connection.execute("create table bookmarks (url text)")
    return str(folder / "others.db")


HOSTILE: dict[str, Callable[[Path], str]] = {
    "folder": str,
    "pipe": fifo,
    "loop": loop,
    "device": lambda _: "/dev/full",
    "null": lambda _: "/dev/null",
    "long": lambda folder: f"{folder}/{'x' * 300}.db",
    "deep": lambda folder: f"{folder}/{'x/' * 3000}y.db",
    "below a file": lambda _: f"{__file__}/results.db",
    "no such user": lambda _: "~no-such-user-here/results.db",
    "driver": lambda _: "nonsense://host/db",
    "no host": lambda _: "sqlite://host-without-path",
    "bad port": lambda _: "postgresql://host:port/db",
    "no url": lambda _: "://",
    "others": others,
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("command", [["report", "--list"], ["report"], ["recommend"]])
def test_a_hostile_place_is_two_lines(
    tmp_path: Path, kind: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert servewatt([*command, "--store", HOSTILE[kind](tmp_path)]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and hint.startswith("hint: ")


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_place_is_no_store_to_write(tmp_path: Path, kind: str) -> None:
    place = HOSTILE[kind](tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(StoreError) as caught:
        Store.open(place)
    assert caught.value.hint
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_an_empty_file_becomes_a_store_only_where_results_are_kept(tmp_path: Path) -> None:
    place = empty(tmp_path)
    with pytest.raises(StoreError, match="no results store yet"):
        StoreReader.open(place)
    assert Path(place).stat().st_size == 0
    made(Path(place))
    with StoreReader.open(place) as reader:
        assert len(reader.results("run-1")) == 2


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    path = made(tmp_path / os.fsdecode(b"r\xe9sultats \xff.db"))
    with StoreReader.open(path) as reader:
        assert len(reader.results("run-1")) == 2
    with pytest.raises(StoreError) as caught:
        StoreReader.open(tmp_path / os.fsdecode(b"absent-\xe9.db"))
    assert r"absent-\xe9.db" in caught.value.message
    caught.value.message.encode()


def test_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(StoreError, match="no home folder") as caught:
        StoreReader.open()
    assert "XDG_DATA_HOME" in caught.value.hint


@pytest.mark.parametrize("text", ["locking protocol", "disk I/O error", "[Errno 116] Stale file handle"])
def test_the_errors_of_network_disks_name_them_and_the_way_out(text: str) -> None:
    error = explain(sqlite3.OperationalError(text), "/home/user/results.db")
    assert "network disk" in error.message
    assert "--store on a local disk" in error.hint and "XDG_DATA_HOME" in error.hint


# --- read-only ---------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.store.test_places import made
from servewatt.store import StoreReader
import sqlite3
path = Path(sys.argv[1])
holder = sqlite3.connect(path.parent / "other.db")  # only to show that it is another file
made(path)
keeper = sqlite3.connect(path); keeper.execute("select * from runs").fetchall()
writer = sqlite3.connect(path); writer.execute("update trials set reason = 'late' where number = 1"); writer.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def left_over(tmp_path: Path) -> Path:
    """A folder with a store whose last change is only in the log that a killed process left."""
    folder = tmp_path / "left"
    folder.mkdir()
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(folder / "results.db")]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}"}
    ended = subprocess.run(command, cwd=root, env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (folder / "results.db-wal").stat().st_size > 0
    (folder / "other.db").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_log_left_by_a_kill_is_read_from_a_read_only_folder(
    left_over: Path, shared_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared_memory:
        (left_over / "results.db-shm").unlink()
    before = {p.name: p.read_bytes() for p in left_over.iterdir()}
    if os.geteuid() == 0:
        # Root may write anywhere, so SQLite is denied by hand what the folder would deny to others.
        real = os.access
        monkeypatch.setattr(os, "access", lambda p, mode: mode != os.W_OK and real(p, mode))
        monkeypatch.setattr("servewatt.store.sqlite_place._readable", lambda _: False)
    else:
        left_over.chmod(0o555)
    try:
        with StoreReader.open(left_over / "results.db") as reader:
            assert [len(reader.results(r.id)) for r in reader.runs()] == [2]
            with reader._readable.reading() as query:
                assert [tuple(row) for row in query("SELECT reason FROM trials WHERE number = 1")] == [("late",)]
    finally:
        left_over.chmod(0o755)
    assert {p.name: p.read_bytes() for p in left_over.iterdir()} == before


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_store_that_is_read_only_is_read_and_left_as_it_is(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.db"
    shutil.copy(Path(__file__).with_name(f"schema-{version}.db"), path)
    before = path.read_bytes()
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: mode != os.W_OK and real(p, mode))
    with StoreReader.open(path) as reader:
        assert len(reader.results("run-1", with_samples=True)) == 3
    with Store.open(path) as store, pytest.raises(StoreError, match="is read-only"):
        store.append(result(TORCH, 7))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "wal" not in p.name and "shm" not in p.name] == ["results.db"]

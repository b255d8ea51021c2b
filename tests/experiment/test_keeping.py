"""Whatever happens to the store while a run measures, no result is lost and no other file is written."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from servewatt.cli.main import run as servewatt
from servewatt.cli.progress import ConsoleObserver
from servewatt.errors import StoreError
from servewatt.experiment import keeping
from servewatt.experiment.keeping import Keeper
from servewatt.harness.schedule import Progress
from servewatt.records import Result, Status
from servewatt.store import Store, StoreReader, read_file
from tests.stats.builders import ENVIRONMENT, ONNX, TORCH, result, run, section

RUN = run()
DIGEST, MACHINE = RUN.plan.digest, ENVIRONMENT.fingerprint


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "here"))
    return tmp_path / "data" / "results.db"


def remove(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_store(path: Path) -> None:
    """Another store is put in its place, as a restored copy is."""
    with Store.open(path.with_name("new.db")) as store:
        store.create_run(run(id_="other"))
        store.append(result(TORCH, 0, run_id="other"))
    path.with_name("new.db").replace(path)


def written_over(path: Path) -> None:
    """The same in place: the file stays, its content is another's."""
    with Store.open(path.with_name("new.db")) as store:
        store.create_run(run(id_="other"))
    path.write_bytes(path.with_name("new.db").read_bytes())


def other_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table bookmarks (url text)")


def text_file(path: Path) -> None:
    path.write_text("not a database\n" * 100)


def older_copy(path: Path) -> None:
    """A copy made before the first result."""
    shutil.copy(path.with_name("before.db"), path)


EVENTS = [remove, move, remove_folder, empty, another_store, written_over, other_program, text_file, older_copy]


@pytest.mark.parametrize("event", EVENTS)
def test_results_are_kept_beside_a_store_that_is_no_longer_there(
    path: Path, event: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    observer = ConsoleObserver(Console(stderr=True, width=300))
    with Store.open(path) as store:
        store.create_run(RUN)
        shutil.copy(path, path.with_name("before.db"))
        keeper = Keeper(observer, store, RUN, [])
        keeper.keep(result(TORCH, 0))
        event(path)
        after = {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()} if path.parent.is_dir() else {}
        for each in (result(ONNX, 0), result(TORCH, 1)):
            keeper.keep(each)
        problem = keeper.problem()
    # What lies there now is as it was put there.
    assert all(place.read_bytes() == content for place, content in after.items())
    assert problem is not None
    assert f"results of run {RUN.id} are not in the store" in problem.message
    told = capsys.readouterr().err
    assert told.count("measuring goes on; results are kept in") == 1
    place = problem.hint.removeprefix("they are in ").partition(": servewatt.load ")[0]
    assert place in told
    kept = read_file(place)[1]
    assert [(r.trial.configuration, r.trial.block) for r in kept] == [(TORCH, 0), (ONNX, 0), (TORCH, 1)]
    assert kept[2].power  # samples too
    assert servewatt(["report", place]) == 0
    assert servewatt(["recommend", place]) in (0, 1)

    # A store that can be written takes them back from the current folder, too.
    if not Path(place).is_relative_to(Path.cwd()):
        shutil.move(place, Path.cwd())
    with Store.open(path.parent / "new" / "results.db") as store:
        keeping.take_back(observer, store, DIGEST, MACHINE)
        assert len(store.results(RUN.id)) == 3
    assert list(Path.cwd().glob("*.rescue-*")) == []
    assert "took 3 results" in capsys.readouterr().err


def test_a_disk_that_has_space_again_gets_what_it_missed(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(path) as store:
        store.create_run(RUN)
        keeper = Keeper(ConsoleObserver(Console(stderr=True, width=300)), store, RUN, [])

        def full(_result: Result) -> None:
            raise StoreError("results.db cannot grow: the disk is full", "free some space")

        with monkeypatch.context() as patch:
            patch.setattr(store, "append", full)
            keeper.keep(result(TORCH, 0))
            keeper.keep(result(TORCH, 1))
        assert [len(read_file(p)[1]) for p in path.parent.glob("*.rescue-run-1.json.gz")] == [2]
        keeper.keep(result(TORCH, 2))
        assert keeper.problem() is None
        assert [r.trial.block for r in store.results(RUN.id)] == [0, 1, 2]
    assert list(path.parent.glob("*.rescue-*")) == []
    told = capsys.readouterr().err
    assert "the disk is full" in told
    assert "the store can be written again" in told


def test_where_nothing_can_be_written_it_is_said_and_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(path) as store:
        store.create_run(RUN)
        keeper = Keeper(ConsoleObserver(Console(stderr=True, width=300)), store, RUN, [])
        path.unlink()
        with monkeypatch.context() as patch:
            patch.setattr("servewatt.store.rescue._folders", lambda _: iter([Path("/proc/no/such/folder")]))
            keeper.keep(result(TORCH, 0))
            problem = keeper.problem()
            assert problem is not None and "nowhere else" in problem.message
        keeper.keep(result(TORCH, 1))
        (place,) = path.parent.glob("*.rescue-*")
        assert len(read_file(place)[1]) == 2


def test_a_number_that_is_not_finite_is_a_failed_trial(path: Path) -> None:
    bad = replace(result(TORCH, 0), sections=(section("generate", float("nan")),))
    with Store.open(path) as store:
        store.create_run(RUN)
        keeper = Keeper(ConsoleObserver(Console(stderr=True)), store, RUN, [])
        kept = keeper.keep(bad)
        assert kept.status is Status.FAILED
        assert "sections.0.duration_s" in kept.reason
        assert store.results(RUN.id) == [kept]


# --- kills and starts in any order -------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing after this is done."""


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["before", "after", "lost"])), max_size=6))
def test_any_order_of_kills_losses_and_starts_ends_with_each_trial_once(events: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.db"
        measured: set[tuple[int, str]] = set()
        for event in [*events, (99, "after")]:
            try:
                _one_start(path, *event, measured)
            except Killed:
                continue
        with StoreReader.open(path) as reader:
            done = [(r.trial.block, r.trial.configuration.key) for r in reader.results(RUN.id)]
        assert len(done) == len(set(done)) == 6
        assert set(done) >= measured
        assert list(Path(folder).glob("*.rescue-*")) == []


def _one_start(path: Path, count: int, kind: str, measured: set[tuple[int, str]]) -> None:
    """What a start of the command does with the store; after `count` trials something happens."""
    observer = ConsoleObserver(Console(quiet=True))
    with Store.open(path) as store:
        keeping.take_back(observer, store, DIGEST, MACHINE)
        known = store.find_run(DIGEST, MACHINE)
        if known is None:
            store.create_run(RUN)
        keeper = Keeper(observer, store, RUN, store.results(RUN.id, with_samples=True))
        progress = Progress(RUN, list(keeper.results))
        number = 0
        for block in range(RUN.plan.procedure.blocks):
            for trial in progress.missing(block):
                if number == count and kind == "before":
                    raise Killed
                if number == count and kind == "lost":
                    path.unlink()
                keeper.keep(replace(result(trial.configuration, trial.block), trial=trial))
                measured.add((trial.block, trial.configuration.key))
                if number == count and kind == "after":
                    raise Killed
                number += 1

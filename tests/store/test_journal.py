"""Slices of a running episode are kept as they come, and a kill loses none of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.errors import InputError, StoreError
from servewatt.records import Generation, Result, Slice, Status
from servewatt.store import Store, StoreReader
from tests.stats.builders import GPU, ONNX, PACKAGE, TORCH, energy, result, run

RUN = run()


def ready(block: int = 0, attempt: int = 0) -> Result:
    """What a process yields before its first slice; idle draws 2 W and 1 W."""
    whole = result(TORCH, block, attempt=attempt)
    return replace(whole, sections=whole.sections[:3], generations=(), outputs=(), power=(), utilisation=())


def part(number: int) -> Slice:
    """A slice of 1 s, 5 tokens, 10 J and 4 J; each has a generation of its own."""
    return Slice(
        number,
        number % 2,
        100.0 + number,
        1.0,
        0.0,
        energy=(energy(PACKAGE, 10.0), energy(GPU, 4.0)),
        batches=1,
        tokens_in=3,
        tokens_out=5,
        generations=(Generation(0, 1, 100.0 + number, 0.1, (0.1,) * 4, 5),),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        opened.create_run(RUN)
        opened.append(result(ONNX, 0))
        yield opened


def keep(store: Store, count: int, of: Result | None = None) -> Result:
    of = of or ready()
    store.keep_ready(of)
    for place in range(count):
        store.keep_slice(of.trial, place, part(place - 1))  # the first is that on joining
    return of


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("select count(*) from journal").fetchone()[0])


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(sql).rowcount == 1
        connection.commit()


def test_a_twin_s_slices_stay_apart(store: Store) -> None:
    of = keep(store, 6)
    store.keep_slice(of.trial, 6, replace(part(0), twin=True))
    read = next(r for r in store.results(RUN.id) if r.trial == of.trial)
    assert (len(read.slices), [s.twin for s in read.twin_slices]) == (6, [True])
    assert sum(r.twin_slices != () for r in store.close_journal(RUN.id)) == 1


def test_an_unfinished_trial_is_read_with_its_slices_so_far(store: Store, path: Path) -> None:
    keep(store, 6)
    for read in (store.results("run-1"), store.briefs("run-1"), StoreReader.open(path).results("run-1")):
        assert [r.trial.configuration for r in read] == [ONNX, TORCH]
        assert read[1].status is Status.OK
        assert [one.round for one in read[1].slices] == [-1, 0, 1, 2, 3, 4]
        section = read[1].section("generate")
        assert section is not None
        assert (section.duration_s, section.tokens_out) == (5.0, 25)
        assert [e.energy_j for e in section.energy] == [50.0, 20.0]
    assert len(store.results("run-1")[1].generations) == 5


def test_with_too_few_slices_it_does_not_count(store: Store) -> None:
    keep(store, 4)
    found = store.results("run-1")[1]
    assert (found.status, found.reason) == (Status.INVALID, "3 of 3 slices count, and 4 are needed")


def test_the_whole_takes_the_place_of_its_parts(store: Store, path: Path) -> None:
    kept = keep(store, 6)
    other = keep(store, 2, ready(block=1))
    assert rows(path) == 7 + 3
    store.append(replace(result(TORCH, 0), slices=(part(0),)))
    assert rows(path) == 3
    found = store.results("run-1")
    assert [r.trial for r in found] == [result(ONNX, 0).trial, kept.trial, other.trial]
    assert found[1].slices == (part(0),)


def test_the_next_start_closes_what_a_kill_left_open(store: Store, path: Path) -> None:
    keep(store, 6)
    keep(store, 2, ready(block=1))
    store.close()
    with Store.open(path) as again:
        before = again.results("run-1")
        closed = again.close_journal("run-1")
        assert [(r.trial.block, r.status) for r in closed] == [(0, Status.OK), (1, Status.INVALID)]
        assert rows(path) == 0
        assert again.results("run-1") == before
        assert again.close_journal("run-1") == []
        # The attempt is taken: the next one is another.
        keep(again, 1, ready(block=1, attempt=1))
        assert len(again.results("run-1")) == 4


def test_an_export_holds_unfinished_trials_too(store: Store, tmp_path: Path) -> None:
    keep(store, 6)
    store.export_run("run-1", tmp_path / "run.json.gz")
    with Store.open(tmp_path / "other.db") as other:
        other.import_run(tmp_path / "run.json.gz")
        found = other.results("run-1")[1]
    assert [one.round for one in found.slices] == [-1, 0, 1, 2, 3, 4]
    assert found.section("generate") == store.results("run-1")[1].section("generate")


def test_nothing_is_kept_twice_or_without_its_run(store: Store) -> None:
    kept = keep(store, 1)
    with pytest.raises(StoreError, match="already holds"):
        store.keep_ready(kept)
    with pytest.raises(StoreError, match="already holds"):
        store.keep_slice(kept.trial, 0, part(0))
    with pytest.raises(InputError):
        store.keep_ready(replace(kept, trial=replace(kept.trial, run_id="another")))
    with pytest.raises(InputError, match="not a finite number"):
        store.keep_slice(kept.trial, 1, replace(part(0), work_s=float("nan")))


def test_a_damaged_slice_is_told_and_left_out(store: Store, path: Path) -> None:
    keep(store, 7)
    change(path, "update journal set content = x'00' where place = 3")
    found = store.results("run-1", skip_damaged=True)[1]
    assert [one.round for one in found.slices] == [-1, 0, 1, 3, 4, 5]
    (damaged,) = store.damaged
    assert damaged.sentence.startswith("slice 3 of the unfinished trial torch/cpu/fp32/b1 of block 0")
    assert [r.status for r in store.close_journal("run-1")] == [Status.OK]


@pytest.mark.parametrize(
    "sql", ["update journal set content = x'00' where place = -1", "delete from journal where place = -1"]
)
def test_a_damaged_beginning_costs_the_trial_and_not_the_run(store: Store, path: Path, sql: str) -> None:
    keep(store, 6)
    change(path, sql)
    found = store.results("run-1")
    assert [r.status for r in found] == [Status.OK, Status.INVALID]
    assert "cannot be read" in found[1].reason
    assert len(store.damaged) == 1
    # It is closed like any other, so that its attempt can be repeated.
    assert [r.status for r in store.close_journal("run-1")] == [Status.INVALID]
    assert rows(path) == 0

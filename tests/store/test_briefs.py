"""Many trials are read fast by what statistics need of them, and say the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.records import Configuration, Generation, Result, Status, Via
from servewatt.stats.analyse import analyse
from servewatt.stats.intervals import typical
from servewatt.store import Store, StoreReader
from tests.stats.builders import ONNX, TORCH, failed, result, run

HTTP = Configuration("torch", via=Via.HTTP)
RUN = run((TORCH, ONNX, HTTP))


def trials() -> list[Result]:
    """Different energies, times and outputs; through HTTP with the engine's seconds; a failure and a repetition."""
    made = [result(c, block, package_j=80.0 + 3 * block + k) for block in range(3) for k, c in enumerate((TORCH, ONNX))]
    made[3] = replace(made[3], outputs=((10, 11, 12, 99), (20, 21)))
    made[5] = replace(made[5], generations=(Generation(0, 2, 100.0, 0.2, (0.05, 0.01), 6),))
    served = [
        replace(result(HTTP, b), generations=(Generation(0, 1, 100.0, 0.1, (0.01, 0.02, 0.03), 4, 0.12 + 0.01 * b),))
        for b in range(2)
    ]
    return [*made, *served, failed(HTTP, 2, Status.CRASHED, "killed by SIGSEGV"), result(HTTP, 2, attempt=1)]


def filled(path: Path) -> Path:
    with Store.open(path) as store:
        store.create_run(RUN)
        for each in trials():
            store.append(each)
    return path


@pytest.mark.parametrize("kept", ["all", "none", "some", "of another version"])
def test_statistics_of_briefs_are_those_of_whole_results(tmp_path: Path, kept: str) -> None:
    path = filled(tmp_path / "results.db")
    with closing(sqlite3.connect(path)) as connection:
        if kept == "none":
            connection.execute("delete from briefs")
        elif kept == "some":
            connection.execute("delete from briefs where trial % 2 = 0")
        elif kept == "of another version":
            connection.execute("update briefs set version = 0, content = 'unknown'")
        connection.commit()
    with StoreReader.open(path) as reader:
        whole, briefs = reader.results(RUN.id), reader.briefs(RUN.id)
    assert analyse(RUN, briefs) == analyse(RUN, whole)
    assert [r.trial for r in briefs] == [r.trial for r in whole]
    assert [r.output_digest for r in briefs] == [r.output_digest for r in whole]
    assert [r.log for r in briefs] == [r.log for r in whole]


def test_a_brief_is_all_that_is_read_of_most_trials(tmp_path: Path) -> None:
    path = filled(tmp_path / "results.db")
    with closing(sqlite3.connect(path)) as connection:
        # Trial 1 is the first with its outputs, which are read from the whole result; trial 3 has the same.
        connection.execute("update trials set result = x'00' where number = 3")
        connection.commit()
    with StoreReader.open(path) as reader:
        briefs = reader.briefs(RUN.id)
        assert reader.damaged == []
    assert briefs[2].outputs is briefs[4].outputs
    assert briefs[2].generations == ()


def test_the_median_of_thousands_of_blocks_has_its_interval() -> None:
    # P(Binomial(2000, 1/2) < k) <= 0.025 up to k = 956 (SciPy: binom.cdf(955, 2000, .5) = 0.0233, of 956 0.0259).
    interval = typical([float(n) for n in range(2000)])
    assert (interval.low, interval.high) == (955.0, 1044.0)

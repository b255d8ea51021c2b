from __future__ import annotations

import math
from pathlib import Path

import pytest

from servewatt import engines
from servewatt.engines import Artefacts
from servewatt.engines.fake.engine import FakeEngine, FakeSession
from servewatt.harness.assess import Task, answer, assess, in_batches
from servewatt.models.cache import ArtefactCache
from servewatt.records import Configuration, Facts, Model, Status
from tests.harness.builders import fake, model


def task(folder: Path, configuration: Configuration, **changes: object) -> Task:
    content: dict[str, object] = {
        "model": model(folder),
        "configuration": configuration,
        "prompts": ((1, 2), (3,), (4, 5, 6)),
        "new_tokens": 3,
        "stop_ids": (),
        "documents": ((5, 6, 9), (1, 2)),
    }
    return Task(**{**content, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 2])
def test_outputs_and_log_probabilities_come_back(tmp_path: Path, batch: int) -> None:
    said = assess(task(tmp_path, Configuration("fake", batch=batch, options=(("step_ms", "0"),))), timeout_s=60)
    assert said.status is Status.OK
    assert said.facts is not None
    # The fake engine counts upwards from the prompt's sum, expects the next number with 1/2, each of 999 others alike.
    assert said.outputs == ((3, 4, 5), (3, 4, 5), (15, 16, 17))
    half, other = math.log(1 / 2), math.log(1 / 2 / 999)
    assert [len(row) for row in said.log_probabilities] == [2, 1]
    assert [value for row in said.log_probabilities for value in row] == pytest.approx([half, other, half])


def test_outputs_end_where_the_model_says(tmp_path: Path) -> None:
    said = answer(task(tmp_path, fake(step_ms=0), stop_ids=(4,)))
    assert said.outputs == ((3, 4), (3, 4), (15, 16, 17))


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        ("load", Status.REFUSED),
        ("generate", Status.FAILED),
        ("segv", Status.CRASHED),
        ("exit", Status.FAILED),
        ("memory", Status.OUT_OF_MEMORY),
        ("claim", Status.REFUSED),
    ],
)
def test_whatever_happens_is_in_the_answer(tmp_path: Path, failure: str, status: Status) -> None:
    said = assess(task(tmp_path, fake(step_ms=0, fail=failure)), timeout_s=60)
    assert (said.status, bool(said.reason), said.outputs) == (status, True, ())


def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    assert assess(task(tmp_path, fake(fail="hang")), timeout_s=2).status is Status.TIMED_OUT


def test_the_last_batch_is_filled_and_what_fills_it_dropped() -> None:
    sizes: list[int] = []

    def work(rows: object) -> list[tuple[int, ...]]:
        assert isinstance(rows, list)
        sizes.append(len(rows))
        return rows

    assert in_batches([(1,), (2,), (3,)], 2, work) == ((1,), (2,), (3,))
    assert sizes == [2, 2]


def test_artefacts_stay_while_the_session_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may evict at any moment, also after the load."""
    found: list[bool] = []

    class Reading(FakeSession):
        folder: Path

        def facts(self) -> Facts:
            ArtefactCache().prune(everything=True)
            found.append((self.folder / "graph").exists())
            return super().facts()

        def close(self) -> None:
            ArtefactCache().prune(everything=True)
            found.append((self.folder / "graph").exists())
            super().close()

    class Deriving(FakeEngine):
        def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> FakeSession:
            session = Reading(configuration, model, 0.0, "")
            session.folder = artefacts.get_or_build("fake", ["a"], lambda folder: (folder / "graph").touch())
            return session

    monkeypatch.setattr(engines, "create", lambda _: Deriving())
    assert answer(task(tmp_path, fake(step_ms=0))).status is Status.OK
    assert found == [True, True]
    assert len(ArtefactCache().prune(everything=True).removed) == 1

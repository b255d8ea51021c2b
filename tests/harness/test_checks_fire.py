"""Fake engines that deceive a duet episode in each way, and the warning that each gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.harness import episode
from servewatt.harness.episode import Ended, Episode, Next
from servewatt.records import Configuration, Provider, Result, Status
from servewatt.stats.race.checks import Kind, Margins, RaceWarning, race_warnings
from servewatt.stats.race.costs import energy_cost, run_costs
from tests.harness.builders import DUET, ENVIRONMENT, fake, trial

STEADY = fake(step_ms=2)
FAKE_METER = frozenset({"cpu:package-0", "gpu:0"})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough for the fake engine to see that others may have run."""
    monkeypatch.setattr(episode, "PAUSE_S", 0.08)


def measured(
    folder: Path, configurations: Sequence[Configuration], rounds: int, blocks: Sequence[int] = (0,), **changes: object
) -> list[Result]:
    procedure = replace(DUET, **changes)  # type: ignore[arg-type]
    found = []
    for block in blocks:
        trials = [trial(folder, c, procedure, block) for c in configurations]
        events = Episode(trials, ENVIRONMENT, lambda done, _here: Next(end=len(done) >= rounds)).run()
        found += [event.result for event in events if isinstance(event, Ended)]
    assert [r.status for r in found] == [Status.OK] * len(found), [r.reason for r in found]
    return found


def warnings(results: Sequence[Result], domains: frozenset[str] = FAKE_METER) -> dict[Kind, RaceWarning]:
    cost = energy_cost(domains)
    keys = {r.trial.configuration.key for r in results} - {STEADY.key}
    costs = run_costs(results, cost, lambda _result: None)
    found = race_warnings(results, costs, cost, Margins(STEADY.key, dict.fromkeys(keys, 0.0)))
    return {w.kind: w for w in found}


def test_an_engine_that_spins_when_it_is_blocked(tmp_path: Path) -> None:
    """As long as it may not be stopped: it works on a GPU."""
    steady, spins = (replace(c, provider=Provider.CUDA) for c in (STEADY, fake(step_ms=2, spin_ms=400)))
    found = warnings(measured(tmp_path, [steady, spins], 4))[Kind.BLOCKED]
    assert found.configuration == spins.key
    assert found.size > 0.1


def test_an_engine_that_is_slower_in_company(tmp_path: Path) -> None:
    slows = fake(step_ms=2, beside=3)
    block = next(
        b
        for b in range(20)
        if Episode([trial(tmp_path, c, DUET, b) for c in (STEADY, slows)], ENVIRONMENT, lambda _r, _h: Next())
        ._waiting[0]
        .configuration
        == slows
    )
    found = warnings(measured(tmp_path, [STEADY, slows], 5, [block]))[Kind.COMPANY]
    assert found.configuration == slows.key
    assert 1 < found.size < 3


def test_an_engine_that_is_cold_at_first(tmp_path: Path) -> None:
    """Twice the time for 60 ms, in slices of 180 ms."""
    cold = fake(step_ms=2, cold_ms=60)
    found = warnings(measured(tmp_path, [STEADY, cold], 6, slice_s=0.18))[Kind.DRIFT]
    assert found.configuration == cold.key
    assert 0.1 < found.size < 0.4


def test_an_engine_that_is_slower_after_another(tmp_path: Path) -> None:
    pushed = fake(step_ms=2, after_other=2)
    found = warnings(measured(tmp_path, [STEADY, pushed], 14))[Kind.PREDECESSOR]
    assert found.configuration == pushed.key
    assert 0.5 < found.size < 1.5


def test_an_engine_with_spikes_of_its_own(tmp_path: Path) -> None:
    """Every 13th generation takes 100 ms longer, and a slice holds about five."""
    spiky = fake(step_ms=2, spike_every=13, spike_ms=100)
    found = warnings(measured(tmp_path, [STEADY, spiky], 24))[Kind.SPIKES]
    assert found.configuration == spiky.key
    assert found.size > 0.2


def test_engines_that_differ_from_process_to_process(tmp_path: Path) -> None:
    """In pace and in what they answer."""
    unsteady = [fake(spread=1.5), fake(spread=1.5, step_ms=2), fake(spread=1.5, step_ms=3, offset="process")]
    results = measured(tmp_path, unsteady, 4, range(3))
    assert warnings(results)[Kind.SCATTER].size > 0.12
    own = [r for r in results if r.trial.configuration == unsteady[2]]
    assert warnings(own)[Kind.OUTPUTS].size > 0.1


def test_an_engine_that_answers_otherwise(tmp_path: Path) -> None:
    other = fake(step_ms=2, offset=1)
    found = warnings(measured(tmp_path, [STEADY, other], 4))[Kind.OUTPUTS]
    assert (found.configuration, found.size) == (STEADY.key, 1.0)
    assert other.key in found.sentence


def test_estimated_energy_of_a_close_race(tmp_path: Path) -> None:
    results = measured(tmp_path, [STEADY, fake(step_ms="2.0")], 4, meters=("estimate",))
    found = warnings(results, frozenset({"cpu:estimated"}))[Kind.ESTIMATED]
    assert found.threshold == 0.1

"""A machine that others load: said before anything is measured, waited for, and given up on early."""

from __future__ import annotations

from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.experiment import quiet
from servewatt.harness import judge
from servewatt.harness.fitness import IdleLoad
from servewatt.store import Store
from tests.cli.test_run import study_file

BUSY = IdleLoad(0.42, 0.0, (("chrome (4711)", 0.31), ("make (88)", 0.1)))
CALM = IdleLoad(0.01, 0.0, ())


def file_of(folder: Path, limit: float, batches: str = "[1, 2, 3, 4]") -> str:
    return study_file(
        folder,
        f"""
workload: {{prompts: "bundled:1", new_tokens: 2}}
configurations: {{engines: fake, providers: cpu, batches: {batches}}}
procedure: {{blocks: 2, settle_s: 0, idle_s: 0.1, window_s: 0.1, warmup_s: 0, foreign_limit: {limit}, meters: fake}}
""",
    )


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[IdleLoad]:
    """What others do, look after look; the last goes on."""
    found: list[IdleLoad] = []
    monkeypatch.setattr(quiet, "idle_load", lambda _watch_s: found.pop(0) if len(found) > 1 else found[0])
    return found


def test_who_loads_the_machine_and_what_to_do_is_said_before_it_measures(
    loads: list[IdleLoad], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads += [BUSY, BUSY, CALM]
    monkeypatch.setattr(judge, "foreign_share", lambda _result, _environment: 0.0)
    assert run(["run", file_of(tmp_path, 0.2, "[1]")]) == 0
    told = capsys.readouterr().err
    assert "warning: others use 42 % of this machine's CPUs: chrome (4711) 31 %, make (88) 10 %\n" in told
    for way in ("wait until they end", "--threads N", "--foreign-limit 0.55"):
        assert way in told
    assert told.index("warning: others") < told.index("trial 1/2")
    assert "measuring all the same" not in told


def test_a_machine_that_stays_busy_ends_the_run_before_everything_is_repeated(
    loads: list[IdleLoad], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads += [BUSY]
    monkeypatch.setattr(quiet, "WAIT_S", 0.0)
    for module in (judge, quiet):
        monkeypatch.setattr(module, "foreign_share", lambda _result, _environment: 0.6)
    assert run(["run", file_of(tmp_path, 0.2)]) == 2
    told = capsys.readouterr().err
    assert "measuring all the same, and stopping soon if trials come out invalid" in told
    assert "error: other programs keep this machine too busy: 3 of the first 3 trials are invalid" in told
    assert "(others used up to 60 % of the CPUs, the limit is 20 %)" in told
    assert "--foreign-limit 0.7" in told
    # Four configurations in two blocks with two repetitions each would be 24 trials.
    with Store.open() as store:
        assert len(store.results(store.run("latest").id)) == 3


def test_one_configuration_is_repeated_once_before_that(
    loads: list[IdleLoad], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads += [CALM]
    for module in (judge, quiet):
        monkeypatch.setattr(module, "foreign_share", lambda _result, _environment: 0.6)
    assert run(["run", file_of(tmp_path, 0.2, "[1]")]) == 2
    with Store.open() as store:
        assert [r.trial.attempt for r in store.results(store.run("latest").id)] == [0, 1]


def test_with_a_limit_of_1_nobody_looks_or_waits(
    loads: list[IdleLoad], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", file_of(tmp_path, 0.2, "[1]"), "--foreign-limit", "1"]) == 0
    assert "others" not in capsys.readouterr().err


def test_where_nothing_can_be_drawn_each_trial_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", file_of(tmp_path, 1.0, "[1, 2]")]) == 0
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if line.startswith("trial ")]
    assert [line.partition(",")[0] for line in lines] == ["trial 1/4", "trial 2/4", "trial 3/4", "trial 4/4"]
    assert "block 1/2, fake/cpu/fp32/b" in lines[0]
    assert " left)" in lines[0]
    assert " left" not in lines[3]
    assert all(character.isprintable() or character == "\n" for character in told)

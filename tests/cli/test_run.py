"""`servewatt run` from end to end over the fake engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt import serve
from servewatt.cli.main import run
from servewatt.records import Result, Status
from servewatt.store import Store

QUICK = ["--engine", "fake", "--provider", "cpu", "--prompts", "bundled:2", "--new-tokens", "4", "--meter", "fake"]
SHORT = ["--window", "0.2", "--idle", "0.1"]


def study_file(folder: Path, text: str) -> str:
    path = folder / "study.yaml"
    path.write_text(text)
    return str(path)


def quick_file(folder: Path, **configurations: object) -> str:
    """Two configurations of the fake engine that differ in batch, measured as briefly as can be."""
    content = {
        "workload": {"prompts": "bundled:2", "new_tokens": 4},
        "configurations": {"engines": ["fake"], "providers": ["cpu"], "batches": [1, 2], **configurations},
        "procedure": {
            "blocks": 3,
            "settle_s": 0,
            "idle_s": 0.1,
            "window_s": 0.3,
            "warmup_s": 0.05,
            "foreign_limit": 1.0,
            "meters": ["fake"],
        },
    }
    return study_file(folder, json.dumps(content))  # JSON is YAML


def test_a_run_ends_with_a_ranked_table_and_a_recommendation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two prompts a batch take as many steps as one, so half the time and, at constant power, half the energy.
    assert run(["run", quick_file(tmp_path), "--report", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "fake/cpu/fp32/b2" in shown
    for name in ("report.html", "report.md", "report.json", "trials.csv", "configurations.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert list((tmp_path / "out" / "figures").glob("*.svg"))
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["recommendation"]["choice"]["batch"] == 2
    ratio = document["analysis"]["comparisons"][0]["ratio"]
    assert ratio["estimate"] == pytest.approx(0.5, rel=0.05)
    assert ratio["low"] <= ratio["estimate"] <= ratio["high"]


def test_the_same_command_again_measures_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = quick_file(tmp_path)
    run(["run", file])
    with Store.open() as store:
        (only,) = store.runs()
        before = len(store.results(only.id))
    assert run(["run", file]) == 0
    assert "is complete" in capsys.readouterr().err
    with Store.open() as store:
        assert len(store.runs()) == 1
        assert len(store.results(only.id)) == before == 6


def test_more_blocks_are_added_to_the_same_run(tmp_path: Path) -> None:
    file = quick_file(tmp_path)
    run(["run", file])
    assert run(["run", file, "--blocks", "4"]) == 0
    with Store.open() as store:
        (only,) = store.runs()
        assert only.plan.procedure.blocks == 4
        blocks = sorted(r.trial.block for r in store.results(only.id))
    assert blocks == [0, 0, 1, 1, 2, 2, 3, 3]


def test_fresh_starts_another_run(tmp_path: Path) -> None:
    file = quick_file(tmp_path)
    run(["run", file])
    run(["run", file, "--fresh"])
    with Store.open() as store:
        assert len(store.runs()) == 2


def test_a_crashing_configuration_is_reported_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", quick_file(tmp_path, options={"fail": "segv"})]) == 1
    assert "SIGSEGV" in capsys.readouterr().err
    with Store.open() as store:
        results = store.results(store.run("latest").id)
    assert {r.status for r in results} == {Status.CRASHED}


def test_what_may_have_passed_is_tried_again_by_the_same_command(tmp_path: Path) -> None:
    file = quick_file(tmp_path, batches=[1], options={"fail": "disk-full"})
    for tries in (2, 4):
        # One when it is prepared and one in a block; the other block is left to the next start.
        assert run(["run", file]) == 1
        with Store.open() as store:
            results = store.results(store.run("latest").id)
            assert len(store.runs()) == 1
        assert {(r.status, r.transient) for r in results} == {(Status.FAILED, True)}
        assert len(results) == len({r.trial.id for r in results}) == tries


def test_what_an_engine_of_another_machine_said_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["run", quick_file(tmp_path, batches=[1], options={"fail": "generate"})])
    with Store.open() as store:
        known = store.run("latest")
        trial = replace(store.results(known.id)[0].trial, run_id="other")
        store.create_run(replace(known, id="other"))
        store.append(Result(trial, Status.FAILED, "\x1b[2J" + "x" * 100_000, log="\x1b[2J"))
    capsys.readouterr()
    begin_s = time.monotonic()
    run(["report", "other"])
    shown = capsys.readouterr().out
    assert "xxx" in shown and "\x1b" not in shown
    assert len(shown) < 10_000
    run(["report", "other", "--json"])
    assert "\x1b" not in capsys.readouterr().out
    assert time.monotonic() - begin_s < 20


def test_json_is_the_only_thing_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["run", quick_file(tmp_path), "--json"])
    assert set(json.loads(capsys.readouterr().out)) >= {"analysis", "recommendation"}


def test_the_plan_is_shown_without_measuring(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", *QUICK, *SHORT, "--plan", "--blocks", "7"]) == 0
    shown = capsys.readouterr().err
    assert "fake/cpu/fp32/b1" in shown
    assert "takes about" in shown
    with Store.open() as store:
        assert store.runs() == []


def test_one_of_a_thing_is_written_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", *QUICK, "--limit", "1", "--new-tokens", "1", "--plan"]) == 0
    assert ": 1 prompt, 1 new token each, greedy" in " ".join(capsys.readouterr().err.split())


def test_the_same_engine_in_process_and_through_http(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = quick_file(tmp_path, batches=[2], options={"step_ms": 5})
    assert run(["run", file, "--via", "process,http", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    keys = {s["configuration"]["via"]: s["output_agreement"] for s in document["analysis"]["summaries"]}
    assert keys == {"process": 1.0, "http": 1.0}
    (share,) = document["analysis"]["http_shares"]
    assert share["process"]["via"] == "process" and share["http"]["via"] == "http"
    # A request of four steps of 5 ms takes some milliseconds more; at constant power energy goes with time.
    assert share["time"]["n"] == 3
    assert 0 < share["time"]["estimate"] < 0.7
    assert share["energy"]["estimate"] == pytest.approx(share["time"]["estimate"], abs=0.02)


def test_via_in_a_study_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", quick_file(tmp_path, via=["process", "http"]), "--plan"]) == 0
    shown = capsys.readouterr().err
    assert shown.count("fake/cpu/fp32/b1/http") == shown.count("fake/cpu/fp32/b2/http") == 1
    assert run(["run", quick_file(tmp_path, via="carrier pigeon")]) == 2
    assert "configurations.via.0" in capsys.readouterr().err


def test_http_without_its_packages_is_left_out_or_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PACKAGES", ("no_such_package",))
    assert run(["run", *QUICK, *SHORT, "--plan", "--via", "process,http"]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "serving over HTTP needs no_such_package (pip install 'servewatt[serve]')" in shown
    assert run(["run", *QUICK, *SHORT, "--plan", "--via", "http"]) == 2
    assert "pip install 'servewatt[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_with_the_same_command(tmp_path: Path, number: signal.Signals) -> None:
    file = quick_file(tmp_path)
    child = _start(file)
    _await_results(1)
    child.send_signal(number)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "goes on with run" in errors
    _finish(file)


def test_kill_9_loses_at_most_the_running_trial(tmp_path: Path) -> None:
    file = quick_file(tmp_path)
    child = _start(file)
    _await_results(2)
    child.kill()
    child.communicate()
    with Store.open() as store:
        kept = {r.trial.id for r in store.results(store.run("latest").id)}
    assert len(kept) >= 2
    _finish(file)
    with Store.open() as store:
        assert kept <= {r.trial.id for r in store.results(store.run("latest").id)}


def _start(file: str) -> subprocess.Popen[str]:
    # A shell's background jobs, and so tests run in one, ignore SIGINT; what users type to does not.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from servewatt.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "run", file]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def _await_results(count: int) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        with Store.open() as store:
            runs = store.runs()
            if runs and len(store.results(runs[0].id)) >= count:
                return
        time.sleep(0.1)
    raise AssertionError(f"no {count} results within a minute")


def _finish(file: str) -> None:
    assert run(["run", file]) == 0
    with Store.open() as store:
        (only,) = store.runs()
        results = store.results(only.id)
    assert len([r for r in results if r.status is Status.OK]) == 6

"""`servewatt study run` and `collect`, over the fake engine and a tiny model of the catalogue."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.models import catalogue
from servewatt.records import Status
from servewatt.store import Store, StoreReader
from servewatt.study.data import results_file
from servewatt.study.data.observations import Observation, usable
from servewatt.study.protocol.presets import DIFFERENCES, PROTOCOLS

QUICK = ["--protocol", "quick", "--weights", "random", "--prompts", "bundled", "--engine", "fake", "--provider", "cpu"]
SHORT = ["--meter", "fake", "--window", "0.2", "--idle", "0.1", "--foreign-limit", "1"]
EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = {"n_embd": 16, "n_head": 2, "n_layer": 1, "n_inner": 32, "vocab_size": 4096, "n_positions": 256}


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models of the study, shrunk."""
    for name in ("codeparrot-small", "tiny-starcoder"):
        entry = catalogue.CATALOGUE[name]
        monkeypatch.setitem(catalogue.CATALOGUE, name, replace(entry, config={**entry.config, **TINY}))


def study(*options: str) -> int:
    return run(["study", "run", *QUICK, *SHORT, *options])


def observations(path: Path) -> tuple[Observation, ...]:
    return results_file.read(path).observations


def test_each_model_is_a_run_and_the_same_command_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "study.db")
    assert study("--models", "tiny-starcoder", "--store", store) == 0
    assert study("--models", "codeparrot-small,tiny-starcoder", "--store", store) == 0
    assert "is complete" in capsys.readouterr().err
    with StoreReader.open(store) as opened:
        runs = opened.runs()
        assert sorted(r.plan.model.name for r in runs) == ["codeparrot-small", "tiny-starcoder"]
        valid = [[t.trial.block for t in opened.results(r.id) if t.status is Status.OK] for r in runs]
        assert valid == [[0, 1], [0, 1]]


def test_collected_results_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, out = str(tmp_path / "study.db"), tmp_path / "here.parquet"
    study("--models", "tiny-starcoder", "--store", store, "--evict")
    assert run(["study", "collect", "--out", str(out), "--store", store]) == 0
    assert {(o.model, o.campaign, o.block) for o in observations(out)} == {
        ("tiny-starcoder", "here", 0),
        ("tiny-starcoder", "here", 1),
    }
    other = str(tmp_path / "other.db")
    study("--models", "codeparrot-small", "--store", other)
    capsys.readouterr()
    assert run(["study", "collect", "--out", str(out), "--store", other, "--add", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["observations"] == len(observations(out))
    valid = sorted((o.model, o.block) for o in usable(observations(out)))
    assert valid == [("codeparrot-small", 0), ("codeparrot-small", 1), ("tiny-starcoder", 0), ("tiny-starcoder", 1)]


def test_fresh_measures_again_as_a_new_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "study.db")
    for options in ([], ["--fresh"]):
        assert study("--models", "tiny-starcoder", "--store", store, *options) == 0
        told = capsys.readouterr().err
        assert "is complete" not in told
        assert "next: servewatt study collect" in told
    with StoreReader.open(store) as opened:
        assert len(opened.runs()) == 2


def test_an_empty_store_has_nothing_to_collect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, out = tmp_path / "study.db", tmp_path / "here.parquet"
    Store.open(store).close()
    assert run(["study", "collect", "--out", str(out), "--store", str(store)]) == 2
    assert "error: there are no trials to collect" in capsys.readouterr().err
    assert not out.exists()


def test_results_are_replaced_only_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.parquet"
    first, second = str(EXAMPLES / "h200-bundled.json.gz"), str(EXAMPLES / "h200-pythia-410m.json.gz")
    assert run(["study", "collect", "--out", str(out), first]) == 0
    before = out.read_bytes()
    assert run(["study", "collect", "--out", str(out), second]) == 2
    told = capsys.readouterr().err
    assert f"error: {out} is there" in told
    assert f"--add {out}" in told and "--force" in told
    assert out.read_bytes() == before
    assert run(["study", "collect", "--out", str(out), second, "--force"]) == 0
    assert {o.model for o in observations(out)} == {"pythia-410m"}
    assert run(["study", "collect", "--out", str(out), first, "--add", str(tmp_path / "." / "c.parquet")]) == 0
    assert {o.model for o in observations(out)} == {"pythia-410m", "bundled"}


@pytest.mark.parametrize("name", ["c.csv", "c", "c.json.gz"])
def test_results_are_parquet_by_name(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "collect", "--out", str(tmp_path / name), str(EXAMPLES / "h200-bundled.json.gz")]) == 2
    told = capsys.readouterr().err
    assert f"error: {tmp_path / name} is no name for a results file" in told
    assert "end it in .parquet" in told
    assert list(tmp_path.iterdir()) == []


def test_the_study_s_store_is_made_by_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "collect", "--out", str(tmp_path / "c.parquet")]) == 2
    told = capsys.readouterr().err
    assert "study.db" in told
    assert "hint: `servewatt study run` makes one" in told


def test_evicting_leaves_no_weights_behind(tmp_path: Path) -> None:
    from servewatt.models.cache import ArtefactCache

    study("--models", "tiny-starcoder", "--store", str(tmp_path / "study.db"), "--evict")
    assert ArtefactCache().entries() == []


def test_one_model_that_cannot_be_measured_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = catalogue.CATALOGUE["codeparrot-small"]
    broken = replace(entry, config={**entry.config, "n_head": 3})
    monkeypatch.setitem(catalogue.CATALOGUE, "codeparrot-small", broken)
    assert study("--models", "codeparrot-small,tiny-starcoder", "--store", str(tmp_path / "study.db")) == 1
    told = capsys.readouterr().err
    assert "nothing was measured for codeparrot-small" in told
    with StoreReader.open(tmp_path / "study.db") as opened:
        assert [r.plan.model.name for r in opened.runs()] == ["tiny-starcoder"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--protocol", "sond"], "did you mean sound"),
        (["--models", "tinylama"], "did you mean tinyllama"),
        (["--engine", "onx"], "onnx"),
        (["--precision", "fp23"], "fp32"),
    ],
)
def test_bad_names(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(*options) == 2
    assert told in capsys.readouterr().err


def test_the_prompts_are_those_that_study_prompts_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["study", "run", "--protocol", "quick"]) == 2
    assert "servewatt study prompts" in capsys.readouterr().err


def test_the_published_protocol_leaves_room_for_the_longest_prompt(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("def f(x):\ndef g(a, b, c, d, e, f):\n")
    options = ["--protocol", "published", "--blocks", "1", "--idle", "0.1", "--via", "process"]
    options += ["--prompts", str(prompts), "--models", "tiny-starcoder", "--store", str(tmp_path / "study.db")]
    assert study(*options) == 0
    with StoreReader.open(tmp_path / "study.db") as opened:
        work = opened.runs()[0].plan.workload
    assert max(map(len, work.prompts)) + work.new_tokens == 128
    assert work.stop.value == "eos"


def test_the_difference_between_protocols_is_documented_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "run", "--explain", "--markdown"]) == 0
    printed = capsys.readouterr().out
    document = Path("docs/explanation/study-protocols.md").read_text(encoding="utf-8")
    assert printed.strip() in document
    assert len(DIFFERENCES) > 10
    assert set(PROTOCOLS) == {"sound", "published", "quick"}

"""`servewatt gate` and `servewatt compare` of two runs, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from servewatt.cli.main import run
from servewatt.store import Store
from tests.cli.test_run import quick_file

EXAMPLES = Path(__file__).parents[2] / "examples"
H200 = str(EXAMPLES / "h200-bundled.json.gz")


def measure(folder: Path, name: str, step_ms: float, *, batches: tuple[int, ...] = (1, 2), blocks: int = 4) -> str:
    """A run of the fake engine whose steps take so long, exported; all runs have the same configurations by name."""
    file = quick_file(folder, batches=list(batches), options={"step_ms": step_ms})
    assert run(["run", file, "--fresh", "--blocks", str(blocks)]) == 0
    export = folder / f"{name}.jsonl"
    assert run(["report", "latest", "--export", str(export)]) == 0
    # The option is part of a configuration's name; here it stands for a change of the code.
    export.write_text(export.read_text().replace(f"step_ms={step_ms:g}", "step_ms=1").replace(f'"{step_ms:g}"', '"1"'))
    return str(export)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """base and same: steps of 4 ms; slow: of 8 ms."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return {name: measure(folder, name, ms) for name, ms in (("base", 4), ("same", 4), ("slow", 8))}


def test_a_gate_passes_fails_and_writes_every_form(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    assert run(["gate", runs["base"], "--write-baseline", str(baseline)]) == 0
    files = {name: tmp_path / f"out.{name}" for name in ("json", "junit", "markdown", "benchmark-json")}
    forms = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    capsys.readouterr()
    assert run(["gate", runs["slow"], "--baseline", str(baseline), "--tolerance", "20%", *forms]) == 1
    assert capsys.readouterr().out.startswith("Worse: 2 configurations take more energy than the tolerance of 20 %")
    assert json.loads(files["json"].read_text())["outcome"] == "worse"
    (suite,) = ElementTree.fromstring(files["junit"].read_bytes())
    assert suite.get("failures") == "2"
    assert files["markdown"].read_text().startswith("### servewatt: worse\n")
    assert len(json.loads(files["benchmark-json"].read_text())) == 2
    assert run(["gate", runs["same"], "--baseline", str(baseline), "--tolerance", "50%"]) == 0
    # An improvement never fails.
    assert run(["gate", runs["base"], "--baseline", runs["slow"], "--tolerance", "20%"]) == 0


def test_runs_are_compared_both_ways(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", runs["base"], runs["slow"], "--tolerance", "20%", "--json"]) == 1
    forth = json.loads(capsys.readouterr().out)
    assert run(["compare", runs["slow"], runs["base"], "--tolerance", "20%", "--json"]) == 0
    back = json.loads(capsys.readouterr().out)
    assert {one["change"] for one in forth["compared"]} == {"worse"}
    assert {one["change"] for one in back["compared"]} == {"better"}
    for one, other in zip(forth["compared"], back["compared"], strict=True):
        assert one["ratio"]["estimate"] == pytest.approx(1 / other["ratio"]["estimate"])
        assert one["ratio"]["estimate"] == pytest.approx(2.0, rel=0.2)
    assert run(["compare", runs["base"], runs["slow"], "--metric", "time", "--tolerance", "20%"]) == 1


def test_too_little_is_undecided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = measure(tmp_path, "one", 4, blocks=1)
    other = measure(tmp_path, "other", 4, blocks=1)
    capsys.readouterr()
    assert run(["gate", one, "--baseline", other]) == 3
    shown = capsys.readouterr().out
    assert shown.startswith("Undecided: 2 configurations cannot be told yet")
    assert "to tell: measure more episodes" in shown


def test_a_missing_configuration_is_named(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = measure(tmp_path, "fewer", 4, batches=(1,))
    capsys.readouterr()
    assert run(["gate", fewer, "--baseline", runs["base"], "--tolerance", "50%"]) == 3
    assert "note: missing in head: fake/cpu/fp32/b2/step_ms=1: not measured" in capsys.readouterr().out


def test_other_work_and_other_machines_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other_machine = tmp_path / "other.json"
    assert run(["gate", H200, "--write-baseline", str(other_machine)]) == 0
    document = json.loads(other_machine.read_text())
    document["run"] = "another"
    document["fingerprint"]["machine"] |= {"cpu": "Other CPU", "digest": "1"}
    other_machine.write_text(json.dumps(document))
    assert run(["gate", H200, "--baseline", str(other_machine)]) == 2
    told = capsys.readouterr().err
    assert "different machines: cpu: Other CPU against Intel" in told and "--across-machines" in told
    assert run(["gate", H200, "--baseline", str(other_machine), "--across-machines"]) == 3
    assert "the machines differ" in capsys.readouterr().out
    assert run(["compare", H200, str(EXAMPLES / "h200-pythia-410m.json.gz"), "--across-machines"]) == 2
    assert "different work: model: bundled against pythia-410m" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gate"], "a gate needs a baseline"),
        (["gate", "--baseline", H200, "--write-baseline", "x.json"], "a gate needs a baseline"),
        (["gate", H200, "--baseline", "nowhere.json"], "there is no file nowhere.json"),
        (["gate", H200, "--baseline", str(EXAMPLES)], "is a folder"),
        (["gate", H200, "--baseline", str(EXAMPLES / "demo.yaml")], "is no baseline: it is not JSON"),
        (["gate", H200, "--baseline", H200], "nothing was measured since"),
        (["gate", H200, "--baseline", H200, "--tolerance", "0"], "a tolerance of 0 makes no sense"),
        (["gate", H200, "--baseline", H200, "--tolerance", "300%"], "a tolerance of 3 makes no sense"),
        (["gate", H200, "--baseline", H200, "--tolerance", "3 percent"], "--tolerance: '3 percent' is no share"),
        (["gate", H200, "--baseline", H200, "--confidence", "1"], "a confidence of 1 makes no sense"),
        (["gate", "--baseline", H200], "no results store"),
        (["compare", "latest", H200], "no results store"),
        (["compare", H200], "there is nothing to compare"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    told = capsys.readouterr().err
    assert message in told.lower() or message in told
    assert "\nhint: " in told
    assert not list(tmp_path.iterdir())


def test_latest_of_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(tmp_path / "empty.db"):
        pass
    assert run(["gate", "--baseline", H200, "--store", str(tmp_path / "empty.db")]) == 2
    assert "hint: " in capsys.readouterr().err

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servewatt.cli.main import run
from servewatt.models.catalogue import CATALOGUE
from tests.models.fake_hub import FakeHub, serve, use
from tests.models.tiny import write_llama

SAFE = {"safetensors": {"parameters": {"F16": 10**9}, "total": 10**9}}
RESULT = {"model-index": [{"name": "x", "results": [{"dataset": {"type": "openai_humaneval", "name": "HumanEval"}}]}]}


def page(name: str, downloads: int, *tags: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "pipeline_tag": "text-generation", "downloads": downloads, "tags": list(tags), **more}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serve() as server:
        use(server, tmp_path / "hf", monkeypatch)
        server.models = [
            page("owner/good", 90, "code", **SAFE, **RESULT),
            page("owner/pickled", 80, "code", **RESULT),
            page("owner/large", 70, "code", **RESULT, safetensors={"parameters": {}, "total": 7 * 10**9}),
            page("owner/untested", 60, "code", **SAFE),
            page("microsoft/phi-2", 55, "code", **SAFE),
            page("google/codegemma-2b", 50, **SAFE, gated="manual"),
            page("owner/prose", 40, **SAFE, **RESULT),
        ]
        monkeypatch.chdir(tmp_path)
        yield server


def test_the_twelve_need_no_hub(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(["study", "models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert [row["size_group"] for row in rows] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    phi = next(row for row in rows if row["name"] == "phi2")
    assert phi["parameters"] == 2_779_683_840
    assert phi["revision"] == "ef382358ec9e382308935a992d908de099b64c23"
    assert phi["downloaded"] is None
    assert {row["name"] for row in rows if row["gated"]} == {"starcoderbase-1b", "codegemma-2b", "stablecode-3b"}


def test_the_table_of_the_twelve_fits_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    write_llama(tmp_path / "models--microsoft--phi-2" / "snapshots" / str(CATALOGUE["phi2"].revision))
    assert run(["study", "models"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "phi2                      2,779,683,840   2.78 B  PhiForCausalLM         yes" in lines
    assert any(line.startswith("stablecode-3b             2,769,310,720  3.31 B*") for line in lines)
    assert "* 536,870,912 of these are elements of causal masks, not parameters" in lines
    assert any(line.split() == ["google/codegemma-2b", "—", "gemma,", "gated"] for line in lines)


def test_the_funnel_over_the_hub(fake: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "models", "--select", "--out", "selection.json", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(Path("selection.json").read_text())
    assert [(s["name"], s["remaining"]) for s in shown["stages"]] == [
        ("text-generation", 7),
        ("safetensors", 6),
        ("size", 5),
        ("humaneval", 3),
        ("code", 2),
    ]
    assert [model["hub_id"] for model in shown["survivors"]] == ["owner/good", "google/codegemma-2b"]
    assert shown["by_hand"] == 1
    assert (shown["endpoint"], shown["limit"], shown["sort"]) == (fake.url, 5000, "downloads")
    assert shown["date"].endswith("+00:00")
    fates = {fate["name"]: fate["left_at"] for fate in shown["twelve"]}
    assert fates.pop("phi2") == "humaneval"
    assert fates.pop("codegemma-2b") == ""
    assert set(fates.values()) == {"hub"}


def test_the_funnel_in_words(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["study", "models", "--select", "--limit", "0", "--max-parameters", "1e9"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "listed under text-generation 7 104,816" in shown
    assert "at most 1 B parameters 5 32,242" in shown
    assert "is for code, by its page 2 —" in shown
    assert "owner/good 1.00 B results tag code 90" in shown
    assert "google/codegemma-2b 1.00 B by hand name 50" in shown
    assert any(line.startswith("1 of them is gated and shows no HumanEval result") for line in shown)
    assert "phi2 left out at: humaneval" in shown
    assert "codegemma-2b passes" in shown
    assert "pythia-410m not on the hub" in shown


def test_a_limit_looks_at_the_most_downloaded(fake: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "models", "--select", "--limit", "3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [stage["remaining"] for stage in shown["stages"]] == [3, 2, 1, 1, 1]


def test_a_recorded_selection_is_not_overwritten(fake: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    Path("selection.json").write_text("kept")
    assert run(["study", "models", "--select", "--out", "selection.json"]) == 2
    assert "--force" in capsys.readouterr().err
    assert not fake.requests
    assert Path("selection.json").read_text() == "kept"
    assert run(["study", "models", "--select", "--out", "selection.json", "--force"]) == 0
    assert json.loads(Path("selection.json").read_text())["survivors"]


def test_an_unreachable_hub_is_told_with_the_next_step(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(["study", "models", "--select", "--out", "selection.json"]) == 2
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("error: cannot reach http://127.0.0.1:9")
    assert second.startswith("hint: connect")
    assert not Path("selection.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "5"], "add --select"),
        (["--out", "x.json"], "add --select"),
        (["--select", "--max-parameters", "0"], "leaves no model"),
        (["--select", "--max-parameters", "nan"], "leaves no model"),
    ],
)
def test_wrong_options(fake: FakeHub, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(["study", "models", *arguments]) == 2
    assert message in capsys.readouterr().err

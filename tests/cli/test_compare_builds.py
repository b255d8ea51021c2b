"""`servewatt compare --base`: two builds of servewatt in one race, the head's fake engine slower."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from servewatt.cli.main import run
from servewatt.store import Store
from tests.wheels import servewatt_wheel, spec

QUICK = [
    *("--engine", "fake", "--provider", "cpu", "--prompts", "bundled:2", "--new-tokens", "4", "--meter", "fake"),
    *("--idle", "0.1", "--warm-up", "0.05", "--settle", "0", "--foreign-limit", "1", "--slice", "0.1"),
    *("--option", "step_ms=5", "--budget", "90s", "--tolerance", "10%"),
]


def test_a_slower_build_is_found_in_one_race(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = spec(servewatt_wheel(tmp_path, "9.1"))
    head = spec(servewatt_wheel(tmp_path, "9.2", step_factor=2.0))
    assert run(["compare", "--base", base, "--head", head, *QUICK, "--json"]) == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["paired"] is True
    (one,) = document["compared"]
    assert (one["configuration"], one["change"]) == ("fake/cpu/fp32/b1/step_ms=5", "worse")
    assert one["ratio"]["low"] > 1.1
    assert one["ratio"]["estimate"] == pytest.approx(2.0, rel=0.2)
    assert {d["what"]: (d["base"], d["head"]) for d in document["differences"]} == {"servewatt": ("9.1", "9.2")}
    assert "1 of 1 pair told" in printed.err
    # The same again finds what was measured, by the content of the builds.
    assert run(["compare", "--base", base, "--head", head, *QUICK]) == 1
    assert "is complete" in capsys.readouterr().err
    with Store.open() as store:
        (only,) = store.runs()
    assert [c.build.partition("-")[0] for c in only.plan.configurations] == ["base", "head"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base", "-e ."], "--base: -e would not install into a build"),
        (["--base", "x", "--head", "'"], '--head: "\'" is no list of arguments'),
        (["--base", "x", "latest"], "--base measures anew"),
        (["--base", "x", "--across-machines"], "--base measures anew"),
        (["--base", "x", "--tolerance", "0"], "a tolerance of 0 makes no sense"),
        (["a", "b", "--engine", "fake"], "--engine needs --base"),
        (["--head", "x", "a", "b"], "--head needs --base"),
        (["a"], "there is nothing to compare"),
        ([], "there is nothing to compare"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    extra = ["--engine", "fake", "--meter", "fake"] if "--base" in arguments else []
    assert run(["compare", *arguments, *extra]) == 2
    told = capsys.readouterr().err
    assert message in told and "\nhint: " in told

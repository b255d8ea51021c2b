"""What lies in examples/ works as its README says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from servewatt.cli.main import run
from servewatt.cli.root import command
from servewatt.experiment import study_file

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.name)
def test_every_study_file_is_valid(path: Path) -> None:
    assert study_file.read(path).procedure.blocks >= 3


def helps() -> Iterator[tuple[str, str]]:
    """Each command with all the text of its help."""
    groups: list[tuple[str, click.Command]] = [("servewatt", command)]
    while groups:
        name, one = groups.pop()
        options = [p.help or "" for p in one.params if isinstance(p, click.Option)]
        yield name, " ".join([one.help or "", one.epilog or "", *options])
        if isinstance(one, click.Group):
            context = click.Context(one)
            found = {n: one.get_command(context, n) for n in one.list_commands(context)}
            groups += [(f"{name} {n}", c) for n, c in found.items() if c is not None]


def test_files_that_a_help_text_names_are_there() -> None:
    named = {
        (name, file)
        for name, text in helps()
        for file in re.findall(r"\b(?:examples|results|docs|benchmarks)/[\w./-]*\w", text)
    }
    assert ("servewatt run", "examples/demo.yaml") in named
    assert {(name, file) for name, file in named if not (EXAMPLES.parent / file).exists()} == set()


def report(name: str, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert run(["report", str(EXAMPLES / name), *options]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["h200-bundled.json.gz", "h200-pythia-410m.json.gz"])
def test_the_gpu_runs_are_counter_grade_and_agree(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(report(name, capsys, "--json"))
    summaries = document["analysis"]["summaries"]
    assert {s["configuration"]["engine"] for s in summaries if s["blocks"] == 3} == {"torch", "torchscript", "onnx"}
    assert {s["energy_grade"] for s in summaries} == {"counter"}
    assert all(s["output_agreement"] == 1 for s in summaries)


def test_random_weights_are_stated_wherever_results_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ([], ["--markdown"], ["--json"]):
        assert "random" in report("h200-pythia-410m.json.gz", capsys, *option)


def test_the_machine_boundary_says_that_it_contains_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    shown = report("h200-bundled.json.gz", capsys, "--boundary", "machine")
    assert "estimated" in shown
    assert "~" in shown


def test_a_limit_that_nothing_meets_is_answered_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", str(EXAMPLES / "h200-bundled.json.gz"), "--max-ttft", "1us"]) == 1
    assert "time to first token" in capsys.readouterr().out


def test_a_limit_excludes_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", str(EXAMPLES / "h200-pythia-410m.json.gz"), "--max-latency-p95", "400ms"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Serve with torchscript/cuda/fp32/b1")
    assert "excluded: torch/cuda/fp32/b1" in shown
    assert "not shown yet: onnx/cuda/fp32/b1" in shown


def test_a_limit_inside_the_interval_is_not_shown_to_be_met(capsys: pytest.CaptureFixture[str]) -> None:
    # torchscript's p95 is 284 ms, with an interval of 232 to 392 ms.
    assert run(["recommend", str(EXAMPLES / "h200-pythia-410m.json.gz"), "--max-latency-p95", "300ms"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("No configuration is shown to meet the limits yet; torchscript/cuda/fp32/b1 could: ")
    assert "more blocks would tell" in shown and "excluded: torch/cuda/fp32/b1" in shown


def test_a_run_that_did_not_record_its_shape_still_shows_how_far_it_is_from_the_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = json.loads(report("h200-pythia-410m.json.gz", capsys, "--json"))
    limits = {s["configuration"]["engine"]: s["limit"] for s in document["analysis"]["summaries"]}
    # 353 501 184 numbers of 4 bytes; with some KV cache, less 62.9 MB of L2, over 4.8 TB/s: 0.287 ms a token.
    assert limits["torchscript"]["weight_bytes_per_step"] == 1_414_004_736
    assert limits["torchscript"]["floor_s_per_token"] == pytest.approx(0.000287, rel=0.01)
    assert limits["torchscript"]["times_floor"]["estimate"] == pytest.approx(14.6, rel=0.01)
    assert "may be read from the last-level cache" in " ".join(report("h200-bundled.json.gz", capsys).split())


def test_one_request_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", str(EXAMPLES / "h200-pythia-410m.json.gz"), "--concurrency", "0"]) == 2
    capsys.readouterr()
    name = str(EXAMPLES / "h200-pythia-410m.json.gz")
    assert run(["recommend", name, "--concurrency", "1", "--max-latency-p95", "400ms"]) == 0

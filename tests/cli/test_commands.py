"""The command line as a whole: help, completion, speed, machine-readable output."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from servewatt.cli.main import run
from servewatt.cli.root import COMMANDS, command

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "altair", "vl_convert", "scipy.stats")


def subcommands() -> list[click.Command]:
    context = click.Context(command)
    found = [c for name in COMMANDS if (c := command.get_command(context, name)) is not None]
    groups = [c for c in found if isinstance(c, click.Group)]
    return found + [c for group in groups for c in group.commands.values()]


@pytest.mark.parametrize("one", subcommands(), ids=lambda c: c.name)
def test_every_command_has_an_example_and_every_option_a_help_text(one: click.Command) -> None:
    assert "servewatt" in (one.epilog or "")
    assert one.help
    for parameter in one.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_list_is_the_command_s_own_beginning(name: str) -> None:
    found = command.get_command(click.Context(command), name)
    assert found is not None
    assert found.get_short_help_str(200)


@pytest.mark.parametrize("arguments", [["--help"], ["engines"], ["models"], ["report", "--help"], ["run", "--help"]])
def test_a_command_without_an_engine_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        f"import sys; from servewatt.cli.main import run; run({arguments!r}); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_engines_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engines", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"torch", "torchscript", "onnx", "openvino", "fake"} <= set(rows)
    assert {"provider": "cpu", "precision": "fp32"} in rows["onnx"]["supports"]


def test_models_lists_the_bundled_one_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["name"] == "bundled"
    groups = [row["group"] for row in rows]
    assert groups == ["bundled"] + ["study"] * 12 + ["today"] * (len(rows) - 13)
    assert "qwen2.5-coder-1.5b" in {row["name"] for row in rows if row["group"] == "today"}


def test_models_list_is_the_list_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert run(["models", "--json"]) == 0
    assert capsys.readouterr().out == listed


def test_pruning_an_empty_cache_frees_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "prune", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 0, "freed_bytes": 0}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_back_into_servewatt(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_SERVEWATT_COMPLETE" in capsys.readouterr().out


def test_completion_offers_the_commands() -> None:
    environment = {"COMP_WORDS": "servewatt re", "COMP_CWORD": "1", "_SERVEWATT_COMPLETE": "bash_complete"}
    script = "from servewatt.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == {"report", "recommend"}


def test_the_doctor_names_every_meter_and_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert {m["name"] for m in found["meters"]} == {"nvml", "rapl", "estimate"}
    assert all(m["reason"] or m["domains"] for m in found["meters"])
    assert found["environment"]["memory_bandwidth_bytes_s"] > 1e8

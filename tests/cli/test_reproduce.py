"""The command that a report prints to measure the same again."""

from __future__ import annotations

import shlex

import pytest

from servewatt.cli.naming import configuration
from servewatt.cli.planning import expand
from servewatt.cli.run_file import validate
from servewatt.cli.showing import reproduce
from servewatt.records import Configuration, Plan, Procedure
from tests.stats.builders import MODEL, WORKLOAD


def asked_for(command: str) -> set[Configuration]:
    """The configurations that the command line asks for."""
    words = shlex.split(command)
    given = {words[i]: words[i + 1] for i in range(len(words) - 1) if words[i].startswith("--")}
    if "--configuration" in given:
        return {configuration(name) for name in given["--configuration"].split(",")}
    lists = {"engine": "engines", "provider": "providers", "precision": "precisions", "batch": "batches", "via": "via"}
    content = {part: given[f"--{name}"].split(",") for name, part in lists.items()}
    kept, _ = expand(validate({"configurations": content}, "here").configurations, has_gpu=False)
    return set(kept)


@pytest.mark.parametrize(
    "names",
    [
        ("fake/b1", "fake/b4", "fake/int4/b1", "fake/int4/b4"),
        ("fake/b1", "fake/int4/b4"),
        ("fake/b1", "fake/t2"),
    ],
    ids=["a product", "none", "threads"],
)
def test_it_asks_for_the_same_configurations(names: tuple[str, ...]) -> None:
    plan = Plan(MODEL, WORKLOAD, tuple(map(configuration, names)), Procedure())
    assert asked_for(reproduce(plan)) == set(plan.configurations)


def test_options_are_listed_where_all_share_them() -> None:
    configurations = tuple(configuration(f"{e}/int4/activations=int8") for e in ("onnx", "openvino"))
    command = reproduce(Plan(MODEL, WORKLOAD, configurations, Procedure()))
    assert "--engine onnx,openvino" in command
    assert "--option activations=int8" in command

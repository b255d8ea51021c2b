"""The command that a report prints to measure the same again."""

from __future__ import annotations

import shlex
from dataclasses import replace

import click
import pytest

from servewatt.cli.request import read_request
from servewatt.cli.root import command
from servewatt.experiment.naming import configuration
from servewatt.experiment.planning import expand
from servewatt.experiment.study_file import StudyFile, validate
from servewatt.records import Boundary, Configuration, ModelSource, Plan, Procedure, Weights
from servewatt.report.reproduce import reproduce
from tests.stats.builders import MODEL, WORKLOAD


def asked_for(line: str) -> set[Configuration]:
    """The configurations that the command line asks for."""
    words = shlex.split(line)
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


def read_back(line: str) -> StudyFile:
    """What `servewatt run` understands of the command line."""
    _, name, *words = shlex.split(line)
    found = command.get_command(click.Context(command), name)
    assert found is not None
    with found.make_context(name, words) as context:
        return read_request(None, context.params)


def test_it_asks_for_the_same_procedure() -> None:
    unusual = Procedure(
        blocks=7,
        seed=3,
        settle_s=0.25,
        idle_s=1.5,
        window_s=4.5,
        warmup_s=2.5,
        timeout_s=90,
        foreign_limit=0.35,
        retries=4,
        sample_interval_s=0.75,
        meters=("fake:gpu:0=100", "estimate"),
        cpu_watts=(12.5, 65),
        boundary=Boundary.CPU,
    )
    line = reproduce(Plan(MODEL, WORKLOAD, (configuration("fake/b1"),), unusual))
    assert read_back(line).procedure.procedure() == unusual
    usual = reproduce(Plan(MODEL, WORKLOAD, (configuration("fake/b1"),), Procedure()))
    assert read_back(usual).procedure.procedure() == Procedure()
    assert "--foreign-limit" not in usual


def test_it_asks_for_the_same_model_and_prompts() -> None:
    model = replace(MODEL, name="m", source=ModelSource.FOLDER, folder="/a folder/m", weights=Weights.RANDOM, seed=5)
    plan = Plan(model, replace(WORKLOAD, name="my prompts.txt"), (configuration("fake/b1"),), Procedure())
    asked = read_back(reproduce(plan))
    assert (asked.model.name, asked.model.weights, asked.model.seed) == ("/a folder/m", "random", 5)
    assert (asked.workload.prompts, asked.workload.limit) == ("my prompts.txt", len(WORKLOAD.prompts))

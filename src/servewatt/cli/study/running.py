"""The work of `servewatt study run`: one run for each model, in the study's store."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from servewatt.cli.hints import worded
from servewatt.cli.progress import ConsoleObserver
from servewatt.cli.request import validate_options
from servewatt.cli.signals import terminated_as_interrupt
from servewatt.cli.study.run import default_store
from servewatt.errors import InputError, ServewattError, nearest
from servewatt.experiment.events import Observer, step
from servewatt.experiment.machine import board_in_use, check_boards, described, metered_domains
from servewatt.experiment.measuring import Experiment, measure, outlook
from servewatt.experiment.planning import LeftOut, expand, make_workload, of_model
from servewatt.experiment.study_file import ConfigurationPart, StudyFile, WorkloadPart
from servewatt.harness.environment import describe_gpus
from servewatt.models.cache import ArtefactCache
from servewatt.models.catalogue import CATALOGUE
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Environment, Model, Plan, Procedure, Provider, Weights, Workload
from servewatt.store import Store
from servewatt.study.data.names import ENGINE_LABELS
from servewatt.study.protocol.presets import DIFFERENCES, Protocol, protocol

DEFAULT_PROMPTS = Path("humaneval-line.jsonl")
"""What `servewatt study prompts` writes unless told otherwise."""


@dataclass(frozen=True)
class Request:
    """What was asked for, checked as far as that goes without a model."""

    protocol: Protocol
    models: tuple[str, ...]
    weights: Weights
    configurations: ConfigurationPart
    work: WorkloadPart
    procedure: Procedure
    store: str
    evict: bool
    fresh: bool
    plan_only: bool
    prepare: bool


def request(protocol_name: str, options: dict[str, Any]) -> Request:
    """The preset with the command's options laid over it. Raises InputError for names that do not exist."""
    preset = protocol(protocol_name)
    prompts = options["prompts"] or str(DEFAULT_PROMPTS)
    if options["prompts"] is None and not DEFAULT_PROMPTS.is_file():
        raise InputError(
            f"there is no {DEFAULT_PROMPTS} here", "make it with `servewatt study prompts`, or say --prompts bundled"
        )
    names = tuple(options["models"] or CATALOGUE)
    for name in names:
        if name not in CATALOGUE:
            raise InputError(f"{name!r} is none of the study's models", nearest(name, CATALOGUE))
    checked = _configurations(preset, options)
    overrides = ("blocks", "seed", "idle_s", "window_s", "timeout_s", "foreign_limit", "boundary")
    given = {name: options[name] for name in overrides if options[name] is not None}
    procedure = validate_options({"procedure": {**given, "meters": list(options["meters"])}}).procedure.procedure()
    asked = {"prompts": prompts, "limit": options["limit"] or preset.prompts, "stop": preset.stop}
    tokens = options["new_tokens"] or preset.new_tokens
    # Without a number the model's context decides; see _workload.
    work = validate_options({"workload": {**asked, "new_tokens": tokens or 1}}).workload
    work = work if tokens else work.model_copy(update={"new_tokens": 0})
    return Request(
        protocol=preset,
        models=names,
        weights=Weights(options["weights"]),
        configurations=checked.configurations,
        work=work,
        procedure=replace(preset.procedure, **{name: getattr(procedure, name) for name in (*given, "meters")}),
        store=options["store"] or str(default_store()),
        evict=options["evict"],
        fresh=options["fresh"],
        plan_only=options["plan_only"],
        prepare=not options["no_prepare"],
    )


def _configurations(preset: Protocol, options: dict[str, Any]) -> StudyFile:
    content = {
        "engines": options["engines"] or ([] if options["named"] else list(ENGINE_LABELS)),
        "precisions": options["precisions"] or [preset.precision.value],
        "batches": options["batches"] or [preset.batch],
        "via": options["via"] or [preset.via.value],
    }
    content |= {name: options[name] for name in ("providers", "named") if options[name]}
    return validate_options({"configurations": content})


def run_study(asked: Request) -> int:
    """Measure model after model; one that cannot be measured is told and does not stop the others.

    Returns the exit code: 1 if any model came to nothing.
    """
    console = Console(stderr=True)
    observer = ConsoleObserver(console)
    domains = metered_domains(asked.procedure)
    configurations, left_out = expand(asked.configurations, has_gpu=bool(describe_gpus()))
    check_boards(configurations, domains, board_in_use(asked.procedure.meters))
    with step(observer, "looking at the machine"):
        environment = described(domains)
    tuned = tuple(_with_options(c, asked.protocol) for c in configurations)
    failed = []
    with Store.open(asked.store) as store:
        for number, name in enumerate(asked.models, 1):
            console.rule(f"{number}/{len(asked.models)} {escape(name)}", align="left")
            try:
                measured = _measure_model(observer, store, name, asked, environment, tuned, left_out)
            except ServewattError as error:
                console.print(f"[red]{escape(name)}[/]: {escape(error.message)}", highlight=False)
                console.print(f"  {escape(worded(error.hint))}", style="dim", highlight=False)
                measured = False
            if not measured:
                failed.append(name)
    if failed:
        console.print(f"nothing was measured for {', '.join(failed)}", style="red", highlight=False)
    if not asked.plan_only and len(failed) < len(asked.models):
        console.print(f"results are in {asked.store}; next: servewatt study collect --out results.parquet",
                      highlight=False, soft_wrap=True)  # fmt: skip
    return 1 if failed else 0


def _measure_model(
    observer: Observer,
    store: Store,
    name: str,
    asked: Request,
    environment: Environment,
    configurations: tuple[Configuration, ...],
    left_out: tuple[LeftOut, ...],
) -> bool:
    """Measure one model; whether any of its trials succeeded (or only its plan was asked for)."""
    begin_s = time.time()
    with ArtefactCache() as cache:
        with step(observer, f"looking at {name}"):
            model = resolve(name, weights=asked.weights, cache=cache, draw=not asked.plan_only)
            known, unknown = of_model(configurations, model)
            plan = Plan(model, _workload(asked, model), known, asked.procedure)
        experiment = Experiment(plan, environment, left_out + unknown)
        if asked.plan_only:
            outlook(experiment, store, observer, fresh=asked.fresh)
            return True
        with terminated_as_interrupt():
            measured = measure(experiment, store, observer, fresh=asked.fresh, prepare=asked.prepare)
    if asked.evict:
        ArtefactCache().evict_used_since(begin_s)
    if (problem := measured.keeper.problem()) is not None:
        raise problem
    return measured.succeeded


def _workload(asked: Request, model: Model) -> Workload:
    """The prompts of one pass, with as many tokens out as the protocol leaves."""
    if asked.work.new_tokens:
        return make_workload(asked.work, model)
    longest = max(map(len, make_workload(asked.work.model_copy(update={"new_tokens": 1}), model).prompts))
    room = asked.protocol.max_length - longest
    if room < 1:
        raise InputError(
            f"a prompt has {longest} tokens, and {asked.protocol.max_length} is the most for prompt and answer",
            "use shorter prompts (servewatt study prompts), or --new-tokens",
        )
    return make_workload(asked.work.model_copy(update={"new_tokens": room}), model)


def _with_options(configuration: Configuration, preset: Protocol) -> Configuration:
    """The preset's engine options where they mean something: linear layers are only packed on the CPU."""
    if configuration.options or configuration.engine != "torch" or configuration.provider is not Provider.CPU:
        return configuration
    return replace(configuration, options=tuple(sorted(preset.engine_options.items())))


def explain(*, markdown: bool) -> None:
    """Print what differs between the study, its preset and the sound preset."""
    heads = ("", "the study", "`--protocol published`", "`--protocol sound`")
    rows = [(line.topic, line.study, line.published, line.sound) for line in DIFFERENCES]
    quick = "`--protocol quick` is sound with 2 blocks of short windows: to see that all of it runs."
    if markdown:
        lines = [heads, ("---",) * len(heads), *rows]
        click.echo("\n".join(f"| {' | '.join(cells)} |" for cells in lines) + f"\n\n{quick}")
        return
    table = Table(*heads, box=None, padding=(0, 2, 1, 0))
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(quick)

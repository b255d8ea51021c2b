"""A campaign of the study: a run for each of its models, one after another, in one store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from servewatt.errors import InputError, ServewattError
from servewatt.experiment.events import Observer, step
from servewatt.experiment.machine import board_in_use, check_boards, described, metered_domains
from servewatt.experiment.measuring import Experiment, measure, outlook
from servewatt.experiment.planning import LeftOut, expand, make_workload, of_model
from servewatt.experiment.study_file import ConfigurationPart, WorkloadPart
from servewatt.harness.environment import describe_gpus
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Environment, Model, Plan, Procedure, Provider, Weights, Workload
from servewatt.store import Store
from servewatt.study.protocol.presets import Protocol


@dataclass(frozen=True)
class Campaign:
    """What is measured, checked as far as that goes without a model."""

    protocol: Protocol
    models: tuple[str, ...]
    weights: Weights
    configurations: ConfigurationPart
    work: WorkloadPart
    """Without a number of new tokens, the protocol's greatest length leaves what is generated."""
    procedure: Procedure
    evict: bool = False
    """Whether the exports and random weights of a model are freed once it is done."""
    fresh: bool = False
    """Whether what was measured before is measured again, as new runs."""
    plan_only: bool = False
    prepare: bool = True
    """Whether configurations are tried out first."""


@dataclass(frozen=True)
class Listener:
    """What is told while a campaign goes on, besides the events of each run."""

    begun: Callable[[int, str], None]
    """With the number of a model, from 1, and its name."""
    failed: Callable[[str, ServewattError], None]
    """With the name of a model that cannot be measured, and why."""


def measure_campaign(campaign: Campaign, store: str, observer: Observer, listener: Listener) -> tuple[str, ...]:
    """Measure model after model into the store at this path or address; names the models that came to nothing.

    A model that cannot be measured is told to `listener` and does not stop the others. Raises InputError for
    configurations that this machine cannot measure at all.
    """
    domains = metered_domains(campaign.procedure)
    configurations, left_out = expand(campaign.configurations, has_gpu=bool(describe_gpus()))
    check_boards(configurations, domains, board_in_use(campaign.procedure.meters))
    with step(observer, "looking at the machine"):
        environment = described(domains)
    tuned = tuple(_with_options(c, campaign.protocol) for c in configurations)
    nothing = []
    with Store.open(store) as opened:
        for number, name in enumerate(campaign.models, 1):
            listener.begun(number, name)
            try:
                measured = _measure_model(observer, opened, name, campaign, environment, tuned, left_out)
            except ServewattError as error:
                listener.failed(name, error)
                measured = False
            if not measured:
                nothing.append(name)
    return tuple(nothing)


def _measure_model(
    observer: Observer,
    store: Store,
    name: str,
    campaign: Campaign,
    environment: Environment,
    configurations: tuple[Configuration, ...],
    left_out: tuple[LeftOut, ...],
) -> bool:
    """Measure one model; whether any of its trials succeeded (or only its plan was asked for)."""
    begin_s = time.time()
    with ArtefactCache() as cache:
        with step(observer, f"looking at {name}"):
            model = resolve(name, weights=campaign.weights, cache=cache, draw=not campaign.plan_only)
            known, unknown = of_model(configurations, model)
            plan = Plan(model, _workload(campaign, model), known, campaign.procedure)
        experiment = Experiment(plan, environment, left_out + unknown)
        if campaign.plan_only:
            outlook(experiment, store, observer, fresh=campaign.fresh)
            return True
        measured = measure(experiment, store, observer, fresh=campaign.fresh, prepare=campaign.prepare)
    if campaign.evict:
        ArtefactCache().evict_used_since(begin_s)
    if (problem := measured.keeper.problem()) is not None:
        raise problem
    return measured.succeeded


def _workload(campaign: Campaign, model: Model) -> Workload:
    """The prompts of one pass, with as many tokens out as the protocol leaves."""
    if campaign.work.new_tokens:
        return make_workload(campaign.work, model)
    longest = max(map(len, make_workload(campaign.work.model_copy(update={"new_tokens": 1}), model).prompts))
    room = campaign.protocol.max_length - longest
    if room < 1:
        raise InputError(
            f"a prompt has {longest} tokens, and {campaign.protocol.max_length} is the most for prompt and answer",
            "use shorter prompts (servewatt study prompts), or --new-tokens",
        )
    return make_workload(campaign.work.model_copy(update={"new_tokens": room}), model)


def _with_options(configuration: Configuration, preset: Protocol) -> Configuration:
    """The preset's engine options where they mean something: linear layers are only packed on the CPU."""
    if configuration.options or configuration.engine != "torch" or configuration.provider is not Provider.CPU:
        return configuration
    return replace(configuration, options=tuple(sorted(preset.engine_options.items())))

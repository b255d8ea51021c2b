"""From what the user asked for to a plan: everything is read and checked before anything is measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from servewatt import engines, serve
from servewatt.advice import Action, Advice
from servewatt.errors import InputError, ServewattError, UnavailableError, nearest
from servewatt.experiment.naming import fields
from servewatt.experiment.study_file import ConfigurationPart, StudyFile, WorkloadPart
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.models.tokenizer import load as load_tokenizer
from servewatt.records import (
    Configuration,
    Model,
    Plan,
    Precision,
    Provider,
    Race,
    Via,
    Weights,
    Workload,
)
from servewatt.workloads.build import build
from servewatt.workloads.prompts import read as read_prompts

ALL = "all"
"""In place of the names of engines, providers or precisions: every one that can be used here."""


@dataclass(frozen=True)
class LeftOut:
    """A combination that cannot run here."""

    key: str
    reason: str
    hint: str


def make_plan(
    asked: StudyFile,
    cache: ArtefactCache,
    *,
    has_gpu: bool,
    draw: bool = True,
    configurations: Sequence[Configuration] | None = None,
) -> tuple[Plan, tuple[LeftOut, ...]]:
    """The plan, and the combinations left out of it with their reasons.

    `configurations` stand in place of those that `asked` lists. Without `draw` random weights are not written, and
    nothing can be measured with this plan. Raises InputError (or another ServewattError) for whatever cannot be used;
    nothing has been measured then.
    """
    wanted, left_out = (
        expand(asked.configurations, has_gpu=has_gpu)
        if configurations is None
        else runnable(configurations, has_gpu=has_gpu)
    )
    part = asked.model
    weights = Weights(part.weights)
    model = resolve(part.name, weights=weights, revision=part.revision, seed=part.seed, cache=cache, draw=draw)
    known, unknown = of_model(wanted, model)
    workload = make_workload(asked.workload, model)
    procedure, race = asked.procedure.procedure(), _race(asked, known)
    procedure = replace(procedure, duet=race is not None)
    return Plan(model, workload, known, procedure, race), left_out + unknown


def _race(asked: StudyFile, configurations: Iterable[Configuration]) -> Race | None:
    """When to stop; None where the number of blocks is given, or what HTTP adds is asked, which blocks tell."""
    if "blocks" in asked.procedure.model_fields_set:
        if asked.race.model_fields_set:
            raise InputError(
                "a number of blocks and a race were asked for, and a race stops when it can",
                Advice("leave out the blocks, or the race's ", ", ".join(sorted(asked.race.model_fields_set))),
            )
        return None
    if any(c.via is Via.HTTP for c in configurations):
        return None
    return asked.race.race()


def make_workload(part: WorkloadPart, model: Model) -> Workload:
    """The prompts, tokenised once for every engine."""
    tokenizer = load_tokenizer(model)
    return build(
        read_prompts(part.prompts),
        tokenizer.encode,
        new_tokens=part.new_tokens,
        stop=part.stop,
        limit=part.limit,
        context_length=model.context_length,
        vocabulary_size=model.vocabulary_size,
    )


def expand(part: ConfigurationPart, *, has_gpu: bool) -> tuple[tuple[Configuration, ...], tuple[LeftOut, ...]]:
    """The named configurations, or the product of the lists, less what cannot run here.

    Raises InputError for names that do not exist, and the first reason if nothing is left.
    """
    wanted = _named(part, has_gpu=has_gpu) if part.named else _product(part, has_gpu=has_gpu)
    if not wanted:
        raise InputError(
            "none of these engines runs on these providers",
            Advice("see ", Action.LIST_ENGINES, ", with what each runs"),
        )
    return runnable(wanted, has_gpu=has_gpu)


def runnable(
    wanted: Iterable[Configuration], *, has_gpu: bool
) -> tuple[tuple[Configuration, ...], tuple[LeftOut, ...]]:
    """Those that can run here, and the others; raises the first reason if none can."""

    def check(configuration: Configuration) -> None:
        engines.check(configuration)
        if (
            configuration.provider is Provider.CUDA
            and engines.entry(configuration.engine).real
            and not (has_gpu or _has_board())
        ):
            raise UnavailableError("CUDA: no NVIDIA GPU is seen here", Advice("see ", Action.DOCTOR))
        if configuration.via is Via.HTTP:
            serve.check()

    return _sift(wanted, check)


def of_model(wanted: Iterable[Configuration], model: Model) -> tuple[tuple[Configuration, ...], tuple[LeftOut, ...]]:
    """Those whose engines have code for the model's architecture, and the others; RefusedError if none is left."""
    return _sift(wanted, lambda configuration: engines.check_model(configuration, model))


def distinct(left_out: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """The first of each reason: one that holds of an engine holds of each of its configurations."""
    once: dict[tuple[str, str], LeftOut] = {}
    for left in left_out:
        once.setdefault((left.reason, left.hint), left)
    return tuple(once.values())


def _sift(
    wanted: Iterable[Configuration], check: Callable[[Configuration], None]
) -> tuple[tuple[Configuration, ...], tuple[LeftOut, ...]]:
    """Those that pass the check, each once, and the others with the reason; the first reason is raised if none does."""
    kept: list[Configuration] = []
    left_out: list[LeftOut] = []
    first_error: ServewattError | None = None
    for configuration in dict.fromkeys(wanted):
        try:
            check(configuration)
        except ServewattError as error:
            first_error = first_error or error
            left_out.append(LeftOut(configuration.key, error.message, error.hint))
        else:
            kept.append(configuration)
    if not kept and first_error is not None:
        raise first_error
    return tuple(kept), tuple(left_out)


def _has_board(dev: Path = Path("/dev")) -> bool:
    """Whether the driver has made a GPU's file, which CUDA needs, even where NVML is not there to list it."""
    return (dev / "dxg").exists() or any(dev.glob("nvidia[0-9]*"))


def _product(part: ConfigurationPart, *, has_gpu: bool) -> list[Configuration]:
    # One whose environment is broken stays in, to be left out with the reason.
    usable = [n for n, e in engines.ENGINES.items() if e.real and (e.version() is not None or e.problem())]
    names = [name for asked in part.engines or [ALL] for name in (usable if asked == ALL else [asked])]
    if not names:
        hint = "pip install 'servewatt[all]', or try the machinery with --engine fake"
        raise InputError("no runtime engine is installed", hint)
    providers = part.providers or ([Provider.CPU, Provider.CUDA] if has_gpu else [Provider.CPU])
    options = tuple(sorted((key, str(value)) for key, value in part.options.items()))
    return [
        Configuration(name, provider, precision, batch, part.threads, options, via)
        for name in dict.fromkeys(names)
        for provider in providers
        for precision in _precisions(part.precisions, name, provider)
        for batch, via in itertools.product(part.batches, part.via)
    ]


def _precisions(asked: Iterable[str], engine: str, provider: Provider) -> list[Precision]:
    """The precisions asked for; `all` stands for those that the engine has for the provider."""
    supports = engines.entry(engine).supports
    found: list[Precision] = []
    for name in asked:
        found += [t for t in Precision if (provider, t) in supports] if name == ALL else [_precision(name)]
    return list(dict.fromkeys(found))


def _named(part: ConfigurationPart, *, has_gpu: bool) -> list[Configuration]:
    """The named configurations in their order; what a name gives, it gives in place of the lists."""
    assert part.named
    if part.engines or part.options:
        raise InputError(
            "configurations are named, so engines and options cannot be listed beside them",
            "write the option into the name, such as onnx/int4/activations=int8",
        )
    found = []
    for name in part.named:
        given = fields(name)
        lists = part.model_copy(update={"engines": [given.pop("engine")]})
        found += [replace(configuration, **given) for configuration in _product(lists, has_gpu=has_gpu)]
    return list(dict.fromkeys(found))


def weights_note(model: Model) -> str:
    """How results must speak of this model."""
    return " (weights: random)" if model.weights is Weights.RANDOM else ""


def _precision(name: str) -> Precision:
    try:
        return Precision(name)
    except ValueError as error:
        raise InputError(f"unknown precision {name!r}", nearest(name, [*(p.value for p in Precision), ALL])) from error

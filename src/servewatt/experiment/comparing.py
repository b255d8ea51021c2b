"""Two sides of a comparison: runs and files as they are, or two builds that are measured in one race."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from servewatt import engines
from servewatt.engines.environments import builds
from servewatt.engines.environments.builds import Build
from servewatt.errors import InputError, ServewattError
from servewatt.experiment.baseline_file import read_side, side_of
from servewatt.experiment.events import Observer, step
from servewatt.experiment.gathering import Found, find
from servewatt.experiment.measuring import Experiment
from servewatt.experiment.planning import LeftOut
from servewatt.harness.pair_race import pairs_of
from servewatt.input_files import is_there
from servewatt.recommendation.fingerprint import Difference, Part
from servewatt.recommendation.gate import Compared, Metric, Missing, Side, Verdict, compared_pair, verdict_of
from servewatt.records import Boundary, Configuration, Result, Status
from servewatt.stats.describe import valid_trials
from servewatt.stats.energy import counted_domains
from servewatt.stats.race.costs import Costs, energy_cost, run_costs, time_cost
from servewatt.stats.race.pairs import bound_of

AS_HERE = "the running environment"


def any_side(name: str, store: str | Path | None = None, boundary: Boundary | None = None) -> Side:
    """A side by a run's id, the beginning of one, or `latest`; or by the path of an exported run or a baseline.

    Raises what `find` and `read_side` raise.
    """
    path = Path(name)
    if is_there(path) and path.is_file():
        return read_side(path, boundary)
    return side_of(find(name, store, with_samples=False), boundary)


def build_sides(base: str, head: str | None, observer: Observer) -> tuple[Build, Build | None]:
    """The builds of two specifications, arguments of pip; without `head` it is the running environment.

    Raises what `builds.make` raises; both are checked before either is built.
    """
    for side, spec in (("base", base), ("head", head)):
        if spec is not None:
            builds.check_spec(side, spec)
    with step(observer, f"building {base}"):
        first = builds.make("base", base)
    if head is None:
        return first, None
    with step(observer, f"building {head}"):
        return first, builds.make("head", head)


def with_builds(experiment: Experiment, base: Build, head: Build | None) -> Experiment:
    """The experiment with each configuration in both builds; what cannot run in a build is left out with the reason.

    InputError if it is no race; the first reason if nothing is left.
    """
    if experiment.plan.race is None:
        raise InputError(
            "two builds are compared in a race, which blocks and HTTP servers have no part in",
            "leave out --blocks, and http in --via",
        )
    kept: list[Configuration] = []
    left_out: list[LeftOut] = []
    first: ServewattError | None = None
    for configuration in experiment.plan.configurations:
        try:
            engines.check_build(configuration.engine)
        except ServewattError as error:
            first = first or error
            left_out.append(LeftOut(configuration.key, error.message, error.hint))
            continue
        kept.append(replace(configuration, build=base.name))
        kept.append(replace(configuration, build=head.name if head is not None else ""))
    if not kept and first is not None:
        raise first
    plan = replace(experiment.plan, configurations=tuple(kept))
    return replace(experiment, plan=plan, left_out=(*experiment.left_out, *left_out))


def compare_builds(
    found: Found,
    base: Build,
    head: Build | None,
    *,
    metric: Metric = Metric.ENERGY,
    tolerance: float = 0.03,
    confidence: float = 0.95,
    boundary: Boundary | None = None,
) -> Verdict:
    """Compare the two builds of each configuration of a run, by the bound of races over the episodes that both share.

    InputError if no episode has a cost of both builds of any configuration, with the first reason.
    """
    valid = _valid(found.results)
    inside = boundary or found.run.plan.procedure.boundary
    domains = counted_domains(inside, found.run.environment.domains, valid)
    costs = run_costs(valid, energy_cost(domains) if metric is Metric.ENERGY else time_cost, lambda _result: None)
    pairs = pairs_of(found.run.plan.configurations)
    compared = tuple(_compared(costs, pairs, tolerance, (1 - confidence) / max(1, len(pairs))))
    missing = tuple(_missing(costs, pairs, found.results))
    if not compared:
        why = f": {missing[0].reason}" if missing else ""
        raise InputError(
            f"no configuration has a cost in both builds{why}", "look at the run: servewatt report " + found.run.id
        )
    return verdict_of(
        compared,
        missing,
        metric=metric,
        tolerance=tolerance,
        confidence=confidence,
        paired=True,
        names=(base.spec, head.spec if head is not None else AS_HERE),
        differences=_packages(base, head, dict(found.run.environment.packages)),
    )


def _valid(results: Sequence[Result]) -> list[Result]:
    own: dict[Configuration, list[Result]] = {}
    for result in results:
        own.setdefault(result.trial.configuration, []).append(result)
    return [result for of_it in own.values() for result in valid_trials(of_it)]


def _compared(
    costs: Costs, pairs: Sequence[tuple[Configuration, Configuration]], tolerance: float, error: float
) -> Iterator[Compared]:
    for base, head in pairs:
        bound = bound_of(costs, head.key, base.key)
        if bound is not None:
            both = [e.log_cost for e in costs.episodes if base.key in e.log_cost and head.key in e.log_cost]
            levels = [[math.exp(levels[key]) for levels in both] for key in (base.key, head.key)]
            key = replace(base, build="").key
            yield compared_pair(key, bound, (levels[0], levels[1]), bound.episodes, tolerance, error)


def _missing(
    costs: Costs, pairs: Sequence[tuple[Configuration, Configuration]], results: Sequence[Result]
) -> Iterator[Missing]:
    seen = {key for levels in costs.episodes for key in levels.log_cost}
    for pair in pairs:
        for side, one in zip(("base", "head"), pair, strict=True):
            if one.key not in seen:
                bad = [r for r in results if r.trial.configuration == one and r.status is not Status.OK]
                reason = f"{bad[-1].status.value}: {bad[-1].reason}" if bad else "not measured"
                yield Missing(replace(one, build="").key, side, reason)


def _packages(base: Build, head: Build | None, here: Mapping[str, str]) -> tuple[Difference, ...]:
    """Packages that differ; a build that lacks one has that of the running environment."""
    changed: Mapping[str, str] = head.packages if head is not None else {}
    names = sorted({*base.packages, *changed})
    pairs = [
        (n, base.packages.get(n) or here.get(n, "as here"), changed.get(n) or here.get(n, "as here")) for n in names
    ]
    return tuple(Difference(Part.SOFTWARE, name, one, other) for name, one, other in pairs if one != other)

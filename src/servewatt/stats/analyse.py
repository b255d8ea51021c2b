"""All statistics of one run, from its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from servewatt.errors import InputError
from servewatt.records import Boundary, Configuration, Precision, Provider, Result, Run
from servewatt.stats.batches import batch_curves
from servewatt.stats.cautions import cautions
from servewatt.stats.compare import agreement, pareto_front, ranking
from servewatt.stats.describe import energy_j_per_token, summarise, valid_trials
from servewatt.stats.energy import counted_domains
from servewatt.stats.http_share import http_shares
from servewatt.stats.limits import limit_of
from servewatt.stats.race.costs import energy_cost, run_costs
from servewatt.stats.race.pairs import compare_all, in_order, standing_of
from servewatt.stats.records import Analysis, BoundaryRanking, ConfigurationSummary


def analyse(
    run: Run, results: Sequence[Result], *, boundary: Boundary | None = None, confidence: float = 0.95
) -> Analysis:
    """Describe and compare the configurations of `run` by `results`, in any order and however few.

    Only valid trials enter, the last valid attempt of each block. `boundary` is the plan's unless given. Raises
    InputError if a result belongs to another run, or `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"a confidence of {confidence:g} makes no sense", "give a share between 0 and 1, such as 0.95")
    strangers = sorted({r.trial.run_id for r in results if r.trial.run_id != run.id})
    if strangers:
        raise InputError(
            f"results of run {strangers[0]} among those of run {run.id}", "analyse one run's results at a time"
        )
    boundary = boundary or run.plan.procedure.boundary
    trials = _by_configuration(run, [r.timed for r in results])
    valid = {configuration: valid_trials(of_it) for configuration, of_it in trials.items()}
    every_valid = [result for of_it in valid.values() for result in of_it]
    domains = {b: counted_domains(b, run.environment.domains, every_valid) for b in Boundary}
    reference = reference_configuration(valid)
    expected = valid[reference][0] if reference else None
    summaries = [
        summarise(
            configuration,
            of_it,
            domains[boundary],
            confidence,
            agreement(valid[configuration], expected) if expected else None,
        )
        for configuration, of_it in trials.items()
    ]
    costs = run_costs(every_valid, energy_cost(domains[boundary]), lambda r: energy_j_per_token(r, domains[boundary]))
    keys = [c.key for c in trials]
    reached = standing_of(costs, keys, confidence=confidence)
    order = in_order(costs, reached)
    front = pareto_front(summaries)
    shape = run.plan.model.shape
    summaries = [
        dataclasses.replace(
            s,
            on_pareto_front=s.configuration.key in front,
            limit=limit_of(shape, s.configuration, valid[s.configuration], run.environment, confidence),
        )
        for s in _in_order(summaries, order)
    ]
    rankings = tuple(BoundaryRanking(b, _ranked_keys(valid, domains[b], confidence)) for b in Boundary if domains[b])
    return Analysis(
        run=run,
        boundary=boundary,
        confidence=confidence,
        reference=reference,
        summaries=tuple(summaries),
        comparisons=compare_all(
            costs, [s.configuration for s in summaries if s.has_energy], len(keys), confidence=confidence
        ),
        costs=costs,
        rankings=rankings,
        warnings=cautions(run, valid, summaries, rankings, domains[boundary]),
        http_shares=http_shares(summaries, valid, confidence),
        batch_curves=batch_curves(summaries, confidence),
    )


def reference_configuration(valid: Mapping[Configuration, Sequence[Result]]) -> Configuration | None:
    """The configuration whose outputs the others should match: torch on the CPU in fp32 at batch 1.

    The first fp32 configuration by key where that one has no outputs; None where none has.
    """
    able = [c for c, results in valid.items() if c.precision is Precision.FP32 and results and results[0].outputs]

    def preference(c: Configuration) -> tuple[bool, str]:
        return (not (c.engine == "torch" and c.provider is Provider.CPU and c.batch == 1), c.key)

    return min(able, key=preference, default=None)


def _by_configuration(run: Run, results: Sequence[Result]) -> dict[Configuration, list[Result]]:
    """Each configuration's trials; planned ones without any are there too, with none."""
    trials: dict[Configuration, list[Result]] = {c: [] for c in run.plan.configurations}
    for result in results:
        trials.setdefault(result.trial.configuration, []).append(result)
    return trials


def _in_order(summaries: Sequence[ConfigurationSummary], order: Sequence[str]) -> list[ConfigurationSummary]:
    """Of keys in `order`; then those whose energy is unknown; those without valid trials last."""
    places = {key: place for place, key in enumerate(order)}

    def rank(summary: ConfigurationSummary) -> tuple[bool, int, str]:
        key = summary.configuration.key
        return (summary.blocks == 0, places.get(key, len(places)), key)

    return sorted(summaries, key=rank)


def _ranked_keys(
    valid: Mapping[Configuration, Sequence[Result]], domains: frozenset[str], confidence: float
) -> tuple[str, ...]:
    energies: dict[str, dict[int, float]] = {}
    for configuration, results in valid.items():
        joules = {r.trial.block: energy_j_per_token(r, domains) for r in results}
        energies[configuration.key] = {block: value for block, value in joules.items() if value is not None}
    return ranking(energies, confidence)

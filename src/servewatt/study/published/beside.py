"""Our results beside the published ones; or, without results, the published table's own check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from servewatt.errors import InputError, counted, nearest
from servewatt.records import Component, Grade, Stop, Weights
from servewatt.study.data.cells import By, Cell, cells_of, stand_ins, values_of
from servewatt.study.data.names import CONFIGURATIONS
from servewatt.study.data.observations import Observation, usable
from servewatt.study.data.results_file import Results, RunNote
from servewatt.study.published import medians as published
from servewatt.study.published.checks import BoundaryOrder, Step, boundary_orders, request_steps
from servewatt.study.published.claims import CLAIMS, ClaimCheck, check
from servewatt.study.published.ranks import OverallAgreement, RankAgreement, agreement, overall
from servewatt.study.published.savings import DEFINITIONS, Savings, savings

TIMED_BY_POLLING = "<CUDA, TORCH>"
"""The configuration whose times show the polling loop best: it is the fastest that generates."""


@dataclass(frozen=True)
class Source:
    """Where one side's figures come from, and what they are of."""

    name: str
    """`published`, or the campaign."""
    citation: str
    """Empty for a campaign."""
    machine: str
    work: str
    boundary: str
    """Which energy counts, in words."""
    weights: str
    """`trained`, `random`, or how many models have which."""
    models: int
    repetitions: tuple[int, int]
    """Fewest and most, over cells: the study's repetitions, our blocks."""
    estimated: bool = False
    """Whether an energy contains an estimate."""
    stand_ins: tuple[str, ...] = ()
    """Configurations that are shown under the published label they stand beside, such as those served over HTTP."""
    unmatched: tuple[str, ...] = ()
    """Configurations and models of the campaign that have no published counterpart."""


@dataclass(frozen=True)
class Row:
    """One model in one configuration that both sides have.

    The values are of different work; `*_relative` are over the least of the same side's values of that model, and
    do compare.
    """

    source: str
    model: str
    configuration: str
    published: float
    """J or s of one pass over the study's prompts."""
    ours: float
    """J or s per generated token."""
    published_relative: float
    ours_relative: float


@dataclass(frozen=True)
class BesidePublished:
    """Everything that `servewatt study compare` tells."""

    by: By
    sources: tuple[Source, ...]
    """The published one first."""
    rows: tuple[Row, ...]
    ranks: tuple[RankAgreement, ...]
    overall: tuple[OverallAgreement, ...]
    savings: tuple[Savings, ...]
    """By each definition: the published, then each campaign that has what the definition needs."""
    claims: tuple[ClaimCheck, ...]
    """Empty where the comparison is narrowed to some models: the figures are extremes over all."""
    boundaries: tuple[BoundaryOrder, ...] = ()
    """Of the published figures; only where they are checked by themselves, by energy."""
    steps: tuple[Step, ...] = ()
    """Of the published figures; only where they are checked by themselves, by time."""


def set_beside(results: Results | None = None, by: By = By.ENERGY, models: Sequence[str] = ()) -> BesidePublished:
    """Set `results` beside the published table, or check the published table alone.

    `models` narrows it to these; all if empty. Raises InputError for an unknown model, and for results of which
    nothing has a published counterpart.
    """
    _check_models(models, results)
    theirs = tuple(c for c in published.cells() if not models or c.model in models)
    campaigns = _campaigns(results, theirs, models)
    kept = [_comparable(cells, theirs) for cells in campaigns]
    if results is not None and not any(kept):
        raise InputError(
            "nothing in these results has a published counterpart",
            f"the study has {len(published.models())} models in {', '.join(CONFIGURATIONS)}, all in fp32",
        )
    alone = results is None
    agreements = [agreement(theirs, cells, by, jit) for cells in kept for jit in (True, False) if cells]
    every = (savings(cells, d, by) for d in DEFINITIONS for cells in (theirs, *kept))
    return BesidePublished(
        by=by,
        sources=(_published_source(theirs), *_campaign_sources(results, campaigns, kept)),
        rows=tuple(row for cells in kept for row in _rows(theirs, cells, by)),
        ranks=tuple(a for found in agreements for a in found),
        overall=tuple(o for o in map(overall, agreements) if o is not None),
        savings=tuple(s for s in every if s.values or s.source == published.SOURCE),
        claims=() if models else tuple(check(c, theirs, kept) for c in CLAIMS if c.by is by),
        boundaries=_narrow(boundary_orders(published.utilisation()), models) if alone and by is By.ENERGY else (),
        steps=request_steps(published.cells(), TIMED_BY_POLLING) if alone and by is By.TIME and not models else (),
    )


def _narrow(orders: Iterable[BoundaryOrder], models: Sequence[str]) -> tuple[BoundaryOrder, ...]:
    return tuple(o for o in orders if not models or o.model in models)


def _check_models(models: Sequence[str], results: Results | None) -> None:
    known = {m.name for m in published.models()}
    known |= {o.model for o in results.observations} if results else set()
    for name in models:
        if name not in known:
            raise InputError(f"no model {name!r} in the study or in these results", nearest(name, known))


def _campaigns(results: Results | None, theirs: Sequence[Cell], models: Sequence[str]) -> list[tuple[Cell, ...]]:
    cells = cells_of(results.observations) if results else ()
    names = dict.fromkeys(c.source for c in cells)
    return [tuple(c for c in cells if c.source == name and (not models or c.model in models)) for name in names]


def _comparable(cells: Sequence[Cell], theirs: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells of one campaign that have a published counterpart, under its label."""
    known = {(c.model, c.configuration) for c in theirs}
    plain = stand_ins(c.configuration for c in cells)
    renamed = (replace(c, configuration=plain[c.configuration]) for c in cells if c.configuration in plain)
    return tuple(c for c in renamed if (c.model, c.configuration) in known)


def _rows(theirs: Sequence[Cell], cells: Sequence[Cell], by: By) -> Iterable[Row]:
    table, own = values_of(theirs, by), values_of(cells, by)
    for model, measured in own.items():
        first = {c: table[model][c] for c in measured if c in table.get(model, {})}
        if not first:
            continue
        least, own_least = min(first.values()), min(measured[c] for c in first)
        for configuration, value in first.items():
            yield Row(
                source=cells[0].source,
                model=model,
                configuration=configuration,
                published=value,
                ours=measured[configuration],
                published_relative=value / least,
                ours_relative=measured[configuration] / own_least,
            )


def _published_source(cells: Sequence[Cell]) -> Source:
    return Source(
        name=published.SOURCE,
        citation=published.CITATION,
        machine=published.HARDWARE,
        work=f"one pass over {published.PROMPTS} prompts, output lengths neither recorded nor equal; medians",
        boundary=(
            "CPU rows: CPU package (RAPL), the idle GPU left out; CUDA rows: CPU package and GPU board "
            "(mean nvidia-smi power x window)"
        ),
        weights="trained",
        models=len({c.model for c in cells}),
        repetitions=(published.REPETITIONS, published.REPETITIONS),
    )


def _campaign_sources(
    results: Results | None, campaigns: Sequence[Sequence[Cell]], kept: Sequence[Sequence[Cell]]
) -> Iterable[Source]:
    if results is None:
        return
    valid = usable(results.observations)
    for cells, matched in zip(campaigns, kept, strict=True):
        if not cells:
            continue
        name, models = cells[0].source, {c.model for c in cells}
        own = [o for o in valid if o.campaign == name and o.model in models]
        runs = [r for r in results.runs if r.campaign == name]
        blocks = [c.repetitions for c in matched or cells]
        plain_labels = stand_ins(c.configuration for c in cells)
        yield Source(
            name=name,
            citation="",
            machine=_machine(runs),
            work=_work(runs),
            boundary=_boundary(own, runs),
            weights=_weights(own),
            models=len({c.model for c in matched}),
            repetitions=(min(blocks), max(blocks)),
            estimated=any(o.grade is Grade.ESTIMATED for o in own),
            stand_ins=tuple(sorted(label for label, plain in plain_labels.items() if label != plain)),
            unmatched=_unmatched(cells, matched, plain_labels),
        )


def _unmatched(cells: Sequence[Cell], matched: Sequence[Cell], known: Mapping[str, str]) -> tuple[str, ...]:
    have = {c.model for c in matched}
    strange = sorted({c.model for c in cells} - have)
    return (*sorted({c.configuration for c in cells if c.model in have} - known.keys()), *strange)


def _machine(runs: Sequence[RunNote]) -> str:
    found = [
        ", ".join(
            [*(g.name for g in r.environment.gpus), f"{r.environment.cpu}, {counted(r.environment.cpu_count, 'CPU')}"]
        )
        for r in runs
    ]
    return "; ".join(dict.fromkeys(found))


def _work(runs: Sequence[RunNote]) -> str:
    equal = bool(runs) and all(r.workload.stop == Stop.LENGTH.value for r in runs)
    return f"per generated token{', output lengths equal' if equal else ''}; medians over blocks"


def _boundary(own: Sequence[Observation], runs: Sequence[RunNote]) -> str:
    boundaries = ", ".join(sorted({r.procedure.boundary.value for r in runs})) or "machine"
    domains = [d for r in runs for d in r.environment.domains if d.within is None]
    metered = ", ".join(sorted({f"{d.name} ({d.grade.value})" for d in domains}))
    text = f"{boundaries} boundary, the same for every configuration"
    text += f": {metered}" if metered else ""
    if any(d.component is Component.GPU for d in domains) and any(o.provider == "cpu" for o in own):
        return f"{text}; an idle GPU is paid by CPU configurations too"
    return text


def _weights(own: Sequence[Observation]) -> str:
    random = {o.model for o in own if o.weights is Weights.RANDOM}
    every = {o.model for o in own}
    if not random:
        return Weights.TRAINED.value
    return Weights.RANDOM.value if random == every else f"random for {len(random)} of {len(every)} models"

"""The study's findings in sentences: over the models, in single models, and beside the published figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from servewatt.errors import InputError, counted
from servewatt.records import Weights
from servewatt.report import units
from servewatt.stats.records import Interval
from servewatt.study.data.cells import By, Cell
from servewatt.study.data.names import CONFIGURATIONS, configuration_order, provider_of
from servewatt.study.data.results_file import Results
from servewatt.study.published import medians as published
from servewatt.study.published.beside import BesidePublished, set_beside
from servewatt.study.published.claims import Support
from servewatt.study.published.savings import JIT
from servewatt.study.tests.across import AcrossModels, across_models
from servewatt.study.tests.examine import Examination
from servewatt.study.view import StudyView

_MOST_PAIRS = 4
"""Pairs of the study's own configurations that are told; the table `across` has all."""

_MOST_NAMED = 6
"""Models whose decision is told; the table of pairs has all."""


@dataclass(frozen=True)
class Findings:
    """What was found on one question."""

    heading: str
    sentences: tuple[str, ...]


def findings(view: StudyView) -> tuple[Findings, ...]:
    """The findings of a study, or of the published figures alone; questions that the data do not touch are left out."""
    cells = view.cells or view.published
    sources = [tuple(c for c in cells if c.source == source) for source in dict.fromkeys(c.source for c in cells)]
    over = [sentence for one in sources for sentence in _over_models(one, alone=len(sources) == 1)]
    found = [
        Findings("Over the models", tuple(over)),
        Findings("Model by model", tuple(decided_sentences(view.examinations, "model", ("energy_j_per_token",)))),
        Findings("The published figures", tuple(_published(view))),
        Findings("Bear in mind", tuple(_caveats(view))),
    ]
    return tuple(one for one in found if one.sentences)


def decided_sentences(
    examinations: Sequence[Examination], subject: str, variables: Sequence[str] = ()
) -> Iterable[str]:
    """How many subjects are decided, and for what; of these variables, or of all."""
    for variable in dict.fromkeys(e.battery.variable for e in examinations):
        if variables and variable not in variables:
            continue
        own = [e for e in examinations if e.battery.variable == variable and e.decision is not None]
        decided = [e for e in own if e.decision is not None and e.decision.others and not e.decision.rivals]
        if not own:
            continue
        yield f"Paired within blocks, {len(decided)} of {counted(len(own), subject)} {_is(len(decided))} decided."
        yield from (f"{e.battery.subject}: {e.conclusion}" for e in decided[:_MOST_NAMED])
        open_ones = [e for e in own if e.decision is not None and e.decision.rivals]
        if open_ones:
            left = sorted({len(e.decision.rivals) + 1 for e in open_ones if e.decision is not None})
            span = f"{left[0]}" if len(left) == 1 else f"{left[0]} to {left[-1]}"
            where = f"In {'another' if len(open_ones) == 1 else f'{len(open_ones)} others'}" if decided else "In each"
            yield f"{where}, {span} configurations remain in question."


def _over_models(cells: Sequence[Cell], *, alone: bool) -> Iterable[str]:
    """What one source's cells show over its models, by energy."""
    source = cells[0].source
    kept = [c for c in cells if source != published.SOURCE or c.configuration not in JIT]
    pairs = across_models(kept, By.ENERGY)
    lead = "" if alone or source == published.SOURCE else f"{source}: "
    for provider in dict.fromkeys(provider_of(p.first) for p in pairs):
        own = [p for p in pairs if provider_of(p.first) is provider]
        yield lead + _least(own, provider.value.upper(), "energy")
    theirs = {} if source == published.SOURCE else _by_pair(across_models(published.cells(), By.ENERGY))
    plain = [p for p in pairs if p.first in CONFIGURATIONS and p.second in CONFIGURATIONS and _side(p.ratio)]
    for pair in sorted(plain, key=lambda p: -abs(p.ratio.estimate - 1))[:_MOST_PAIRS]:
        yield lead + _pair(pair, theirs.get((pair.first, pair.second)))


def _least(pairs: Sequence[AcrossModels], provider: str, what: str) -> str:
    """Which configurations of a provider may need the least."""
    labels = sorted({label for p in pairs for label in (p.first, p.second)}, key=configuration_order)
    beaten = {p.second if _side(p.ratio) < 0 else p.first for p in pairs if _side(p.ratio)}
    left = [label for label in labels if label not in beaten]
    models = counted(max(p.ratio.n for p in pairs), "model")
    if not beaten:
        return f"Over {models}, no {provider} configuration is shown to need less {what} than another."
    if len(left) == 1:
        following = min((p for p in pairs if left[0] in (p.first, p.second)), key=lambda p: _more(p, left[0]).estimate)
        other = following.second if following.first == left[0] else following.first
        return (
            f"Over {models}, {left[0]} needs the least {what} on {provider}; the next, {other}, needs "
            f"{_times(_more(following, left[0]))} times as much."
        )
    ruled = "is ruled out" if len(beaten) == 1 else f"and {len(beaten) - 1} others are ruled out"
    first = min(beaten, key=configuration_order)
    return f"Over {models}, the least {what} on {provider} is that of {_or(left)}; {first} {ruled}."


def _pair(pair: AcrossModels, theirs: AcrossModels | None) -> str:
    """A pair that is told apart, and what the published figures say of it."""
    more, less = (pair.first, pair.second) if _side(pair.ratio) > 0 else (pair.second, pair.first)
    count = pair.ratio.n - pair.first_less if more == pair.first else pair.first_less
    told = (
        f"{more} needs {_times(_more(pair, less))} times the energy of {less}, more in {count} of {pair.ratio.n} models"
    )
    if theirs is None:
        return f"{told}."
    ratio = _times(_more(theirs, less))
    if more in JIT or less in JIT:
        return f"{told}. The published {ratio} compares a generation with one forward pass."
    if _side(theirs.ratio) == _side(pair.ratio):
        return f"{told}; the published figures agree ({ratio})."
    if _side(theirs.ratio):
        return f"{told}. The published figures say the reverse: {ratio}."
    return f"{told}; the published figures do not tell ({ratio})."


def _published(view: StudyView) -> Iterable[str]:
    """Which of the headline claims the published table supports, and whether ours order configurations alike."""
    alone = [set_beside(None, by) for by in By]
    checks = [check for one in alone for check in one.claims]
    held = [c for c in checks if c.verdict is Support.SUPPORTED]
    elsewhere = [c for c in checks if c.verdict is Support.ELSEWHERE]
    absent = [c for c in checks if c.verdict is Support.ABSENT]
    yield (
        f"Of the abstract's {len(checks)} claims, the published table supports {len(held)} as worded, "
        f"{len(elsewhere)} only by another definition, and {len(absent)} not at all."
    )
    if view.is_published:
        yield from (f"{c.claim.text}: {c.verdict.value}." for c in checks)
        return
    try:
        beside = set_beside(Results(view.observations, view.runs))
    except InputError:  # nothing that was measured has a published counterpart
        return
    yield from _orders(beside)


def _orders(beside: BesidePublished) -> Iterable[str]:
    for one in beside.overall:
        if one.jit or not one.compared:
            continue
        tau = "" if one.median_tau is None else f" (median Kendall's tau {one.median_tau:+.2f})"
        yield (
            f"{one.source}: without JIT, the order by energy is the published one in {one.same_order} of "
            f"{counted(one.compared, 'model')}{tau}."
        )


def _caveats(view: StudyView) -> Iterable[str]:
    if view.is_published:
        yield "The published JIT rows are one forward pass, not a generation: they are other work than the rest."
        yield "Energies are of whole passes, and answers were neither of equal length nor compared."
        return
    random = {s.model for s in view.summaries if s.weights is Weights.RANDOM}
    if random:
        whose = "All weights are" if view.all_random else f"The weights of {counted(len(random), 'model')} are"
        yield f"{whose} random: time and energy are as with trained ones, outputs mean nothing."
    if view.has_estimate:
        yield "Figures marked ~ contain an energy that is estimated, not metered."
    empty = sum(not s.ok for s in view.summaries)
    if empty:
        yield f"{counted(empty, 'pair')} of model and configuration {_has(empty)} no result; the reasons are below."
    if len(view.sources) > 1:
        yield "Campaigns ran on machines of their own: their figures are not set against each other."


def _by_pair(pairs: Iterable[AcrossModels]) -> dict[tuple[str, str], AcrossModels]:
    return {(p.first, p.second): p for p in pairs}


def _side(ratio: Interval) -> int:
    """-1 where the first is shown to need less, 1 where more, 0 where it is not told."""
    if ratio.low is None or ratio.high is None or ratio.low <= 1 <= ratio.high:
        return 0
    return -1 if ratio.high < 1 else 1


def _more(pair: AcrossModels, less: str) -> Interval:
    """The other of a pair over `less`."""
    return units.inverse(pair.ratio) if pair.first == less else pair.ratio


def _times(ratio: Interval) -> str:
    shown = units.quantity(ratio, units.PLAIN, most=3, decided=_side(ratio) != 0)
    return f"{shown.estimate} {shown.interval}".rstrip()


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _plural(one: str, several: str) -> Callable[[int], str]:
    return lambda count: one if count == 1 else several


_is, _has = _plural("is", "are"), _plural("has", "have")

"""What to type next, by what the answer leaves open."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from servewatt.quality import says_alike
from servewatt.recommendation.records import Constraints, Recommendation
from servewatt.recommendation.sentence import saving
from servewatt.records import Configuration, ModelSource, Precision, Status, Weights
from servewatt.report import units
from servewatt.stats.records import Analysis, Verdict

MOST_STEPS = 3
NARROW = frozenset({Precision.INT8, Precision.INT4, Precision.W8A8})
"""Precisions whose outputs nobody may take to be the model's own without having looked."""
MOST_BUDGET_S = 6 * 3600
"""More than so long is no advice."""


@dataclass(frozen=True)
class NextStep:
    """A command, and what it is good for."""

    command: str
    why: str


def next_steps(analysis: Analysis, recommendation: Recommendation) -> tuple[NextStep, ...]:
    """At most `MOST_STEPS`, the most useful first; there is always one."""
    found = (
        *_measure_more(analysis, recommendation),
        *_assess(analysis, recommendation),
        *_without_limits(analysis, recommendation),
        *_compare_with_usual(analysis, recommendation),
    )
    return found[:MOST_STEPS] or (_with_own_limits(analysis),)


def _measure_more(analysis: Analysis, recommendation: Recommendation) -> Iterator[NextStep]:
    """The same run for longer, where that would make the promise smaller."""
    plan = analysis.run.plan
    if recommendation.decided or (recommendation.choice is None and not recommendation.candidates):
        return
    more = recommendation.more_blocks
    tie = units.percent(recommendation.tie)
    why = f"until nothing else could save {tie}" if more is not None else "the promise becomes smaller, if slowly"
    if recommendation.choice is None:
        why = "until one is shown to meet the limits"
    if plan.race is None:
        if more != 0:
            yield NextStep(
                f"servewatt run … --blocks {plan.procedure.blocks + (more or 2)}", f"{why}: the same run goes on"
            )
        return
    done = max(1, len(analysis.all_costs.episodes))
    wanted_s = plan.race.budget_s * (more / done if more else 1.0)
    minutes = max(1, math.ceil(min(wanted_s, MOST_BUDGET_S) / 60))
    yield NextStep(f"servewatt run … --budget {minutes}min", f"{why}: the same race goes on")


def _assess(analysis: Analysis, recommendation: Recommendation) -> Iterator[NextStep]:
    """The quality of the choice's outputs, where it is not known and the precision may cost some."""
    choice = recommendation.choice
    if choice is None or choice.precision is Precision.FP32 or not unknown_quality(analysis, choice):
        return
    model = analysis.run.plan.model
    name = model.folder if model.source is ModelSource.FOLDER else model.name
    words = ["servewatt quality --model", shlex.quote(name)]
    words += ["--weights random"] if model.weights is Weights.RANDOM else []
    words += ["--configuration", shlex.quote(choice.key)]
    yield NextStep(" ".join(words), f"what {choice.precision.value} costs in the quality of its outputs")


def unknown_quality(analysis: Analysis, configuration: Configuration) -> bool:
    """Whether nothing was found of its outputs by `servewatt quality`."""
    quality = analysis.quality
    if quality is None:
        return True
    found = quality.of(configuration)
    return not says_alike(configuration, quality.reference) and (found is None or found.status is not Status.OK)


def _without_limits(analysis: Analysis, recommendation: Recommendation) -> Iterator[NextStep]:
    """A limit to drop: what it excludes is shown to need less."""
    given = limit_options(recommendation.constraints)
    if not given or recommendation.choice is None:
        return
    out = {e.configuration for e in recommendation.exclusions}
    cheaper = [c for c in analysis.comparisons if c.second in out and c.verdict is Verdict.HIGHER]
    if cheaper:
        most = max(cheaper, key=lambda c: c.ratio.estimate)
        yield NextStep(
            f"servewatt recommend {analysis.run.id}",
            f"without {' '.join(given)}, {most.second.key} would need {saving(units.inverse(most.ratio))} less",
        )


def limit_options(constraints: Constraints) -> list[str]:
    """The options of `servewatt recommend` that gave these limits."""
    given = {
        "--max-latency-p95": constraints.max_latency_p95_s,
        "--max-ttft": constraints.max_ttft_s,
        "--max-memory": constraints.max_memory_bytes,
        "--provider": constraints.provider,
        "--concurrency": constraints.concurrency,
    }
    return [option for option, value in given.items() if value is not None]


def _compare_with_usual(analysis: Analysis, recommendation: Recommendation) -> Iterator[NextStep]:
    """A baseline, where none was measured."""
    if recommendation.choice is not None and recommendation.baseline is None and len(analysis.summaries) > 1:
        yield NextStep(
            f"servewatt report {analysis.run.id} --against KEY", "what the choice saves over a configuration of yours"
        )


def _with_own_limits(analysis: Analysis) -> NextStep:
    return NextStep(
        f"servewatt recommend {analysis.run.id} --max-latency-p95 TIME", "the choice within a limit of yours"
    )

"""`servewatt recommend`: the configuration of least energy within the user's limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from servewatt.cli.options import boundary_option, json_option, limit_options, quality_option, store_option
from servewatt.cli.ranges import Finite

if TYPE_CHECKING:
    from servewatt.recommendation.records import Constraints, Recommendation
    from servewatt.stats.records import Analysis

EXAMPLES = """\b
Examples:
  servewatt recommend latest
  servewatt recommend latest --max-latency-p95 2s --max-memory 4GB
  servewatt recommend latest --concurrency 1           one request at a time: no batches
  servewatt recommend latest --max-perplexity-ratio 1.02    after servewatt quality
  servewatt recommend examples/h200-bundled.json.gz --boundary gpu --json
"""


@click.command("recommend", epilog=EXAMPLES)
@click.argument("run", default="latest")
@limit_options
@click.option(
    "--min-agreement", type=Finite(0, 1), metavar="SHARE", help="Least agreement with the reference, such as 0.9."
)
@click.option(
    "--max-perplexity-ratio",
    type=Finite(0, 1000, min_open=True),
    metavar="RATIO",
    help="Most perplexity ratio, such as 1.02.",
)
@click.option(
    "--objective",
    type=click.Choice(["energy", "latency", "throughput"]),
    default="energy",
    show_default=True,
    help="What the choice makes least: energy, the time of a request, or the time over all rows of a batch.",
)
@quality_option
@boundary_option
@store_option
@json_option
def command(run: str, boundary: str | None, store: str | None, as_json: bool, **asked: Any) -> int:
    """Choose from RUN (an id, the beginning of one, `latest`, or an exported file).

    There is always a choice, and how much anything else could save at most. Exits with 0 if that is less than a tie
    (3 %), and with 1 if it is more, or nothing is shown to meet the limits.
    """
    from rich.console import Console

    from servewatt import wire
    from servewatt.cli.progress import ConsoleObserver
    from servewatt.experiment.deciding import decide, within_quality
    from servewatt.experiment.gathering import find, tell_damage
    from servewatt.recommendation.objective import Objective
    from servewatt.recommendation.quality import QualityLimits
    from servewatt.records import Boundary

    limits = _limits(asked)
    found = find(run, store, with_samples=False, quality=asked["quality_file"])
    tell_damage(found.damaged, ConsoleObserver(Console(stderr=True)))
    objective, within = Objective(asked["objective"]), Boundary(boundary) if boundary else None
    decided = decide(found, boundary=within, limits=limits, objective=objective)
    wanted = QualityLimits(asked["min_agreement"], asked["max_perplexity_ratio"])
    answer = within_quality(decided, limits, wanted)
    if as_json:
        click.echo(wire.document(answer))
    else:
        _show(decided.analysis, answer)
    return 0 if answer.decided else 1


def _limits(asked: dict[str, Any]) -> Constraints:
    from servewatt.cli.quantities import parse_limit_bytes, parse_time_s
    from servewatt.recommendation.records import Constraints
    from servewatt.records import Provider

    latency, ttft, memory = asked["max_latency_p95"], asked["max_ttft"], asked["max_memory"]
    return Constraints(
        max_latency_p95_s=parse_time_s(latency, "--max-latency-p95") if latency is not None else None,
        max_ttft_s=parse_time_s(ttft, "--max-ttft") if ttft is not None else None,
        max_memory_bytes=parse_limit_bytes(memory, "--max-memory") if memory is not None else None,
        provider=Provider(asked["provider"]) if asked["provider"] else None,
        concurrency=asked["concurrency"],
    )


def _show(analysis: Analysis, answer: Recommendation) -> None:
    """The answer, what could overturn it, the quality of its outputs, and the excluded configurations."""
    from servewatt.report.plain_text import MOST_CHARACTERS, plain
    from servewatt.report.run.answer import outputs_text, saving_text

    click.echo(plain(answer.sentence))
    if answer.choice is not None and answer.objective == "energy":
        click.echo(f"  saves: {plain(saving_text(answer), MOST_CHARACTERS)}")
    if answer.choice is not None:
        click.echo(f"  its outputs: {plain(outputs_text(analysis, answer.choice), MOST_CHARACTERS)}")
    for warning in answer.warnings:
        click.echo(f"  warning: {plain(warning.told, MOST_CHARACTERS)}")
    for exclusion in answer.exclusions:
        how = "not shown yet" if exclusion.not_shown else "excluded"
        click.echo(f"  {how}: {plain(exclusion.configuration.key)}: {plain(exclusion.reason, MOST_CHARACTERS)}")

"""`servewatt gate`: fail where a run costs more than its baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servewatt.cli.options import FILE, PATH, boundary_option, store_option

if TYPE_CHECKING:
    from servewatt.recommendation.gate import Outcome, Verdict

EXAMPLES = """\b
Examples:
  servewatt gate --write-baseline energy-baseline.json latest
  servewatt gate --baseline energy-baseline.json --tolerance 3%
  servewatt gate latest --baseline examples/h200-bundled.json.gz --across-machines
  servewatt gate --baseline energy-baseline.json --junit energy.xml --markdown energy.md
"""


@click.command("gate", epilog=EXAMPLES)
@click.argument("run", default="latest")
@click.option("--baseline", type=PATH, help="What to compare with: a baseline file, or an exported run.")
@click.option("--write-baseline", "new_baseline", type=FILE, help="Write RUN as a baseline to this file, and stop.")
@click.option("--tolerance", metavar="SHARE", default="3%", show_default=True, help="A rise that is accepted.")
@click.option("--confidence", metavar="SHARE", default="95%", show_default=True, help="How sure the verdict must be.")
@click.option(
    "--metric", type=click.Choice(["energy", "time"]), default="energy", show_default=True, help="Of a token."
)
@click.option("--across-machines", is_flag=True, help="Compare although the machines differ.")
@boundary_option
@store_option
@click.option("--json", "json_file", type=FILE, help="Write the verdict as JSON to this file.")
@click.option("--junit", type=FILE, help="Write JUnit XML to this file.")
@click.option("--markdown", type=FILE, help="Write Markdown for a pull request to this file.")
@click.option("--benchmark-json", type=FILE, help="Write github-action-benchmark's customSmallerIsBetter to this file.")
def command(run: str, store: str | None, baseline: Path | None, new_baseline: Path | None, **options: Any) -> int:
    """Compare RUN (an id, the beginning of one, `latest`, or an exported file) with a baseline.

    Exits with 0 if no configuration costs more than the tolerance allows, with 1 if one is shown to, and with 3 if it
    cannot be told yet, or a configuration is missing. An improvement never fails.
    """
    from rich.console import Console

    from servewatt.cli.progress import ConsoleObserver
    from servewatt.cli.quantities import parse_share
    from servewatt.errors import InputError
    from servewatt.experiment.baseline_file import read_side, side_of, write_baseline
    from servewatt.experiment.gathering import find, tell_damage
    from servewatt.recommendation.gate import Metric, check_shares, compare_sides
    from servewatt.records import Boundary

    tolerance = parse_share(options["tolerance"], "--tolerance")
    confidence = parse_share(options["confidence"], "--confidence")
    check_shares(tolerance, confidence)
    boundary = Boundary(options["boundary"]) if options["boundary"] else None
    if (baseline is None) == (new_baseline is None):
        raise InputError("a gate needs a baseline", "give --baseline FILE, or make one: --write-baseline FILE")
    base = read_side(baseline, boundary) if baseline is not None else None
    if base is not None and boundary is None:
        boundary = Boundary(base.fingerprint.procedure.boundary)
    found = find(run, store, with_samples=False)
    tell_damage(found.damaged, ConsoleObserver(Console(stderr=True)))
    if base is None:
        assert new_baseline is not None
        write_baseline(found, new_baseline, boundary)
        click.echo(f"wrote {new_baseline}", err=True)
        return 0
    verdict = compare_sides(
        base,
        side_of(found, boundary),
        metric=Metric(options["metric"]),
        tolerance=tolerance,
        confidence=confidence,
        across_machines=options["across_machines"],
    )
    return show(verdict, {name: options[name] for name in ("json_file", "junit", "markdown", "benchmark_json")})


def show(verdict: Verdict, files: dict[str, Path | None]) -> int:
    """Write the forms that were asked for, and the verdict to standard output; the exit code."""
    from servewatt.api.writing import write_text
    from servewatt.report.verdict import WRITERS, to_text

    for name, path in files.items():
        if path is not None:
            write_text(path, WRITERS[name](verdict))
    click.echo(to_text(verdict))
    return code_of(verdict.outcome)


def code_of(outcome: Outcome) -> int:
    """The exit code of a verdict; 2 stays an error that the user can mend."""
    return {"pass": 0, "worse": 1, "undecided": 3}[outcome.value]

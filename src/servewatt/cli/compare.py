"""`servewatt compare`: two runs beside each other."""

from __future__ import annotations

from typing import Any

import click

from servewatt.cli.options import boundary_option, json_option, store_option

EXAMPLES = """\b
Examples:
  servewatt compare 20260314-1022 latest
  servewatt compare energy-baseline.json latest --metric time
  servewatt compare before.json.gz after.json.gz --tolerance 1%
"""


@click.command("compare", epilog=EXAMPLES)
@click.argument("base_run", metavar="A")
@click.argument("head_run", metavar="B")
@click.option("--tolerance", metavar="SHARE", default="3%", show_default=True, help="Changes below this are a tie.")
@click.option("--confidence", metavar="SHARE", default="95%", show_default=True, help="How sure each verdict must be.")
@click.option(
    "--metric", type=click.Choice(["energy", "time"]), default="energy", show_default=True, help="Of a token."
)
@click.option("--across-machines", is_flag=True, help="Compare although the machines differ.")
@boundary_option
@store_option
@json_option
def command(base_run: str, head_run: str, store: str | None, as_json: bool, **options: Any) -> int:
    """Compare run B with run A: ids, beginnings of ids, `latest`, exported files, or baseline files.

    For each configuration of both: the ratio of energy (or time), B over A, with its interval, and whether B is better,
    worse, equal within the tolerance, or undecided. Exit codes are those of `servewatt gate`.
    """
    from servewatt.cli.gate import code_of
    from servewatt.cli.quantities import parse_share
    from servewatt.experiment.comparing import any_side
    from servewatt.recommendation.gate import Metric, compare_sides
    from servewatt.records import Boundary
    from servewatt.report.verdict import to_json, to_text

    boundary = Boundary(options["boundary"]) if options["boundary"] else None
    verdict = compare_sides(
        any_side(base_run, store, boundary),
        any_side(head_run, store, boundary),
        metric=Metric(options["metric"]),
        tolerance=parse_share(options["tolerance"], "--tolerance"),
        confidence=parse_share(options["confidence"], "--confidence"),
        across_machines=options["across_machines"],
    )
    click.echo(to_json(verdict) if as_json else to_text(verdict), nl=not as_json)
    return code_of(verdict.outcome)

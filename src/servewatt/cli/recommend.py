"""`servewatt recommend`: the configuration of least energy within the user's limits."""

from __future__ import annotations

import click

from servewatt.cli.options import boundary_option, json_option, limit_options, store_option

EXAMPLES = """\b
Examples:
  servewatt recommend latest
  servewatt recommend latest --max-latency-p95 2s --max-memory 4GB
  servewatt recommend examples/h200.json.gz --boundary gpu --json
"""


@click.command("recommend", epilog=EXAMPLES)
@click.argument("run", default="latest")
@limit_options
@boundary_option
@store_option
@json_option
def command(
    run: str,
    max_latency_p95: str | None,
    max_ttft: str | None,
    max_memory: str | None,
    provider: str | None,
    boundary: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Choose from RUN (an id, the beginning of one, `latest`, or an exported file).

    Exits with 0 if one configuration is recommended, and with 1 if the answer is "undecided" or nothing is feasible.
    """
    from servewatt import wire
    from servewatt.cli import showing
    from servewatt.cli.quantities import parse_size_bytes, parse_time_s
    from servewatt.recommend.records import Constraints
    from servewatt.records import Boundary, Provider

    limits = Constraints(
        max_latency_p95_s=parse_time_s(max_latency_p95, "--max-latency-p95") if max_latency_p95 else None,
        max_ttft_s=parse_time_s(max_ttft, "--max-ttft") if max_ttft else None,
        max_memory_bytes=parse_size_bytes(max_memory, "--max-memory") if max_memory else None,
        provider=Provider(provider) if provider else None,
    )
    found, results = showing.find_run(run, store, with_samples=False)
    shown = showing.compute(found, results, boundary=Boundary(boundary) if boundary else None, limits=limits)
    answer = shown.recommendation
    if as_json:
        click.echo(wire.dump(answer))
    else:
        click.echo(answer.sentence)
        for exclusion in answer.exclusions:
            click.echo(f"  excluded: {exclusion.configuration.key}: {exclusion.reason}")
    return 0 if answer.choice is not None else 1

"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def split_names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def store_option(command: Command) -> Command:
    """`--store`: where results are kept."""
    return click.option(
        "--store",
        "store",
        metavar="URL|FILE",
        default=None,
        help="Results store: a SQLite file or a database URL.  [default: results.db in the user's data folder]",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`: one JSON document on standard output, and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def boundary_option(command: Command) -> Command:
    """`--boundary`: which metered domains count."""
    return click.option(
        "--boundary",
        type=click.Choice(["machine", "cpu", "gpu"]),
        default=None,
        help="Energy boundary: which metered domains count.  [default: the run's own]",
    )(command)


def limit_options(command: Command) -> Command:
    """The limits a recommendation must keep."""
    for option in (
        click.option(
            "--concurrency",
            type=click.IntRange(min=1),
            metavar="N",
            help="Requests that wait at a time: larger batches are left out.  [default: any batch]",
        ),
        click.option("--provider", type=click.Choice(["cpu", "cuda"]), help="Only this execution provider."),
        click.option("--max-memory", metavar="SIZE", help="Most memory, such as 2GB or 512MiB."),
        click.option("--max-ttft", metavar="TIME", help="Most time to first token (95th percentile), such as 80ms."),
        click.option("--max-latency-p95", metavar="TIME", help="Most latency of a request (95th percentile)."),
    ):
        command = option(command)
    return command

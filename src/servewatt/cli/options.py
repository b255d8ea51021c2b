"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from servewatt.cli.quantities import parse_share, parse_time_s

Command = TypeVar("Command", bound=Callable[..., Any])


class _PathType(click.Path):
    """A path that is not empty: an empty one, as from a variable that is not set, would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = _PathType(path_type=Path)
FILE = _PathType(path_type=Path, dir_okay=False)
FOLDER = _PathType(path_type=Path, file_okay=False)


def split_names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def names_list(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    """The names of an option that may be repeated, or hold several; None for none."""
    names = [name for text in value for name in split_names(text)]
    return names or None


def _names(name: str, field: str, text: str, metavar: str | None = None) -> Callable[[Command], Command]:
    return click.option(name, field, multiple=True, callback=names_list, metavar=metavar, help=text)


def subject_options(command: Command) -> Command:
    """Which model, which work, in which configurations; `request.read_request` reads them."""
    for option in reversed(
        (
            click.option(
                "--model", "model__name", metavar="NAME", help="bundled, a folder, a hub id, or a catalogue name."
            ),
            click.option(
                "--weights",
                "model__weights",
                type=click.Choice(["trained", "random"]),
                help="Trained or seeded random.",
            ),
            click.option("--weights-seed", "model__seed", type=int, metavar="N", help="Seed of random weights."),
            click.option("--revision", "model__revision", metavar="COMMIT", help="Revision of a hub model."),
            click.option(
                "--prompts",
                "workload__prompts",
                metavar="SOURCE",
                help="bundled[:N], a text file, or HumanEval JSONL.",
            ),
            click.option("--limit", "workload__limit", type=int, metavar="N", help="Use the first N prompts."),
            click.option("--new-tokens", "workload__new_tokens", type=int, metavar="N", help="Tokens out per prompt."),
            click.option(
                "--stop",
                "workload__stop",
                type=click.Choice(["length", "eos"]),
                help="Fixed length, or end of text.",
            ),
            _names("--engine", "configurations__engines", "Runtime engines, or all.  [default: every installed one]"),
            _names(
                "--configuration",
                "configurations__named",
                "Exactly these, as reports name them: onnx/int4/activations=int8 ...",
                "NAMES",
            ),
            _names("--provider", "configurations__providers", "cpu, cuda, or all.  [default: all that are here]"),
            _names("--precision", "configurations__precisions", "fp32, bf16 ..., or all.  [default: fp32]"),
            _names("--batch", "configurations__batches", "Prompts at a time: 1,4,16 ..."),
            click.option(
                "--threads", "configurations__threads", type=int, metavar="N", help="CPU threads.  [default: all]"
            ),
            click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An engine's own option."),
        )
    ):
        command = option(command)
    return command


def _each(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    return list(value) or None


def _seconds(name: str, field: str, text: str) -> Callable[[Command], Command]:
    return click.option(name, f"procedure__{field}", type=float, metavar="SECONDS", help=text)


def _time(_context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    return None if value is None else parse_time_s(value, max(option.opts, key=len))


def _share(_context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    return None if value is None else parse_share(value, max(option.opts, key=len))


def procedure_options(command: Command) -> Command:
    """How to measure; `request.read_request` reads them, and `reproduce.reproduce` writes them."""
    for option in reversed(
        (
            click.option(
                "--budget",
                "race__budget_s",
                metavar="TIME",
                callback=_time,
                help="Most time to measure, such as 10min; less where the choice is clear.  [default: 30min]",
            ),
            click.option(
                "--tie",
                "race__tie",
                metavar="SHARE",
                callback=_share,
                help="Savings below this do not matter.  [default: 3%]",
            ),
            click.option(
                "--confidence",
                "race__confidence",
                metavar="SHARE",
                callback=_share,
                help="How sure the choice must be.  [default: 95%]",
            ),
            click.option(
                "--twin/--no-twin",
                "race__twin",
                default=None,
                help="Measure the leader twice at once, to show what the bench itself makes of no difference.  "
                "[default: where a rival is within 5 % of it]",
            ),
            click.option(
                "--blocks",
                "procedure__blocks",
                type=int,
                metavar="N",
                help="Measure each so often, one after another, instead of until the choice is clear.",
            ),
            _seconds("--slice", "slice_s", "Least length of one configuration's turn."),
            click.option("--seed", "procedure__seed", type=int, metavar="N", help="Seed of the order of trials."),
            _seconds("--window", "window_s", "Least measured time."),
            _seconds("--idle", "idle_s", "Least idle time measured."),
            _seconds("--warm-up", "warmup_s", "Least time of warming up."),
            _seconds("--settle", "settle_s", "Pause before the idle time is measured."),
            _seconds("--timeout", "timeout_s", "Most time of a trial."),
            click.option(
                "--foreign-limit",
                "procedure__foreign_limit",
                type=float,
                metavar="SHARE",
                help="Share of the CPUs that other programs may use, 0 to 1; a trial with more is repeated.",
            ),
            click.option(
                "--retries", "procedure__retries", type=int, metavar="N", help="Times that such a trial is repeated."
            ),
            _seconds("--sample-interval", "sample_interval_s", "Time between readings of use and power."),
            click.option(
                "--meter", "procedure__meters", multiple=True, callback=_each, help="Meters.  [default: all available]"
            ),
            click.option("--cpu-watts", metavar="IDLE,MAX", help="The CPU's power idle and at full load, to estimate."),
            click.option(
                "--boundary", "procedure__boundary", type=click.Choice(["machine", "cpu", "gpu"]), help="What counts."
            ),
        )
    ):
        command = option(command)
    return command


def quality_option(command: Command) -> Command:
    """`--quality`: where the quality of configurations is known from."""
    return click.option(
        "--quality",
        "quality_file",
        type=PATH,
        metavar="FILE",
        help="What servewatt quality --out wrote.  [default: what the store, or RUN's file, holds of the model]",
    )(command)


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
        click.option(
            "--max-latency-p95", metavar="TIME", help="Most latency of a request (95th percentile), such as 2s."
        ),
    ):
        command = option(command)
    return command

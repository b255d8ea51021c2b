"""`servewatt study run`: model after model in the study's serving configurations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servewatt.cli.options import split_names
from servewatt.errors import InputError, ServewattError, nearest

if TYPE_CHECKING:
    from servewatt.experiment.study_file import StudyFile
    from servewatt.study.protocol.campaign import Campaign
    from servewatt.study.protocol.presets import Protocol

DEFAULT_PROMPTS = Path("humaneval-line.jsonl")
"""What `servewatt study prompts` writes unless told otherwise."""

EXAMPLES = """\b
Examples:
  servewatt study run --protocol quick --models tiny-starcoder --weights random --prompts bundled
  servewatt study run --weights random --provider cuda --precision fp32,bf16
  servewatt study run --protocol published
  servewatt study run --explain --markdown
"""


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    return split_names(value) if value is not None else None


@click.command("run", epilog=EXAMPLES)
@click.option("--protocol", default="sound", show_default=True, help="sound, published or quick.")
@click.option("--models", callback=_names, metavar="NAMES", help="Which of the twelve.  [default: all]")
@click.option("--weights", type=click.Choice(["trained", "random"]), default="trained", show_default=True,
              help="Trained weights from the hub, or the same shapes with seeded random ones.")  # fmt: skip
@click.option("--prompts", metavar="SOURCE", help="Any source of `servewatt run`.  [default: humaneval-line.jsonl]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use the first N prompts.")
@click.option("--new-tokens", type=click.IntRange(min=1), metavar="N", help="Tokens out per prompt.")
@click.option("--engine", "engines", callback=_names, metavar="NAMES", help="Any engine.  [default: the study's four]")
@click.option("--configuration", "named", callback=_names, metavar="NAMES",
              help="Exactly these, as reports name them: onnx/int4/activations=int8 ...")  # fmt: skip
@click.option("--batch", "batches", callback=_names, metavar="NUMBERS", help="Prompts at a time.")
@click.option("--provider", "providers", callback=_names, metavar="NAMES", help="cpu, cuda.")
@click.option("--precision", "precisions", callback=_names, metavar="NAMES", help="fp32, bf16 ...")
@click.option("--via", callback=_names, metavar="WAYS", help="process, http.")
@click.option("--blocks", type=click.IntRange(min=1), metavar="N", help="Repetitions of every configuration.")
@click.option("--seed", type=int, metavar="N", help="Seed of the order of trials.")
@click.option("--idle", "idle_s", type=float, metavar="SECONDS", help="Least idle time measured.")
@click.option("--window", "window_s", type=float, metavar="SECONDS", help="Least measured time.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Most time of a trial.")
@click.option("--foreign-limit", type=float, metavar="SHARE", help="Other load on the machine that is let pass.")
@click.option("--meter", "meters", multiple=True, help="Meters.  [default: all available]")
@click.option("--boundary", type=click.Choice(["machine", "cpu", "gpu"]), help="Which joules count.")
@click.option("--evict", is_flag=True, help="Free the cache of a model's exports and random weights once it is done.")
@click.option("--no-prepare", is_flag=True, help="Do not try configurations out first: all was prepared before.")
@click.option("--fresh", is_flag=True, help="Measure again what was measured before, as new runs.")
@click.option("--plan", "plan_only", is_flag=True, help="Show the plans and stop.")
@click.option("--explain", is_flag=True, help="Show what differs between the protocols, line by line, and stop.")
@click.option("--markdown", is_flag=True, help="With --explain: print Markdown.")
@click.option("--store", metavar="URL|FILE", help="Results store.  [default: study.db in the user's data folder]")
def command(protocol: str, explain: bool, markdown: bool, **options: Any) -> int:
    """Measure the study's models in its serving configurations.

    Each model is a run of its own in the study's store; the same command again goes on where it was stopped.
    """
    if explain:
        _explain(markdown=markdown)
        return 0
    return _measure(_campaign(protocol, options), options["store"] or str(default_store()))


def default_store() -> Path:
    """Where the study's runs lie unless `--store` says otherwise: beside the other results."""
    from servewatt.store.reader import default_path

    return default_path().with_name("study.db")


def _measure(campaign: Campaign, store: str) -> int:
    """Measure it, told on the terminal; the exit code is 1 if any model came to nothing."""
    from rich.console import Console
    from rich.markup import escape

    from servewatt.cli.hints import worded
    from servewatt.cli.progress import ConsoleObserver
    from servewatt.cli.signals import terminated_as_interrupt
    from servewatt.study.protocol.campaign import Listener, measure_campaign

    console = Console(stderr=True)

    def begun(number: int, name: str) -> None:
        console.rule(f"{number}/{len(campaign.models)} {escape(name)}", align="left")

    def failed(name: str, error: ServewattError) -> None:
        console.print(f"[red]{escape(name)}[/]: {escape(error.message)}", highlight=False)
        console.print(f"  {escape(worded(error.hint))}", style="dim", highlight=False)

    with terminated_as_interrupt():
        nothing = measure_campaign(campaign, store, ConsoleObserver(console), Listener(begun, failed))
    if nothing:
        console.print(f"nothing was measured for {', '.join(nothing)}", style="red", highlight=False)
    if not campaign.plan_only and len(nothing) < len(campaign.models):
        told = f"results are in {store}; next: servewatt study collect --out results.parquet"
        console.print(told, highlight=False, soft_wrap=True)
    return 1 if nothing else 0


def _campaign(protocol_name: str, options: dict[str, Any]) -> Campaign:
    """The preset with the command's options laid over it. Raises InputError for names that do not exist."""
    from servewatt.cli.request import validate_options
    from servewatt.models.catalogue import CATALOGUE
    from servewatt.records import Weights
    from servewatt.study.protocol.campaign import Campaign
    from servewatt.study.protocol.presets import protocol

    preset = protocol(protocol_name)
    prompts = options["prompts"] or str(DEFAULT_PROMPTS)
    if options["prompts"] is None and not DEFAULT_PROMPTS.is_file():
        raise InputError(
            f"there is no {DEFAULT_PROMPTS} here", "make it with `servewatt study prompts`, or say --prompts bundled"
        )
    names = tuple(options["models"] or CATALOGUE)
    for name in names:
        if name not in CATALOGUE:
            raise InputError(f"{name!r} is none of the study's models", nearest(name, CATALOGUE))
    checked = _configurations(preset, options)
    overrides = ("blocks", "seed", "idle_s", "window_s", "timeout_s", "foreign_limit", "boundary")
    given = {name: options[name] for name in overrides if options[name] is not None}
    procedure = validate_options({"procedure": {**given, "meters": list(options["meters"])}}).procedure.procedure()
    asked = {"prompts": prompts, "limit": options["limit"] or preset.prompts, "stop": preset.stop}
    tokens = options["new_tokens"] or preset.new_tokens
    # Without a number the model's context decides; see _workload.
    work = validate_options({"workload": {**asked, "new_tokens": tokens or 1}}).workload
    work = work if tokens else work.model_copy(update={"new_tokens": 0})
    return Campaign(
        protocol=preset,
        models=names,
        weights=Weights(options["weights"]),
        configurations=checked.configurations,
        work=work,
        procedure=replace(preset.procedure, **{name: getattr(procedure, name) for name in (*given, "meters")}),
        evict=options["evict"],
        fresh=options["fresh"],
        plan_only=options["plan_only"],
        prepare=not options["no_prepare"],
    )


def _configurations(preset: Protocol, options: dict[str, Any]) -> StudyFile:
    from servewatt.cli.request import validate_options
    from servewatt.study.data.names import ENGINE_LABELS

    content = {
        "engines": options["engines"] or ([] if options["named"] else list(ENGINE_LABELS)),
        "precisions": options["precisions"] or [preset.precision.value],
        "batches": options["batches"] or [preset.batch],
        "via": options["via"] or [preset.via.value],
    }
    content |= {name: options[name] for name in ("providers", "named") if options[name]}
    return validate_options({"configurations": content})


def _explain(*, markdown: bool) -> None:
    """Print what differs between the study, its preset and the sound preset."""
    from rich.console import Console
    from rich.table import Table

    from servewatt.study.protocol.presets import DIFFERENCES

    heads = ("", "the study", "`--protocol published`", "`--protocol sound`")
    rows = [(line.topic, line.study, line.published, line.sound) for line in DIFFERENCES]
    quick = "`--protocol quick` is sound with 2 blocks of short windows: to see that all of it runs."
    if markdown:
        lines = [heads, ("---",) * len(heads), *rows]
        click.echo("\n".join(f"| {' | '.join(cells)} |" for cells in lines) + f"\n\n{quick}")
        return
    table = Table(*heads, box=None, padding=(0, 2, 1, 0))
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(quick)

"""`servewatt models`: what is known and at hand; `prepare` fills the cache, `prune` frees it."""

from __future__ import annotations

import click

from servewatt.cli.options import json_option
from servewatt.cli.ranges import Finite

EXAMPLES = """\b
Examples:
  servewatt models
  servewatt models prepare tinyllama --weights random
  servewatt models prune --older-than 30
"""


@click.group(
    "models",
    invoke_without_command=True,
    epilog=EXAMPLES,
)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the models known by name, and which are on this machine; any hub id or folder works as well."""
    if context.invoked_subcommand is None:
        show_models(as_json=as_json)


@command.command("list", epilog="Example: servewatt models list --json")
@json_option
def list_models(as_json: bool) -> None:
    """List the models known by name, and which are on this machine."""
    show_models(as_json=as_json)


@command.command(epilog="Example: servewatt models prune --to 5GB")
@click.option("--all", "everything", is_flag=True, help="Remove every export and random checkpoint not in use.")
@click.option("--older-than", type=Finite(0, 36_500), metavar="DAYS", help="Remove those unused for so long.")
@click.option("--to", "to_size", metavar="SIZE", help="Remove those unused for longest until so much remains.")
@json_option
def prune(everything: bool, older_than: float | None, to_size: str | None, as_json: bool) -> None:
    """Free the cache of exported graphs and random checkpoints (default: down to its cap).

    Downloaded models of the hub are not touched.
    """
    import json

    from servewatt.cli.quantities import parse_size_bytes
    from servewatt.errors import counted
    from servewatt.models.cache import ArtefactCache, format_bytes

    older_than_s = older_than * 86400 if older_than is not None else None
    to_bytes = parse_size_bytes(to_size, "--to") if to_size is not None else None
    pruned = ArtefactCache().prune(everything=everything, older_than_s=older_than_s, to_bytes=to_bytes)
    if as_json:
        click.echo(json.dumps({"removed": len(pruned.removed), "freed_bytes": pruned.freed_bytes}))
        return
    click.echo(f"removed {counted(len(pruned.removed), 'artefact')}, {format_bytes(pruned.freed_bytes)} freed")
    for entry in pruned.in_use:
        click.echo(f"kept {entry.folder}: in use", err=True)


@command.command(epilog="Example: servewatt models prepare pythia-410m --weights random --engine onnx,openvino")
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--weights",
    type=click.Choice(["trained", "random"]),
    default="trained",
    show_default=True,
    help="Trained weights from the hub, or seeded random ones.",
)
@click.option("--engine", "engines", metavar="NAMES", help="Engines to prepare for.  [default: every installed one]")
@click.option("--provider", "providers", metavar="NAMES", default="cpu", show_default=True, help="cpu, cuda.")
@click.option("--precision", "precisions", metavar="NAMES", default="fp32", show_default=True, help="fp32, bf16 ...")
def prepare(names: tuple[str, ...], weights: str, engines: str | None, providers: str, precisions: str) -> None:
    """Download or draw weights and export graphs ahead, so that measuring need not; no GPU is used."""
    from servewatt.cli.options import split_names
    from servewatt.cli.request import validate_options
    from servewatt.experiment.preparing import prepare as prepare_model
    from servewatt.records import Weights

    content: dict[str, object] = {"providers": split_names(providers), "precisions": split_names(precisions)}
    if engines is not None:
        content["engines"] = split_names(engines)
    part = validate_options({"configurations": content}).configurations
    for name in names:
        for done in prepare_model(name, Weights(weights), part):
            click.echo(done)


def show_models(*, as_json: bool) -> None:
    """The list, as a table or JSON."""
    from rich.console import Console
    from rich.table import Table

    from servewatt import wire
    from servewatt.models.cache import ArtefactCache, format_bytes
    from servewatt.models.listing import list_models

    cache = ArtefactCache()
    listed = list_models(cache)
    if as_json:
        click.echo(wire.document(listed))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("parameters", justify="right")
    table.add_column("fp32", justify="right")
    table.add_column("here")
    table.add_column("hub id", overflow="fold")
    titles = {"study": "of the published study", "today": "of today"}
    group = ""
    for model in listed:
        if model.group != group and (title := titles.get(model.group)):
            table.add_row()
            table.add_row(f"[bold]{title}[/]")
        group = model.group
        here = [word for word, place in (("trained", model.trained_at), ("random", model.random_at)) if place]
        size = f"{model.parameters / 1e6:,.0f} M", format_bytes(model.fp32_bytes)
        hub_id = model.hub_id + (" (gated)" if model.gated else "")
        table.add_row(model.name, *size, " ".join(here) or "-", hub_id)
    console = Console()
    console.print(table)
    cached = sum(entry.size_bytes for entry in cache.entries())
    console.print(f"\n{format_bytes(cached)} of exports and random checkpoints in {cache.folder}", highlight=False)

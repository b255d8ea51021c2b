"""`servewatt engines`: what can run here, and what would install the rest."""

from __future__ import annotations

import click

from servewatt.cli.options import json_option


@click.command("engines", epilog="Example: servewatt engines --json")
@json_option
def command(as_json: bool) -> None:
    """List the runtime engines, their versions and install lines."""
    import json

    from rich.console import Console
    from rich.table import Table

    from servewatt.engines import ENGINES

    if as_json:
        rows = [
            {
                "name": e.name,
                "summary": e.summary,
                "version": e.version(),
                "install": e.install_line,
                "supports": [{"provider": p, "precision": t} for p, t in e.supports],
            }
            for e in ENGINES.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("engine", "version", "runs", "what it is", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for e in ENGINES.values():
        version = e.version()
        providers = dict.fromkeys(provider for provider, _ in e.supports)
        runs = "\n".join(f"{p.value}: " + " ".join(t.value for q, t in e.supports if q is p) for p in providers)
        table.add_row(e.name, version or "not installed", runs, e.summary if version else e.install_line)
    Console().print(table)

"""The runs of a store, as a table or JSON."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from servewatt.store import StoreReader


def show_list(store: str | None, *, as_json: bool) -> None:
    """The runs in the store, newest first."""
    with StoreReader.open(store) as opened:
        runs = opened.runs()
        damaged = [d for d in opened.damaged if d.is_run]
    if as_json:
        rows: list[dict[str, str | None]] = [
            {"id": r.id, "created_at": r.created_at, "model": r.plan.model.name, "weights": r.plan.model.weights}
            for r in runs
        ]
        rows += [
            {"id": d.run_id, "created_at": d.created_at, "model": d.model, "weights": None, "damaged": d.reason}
            for d in damaged
        ]
        click.echo(json.dumps(sorted(rows, key=lambda row: row["created_at"] or "", reverse=True), indent=2))
        return
    table = Table("run", "created (UTC)", "model", "configurations", "blocks", box=None)
    for r in runs:
        weights = " (weights: random)" if r.plan.model.weights == "random" else ""
        sizes = str(len(r.plan.configurations)), str(r.plan.procedure.blocks)
        table.add_row(r.id, r.created_at, r.plan.model.name + weights, *sizes)
    if runs:
        Console().print(table)
    elif not damaged:
        Console().print("no runs yet; start with: servewatt run")
    for d in damaged:
        click.echo(f"damaged: {d.run_id}, created {d.created_at}, model {d.model}: {d.reason}")

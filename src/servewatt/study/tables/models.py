"""The study's models and its funnel, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from servewatt.report.units import DASH
from servewatt.study.data.names import SIZE_GROUPS
from servewatt.study.protocol.selection import Selection, StudyModel

SHOWN_SURVIVORS = 50
_COMMIT_LETTERS = 7


def render_models(console: Console, models: Sequence[StudyModel]) -> None:
    """The twelve, smallest group first, and what the table cannot say."""
    shapes = _table("name", "parameters", "study", "architecture", "here", right=("parameters", "study"))
    for group, title in SIZE_GROUPS.items():
        shapes.add_row(f"[bold]{title}[/bold]")
        for model in (m for m in models if m.size_group == group):
            mark = "*" if model.causal_mask_elements else ""
            study = _rounded(model.published_parameters) + mark
            here = "yes" if model.downloaded else ""
            shapes.add_row(model.name, f"{model.parameters:,}", study, model.architecture, here)
    console.print(shapes)
    pages = _table("hub id", "revision", "licence")
    for model in models:
        pages.add_row(model.hub_id, _commit(model.revision), model.licence + (", gated" if model.gated else ""))
    console.print()
    console.print(pages)
    masks = sorted({model.causal_mask_elements for model in models if model.causal_mask_elements})
    if masks:
        counts = ", ".join(f"{count:,}" for count in masks)
        console.print(f"\n* {counts} of these are elements of causal masks, not parameters", highlight=False)
    console.print(f"{DASH} as revision: the main branch's, which each run records", highlight=False)


def render_selection(console: Console, selection: Selection) -> None:
    """The funnel's counts beside the study's, the survivors, and what became of the twelve."""
    asked = f"the {selection.limit:,} most downloaded" if selection.limit else "every model"
    console.print(f"{selection.endpoint}, {selection.date}: {asked} under {selection.task}", highlight=False)
    counts = _table("filter", "remaining", "study, 6 Nov 2024", right=("remaining", "study, 6 Nov 2024"))
    for stage in selection.stages:
        published = f"{stage.published:,}" if stage.published is not None else DASH
        counts.add_row(stage.rule, f"{stage.remaining:,}", published)
    console.print(counts)
    if selection.by_hand:
        verbs = "is gated and shows" if selection.by_hand == 1 else "are gated and show"
        console.print(f"{selection.by_hand} of them {verbs} no HumanEval result: to be checked by hand")
    survivors = _table("hub id", "parameters", "HumanEval", "for code", "downloads", right=("parameters", "downloads"))
    for model in selection.survivors[:SHOWN_SURVIVORS]:
        evidence = ", ".join(model.humaneval) or "by hand"
        size = _rounded(model.parameters or 0)
        survivors.add_row(model.hub_id, size, evidence, ", ".join(model.code), f"{model.downloads:,}")
    if selection.survivors:
        console.print()
        console.print(survivors)
    more = len(selection.survivors) - SHOWN_SURVIVORS
    if more > 0:
        console.print(f"and {more} more: --json or --out has all")
    fates = _table("the study's twelve", "today")
    for fate in selection.twelve:
        left = "not on the hub" if fate.left_at == "hub" else f"left out at: {fate.left_at}"
        fates.add_row(fate.name, left if fate.left_at else "passes")
    console.print()
    console.print(fates)


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        wide = column in ("name", "hub id", "parameters", "study")
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=wide)
    return table


def _rounded(count: float) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def _commit(commit: str | None) -> str:
    return commit[:_COMMIT_LETTERS] if commit else DASH

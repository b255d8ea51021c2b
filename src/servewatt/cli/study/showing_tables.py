"""What `servewatt study tables` does with its options."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from servewatt.errors import InputError, ServewattError, counted
from servewatt.report.figures import FORMATS, Figure, write_to
from servewatt.report.table import Table
from servewatt.report.table_forms import FORMS, renderable
from servewatt.study import outputs as study_outputs
from servewatt.study.view import StudyView, observed, published_alone, select


def find_view(files: Sequence[Path], *, published: bool, models: Sequence[str], tested: bool) -> StudyView:
    """What the tables are made of: the results files as one, or the published medians."""
    if published:
        if files:
            raise InputError(
                "--published shows the published medians alone, without results files", "leave out one of the two"
            )
        return _only(published_alone(), models)
    if not files:
        raise InputError(
            "no results file was named", "`servewatt study collect --out FILE` writes one; or show --published"
        )
    from servewatt.study.data import results_file

    found = results_file.read_all(files)
    return observed(select(found.observations, models), found.runs, tested=tested)


def show_names() -> None:
    """The tables and figures, and which of them `--published` cannot fill."""
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid("name", "what it shows", "needs", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading, kinds in (("tables", study_outputs.TABLES), ("figures", study_outputs.FIGURES)):
        grid.add_row(f"[bold]{heading}[/bold]")
        for name, kind in kinds.items():
            needs = "observations" if kind.observations else "observations or --published"
            grid.add_row(f"  {name}", kind.title, needs)
    Console().print(grid)


def print_table(table: Table, form: str) -> None:
    """One table on standard output."""
    from rich.console import Console

    console = Console()
    if form == "text" and console.is_terminal:
        console.print(renderable(table, console.width))
    else:
        click.echo(FORMS[form](table), nl=False)


def write_figure(figure: Figure, path: Path) -> None:
    """One figure into a file whose ending says the format."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(f"cannot tell a format from the name {path.name}", f"end it in .{', .'.join(FORMATS)}")
    write_to(figure, path, kind)
    click.echo(f"wrote {path}", err=True)


def write_folder(view: StudyView, folder: Path, files: Sequence[Path], *, published: bool) -> None:
    """Everything into a folder."""
    from servewatt.study.page import folder as study_page

    words = ["servewatt", "study", "tables", *(["--published"] if published else map(str, files))]
    written = study_page.write_folder(view, folder, f"{shlex.join(words)} --folder {shlex.quote(str(folder))}")
    click.echo(f"wrote {counted(len(written), 'file')}; open {folder / 'index.html'}", err=True)


def _only(view: StudyView, models: Sequence[str]) -> StudyView:
    known = {s.model for s in view.summaries}
    for name in models:
        if name not in known:
            raise ServewattError(
                f"model {name!r} is not among the published ones", f"known: {', '.join(sorted(known))}"
            )
    kept = tuple(s for s in view.summaries if not models or s.model in models)
    return replace(view, summaries=kept, cells=tuple(c for c in view.cells if not models or c.model in models))

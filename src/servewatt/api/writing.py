"""A run's report, in files of every form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from servewatt.errors import InputError, ServewattError
from servewatt.experiment.deciding import Decided, decide
from servewatt.experiment.gathering import Found
from servewatt.report import export
from servewatt.report.markdown import to_markdown
from servewatt.report.reproduce import reproduce
from servewatt.report.run.tables import run_latex, run_tables
from servewatt.report.table_forms import to_csv
from servewatt.store.files import write_file
from servewatt.whole_files import write_whole


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, and the folders above it; a ServewattError says why it cannot be."""
    with _reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)


def write_html(decided: Decided, path: Path) -> None:
    """The self-contained page."""
    from servewatt.report.html import render_html

    page = render_html(decided.analysis, decided.recommendation, decided.results, command=reproduce(decided.run.plan))
    write_text(path, page)


def write_figures(decided: Decided, folder: Path) -> None:
    """Every figure as SVG and PNG."""
    from servewatt.report.figures import figures, save

    with _reporting(folder):
        for figure in figures(decided.analysis, decided.results, decided.recommendation):
            save(figure, folder)


def write_folder(decided: Decided, folder: Path) -> None:
    """Every form of the report."""
    write_html(decided, folder / "report.html")
    write_text(folder / "report.md", to_markdown(decided.analysis, decided.recommendation))
    write_text(folder / "report.json", _json(decided))
    write_text(folder / "trials.csv", export.trials_csv(decided.results, decided.analysis))
    write_text(folder / "configurations.csv", export.configurations_csv(decided.analysis))
    write_text(folder / "report.tex", run_latex(decided.analysis, decided.recommendation))
    for table in run_tables(decided.analysis, decided.recommendation):
        write_text(folder / "tables" / f"{table.name}.csv", to_csv(table))
    write_figures(decided, folder / "figures")


WRITERS: dict[str, Callable[[Decided, Path], None]] = {
    "html": write_html,
    "csv": lambda decided, path: write_text(path, export.trials_csv(decided.results, decided.analysis)),
    "summary_csv": lambda decided, path: write_text(path, export.configurations_csv(decided.analysis)),
    "latex": lambda decided, path: write_text(path, run_latex(decided.analysis, decided.recommendation)),
    "figures": write_figures,
    "folder": write_folder,
    "export": lambda decided, path: write_file(path, decided.run, decided.results, decided.found.qualities),
}
"""Form of a report -> what writes it: a file, or for `figures` and `folder` a folder."""


SUFFIXES: dict[str, Callable[[Decided, Path], None]] = {
    ".html": write_html,
    ".md": lambda decided, path: write_text(path, to_markdown(decided.analysis, decided.recommendation)),
    ".json": lambda decided, path: write_text(path, _json(decided)),
    ".csv": WRITERS["csv"],
    ".json.gz": WRITERS["export"],
    "": write_folder,
}
"""Ending of a file's name -> what writes it; without one it is a folder with all of them."""


def write_report(run: Found | Decided, path: str | Path) -> Path:
    """Write a run's report by the ending of `path`; returns it.

    `.html` is a page that needs nothing else, `.md` Markdown, `.json` everything computed, `.csv` a row for each trial,
    `.json.gz` the run itself, which `servewatt.load` opens; a name without ending is a folder with page, tables and
    figures. `run` is what `measure`, `load` or `analyse` gave. Raises InputError for another ending, ServewattError if
    it cannot be written.
    """
    target = Path(path)
    ending = ".json.gz" if target.name.endswith(".json.gz") else target.suffix.lower()
    if ending not in SUFFIXES:
        raise InputError(
            f"cannot write a report as {target}", f"known: {', '.join(filter(None, SUFFIXES))}, or a folder"
        )
    SUFFIXES[ending](run if isinstance(run, Decided) else decide(run), target)
    return target


def _json(decided: Decided) -> str:
    return export.to_json(decided.analysis, decided.recommendation, decided.results)


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn an OSError into an error that names the path and the way out."""
    try:
        yield
    except OSError as error:
        raise ServewattError(
            f"cannot write {path}: {error.strerror}", "choose another place, or free some space"
        ) from error

"""From a stored run to what is shown of it: analysis, recommendation, and the forms of the report."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from servewatt.errors import InputError, ServewattError
from servewatt.experiment import quality_file
from servewatt.input_files import is_there
from servewatt.models.shape import known_shape
from servewatt.quality import Quality
from servewatt.recommend.choose import choose
from servewatt.recommend.order import in_order_of_choice
from servewatt.recommend.records import Constraints, Recommendation
from servewatt.records import Boundary, Configuration, ModelSource, Plan, Procedure, Result, Run, Weights
from servewatt.report import export
from servewatt.report.markdown import to_markdown
from servewatt.report.terminal import render_terminal
from servewatt.stats.analyse import analyse
from servewatt.stats.quality import pool
from servewatt.stats.records import Analysis
from servewatt.store import StoreReader
from servewatt.store.files import read_file, read_qualities, write_file
from servewatt.whole_files import write_whole


@dataclass(frozen=True)
class Found:
    """A run as it is kept."""

    run: Run
    results: Sequence[Result]
    qualities: Sequence[Quality] = ()
    """What is known of the quality of its model's configurations, newest first."""


@dataclass(frozen=True)
class Shown:
    """A run with everything computed from it."""

    found: Found
    analysis: Analysis
    recommendation: Recommendation

    @property
    def run(self) -> Run:
        return self.found.run

    @property
    def results(self) -> Sequence[Result]:
        return self.found.results


def compute(found: Found, *, boundary: Boundary | None = None, limits: Constraints | None = None) -> Shown:
    """Analyse a run and choose from it."""
    run, model = found.run, found.run.plan.model
    run = replace(run, plan=replace(run.plan, model=replace(model, shape=known_shape(model))))
    analysis = analyse(run, found.results, boundary=boundary)
    quality = pool(found.qualities, [s.configuration for s in analysis.summaries])
    analysis = replace(analysis, quality=quality)
    recommendation = choose(analysis, limits or Constraints())
    return Shown(replace(found, run=run), in_order_of_choice(analysis, recommendation), recommendation)


def find_run(name: str, store: str | None, *, with_samples: bool, quality: Path | None = None) -> Found:
    """A run by file, id, beginning of an id, or `latest`; its quality from the same place, or the file `quality`."""
    found = _find(name, store, with_samples=with_samples)
    if quality is None:
        return found
    given, model = quality_file.read(quality), found.run.plan.model
    if not given.is_of(model):
        raise InputError(
            f"{quality} is the quality of {given.model.name}, the run measured {model.name} (or another revision)",
            "run servewatt quality with the model of the run",
        )
    return replace(found, qualities=(given,))


def _find(name: str, store: str | None, *, with_samples: bool) -> Found:
    path = Path(name)
    if is_there(path) and path.is_file():
        return Found(*read_file(path), read_qualities(path))
    if "/" in name or path.suffix:
        raise InputError(f"there is no file {name}", "give the path of an exported run, a run's id, or latest")
    with StoreReader.open(store) as opened:
        found = gather(opened, opened.run(name), with_samples=with_samples)
        tell_damage(opened)
        return found


def gather(store: StoreReader, run: Run, *, with_samples: bool) -> Found:
    """What the store holds of a run, and can be read: all of it with `with_samples`, else what statistics need."""
    results = store.results(run.id, with_samples=True, skip_damaged=True) if with_samples else store.briefs(run.id)
    return Found(run, results, store.qualities(run.plan.model, skip_damaged=True))


MOST_TOLD = 5
"""Lines about damage before the rest is only counted."""


def tell_damage(store: StoreReader) -> None:
    """Say on standard error what of the store could not be read so far."""
    for damaged in store.damaged[:MOST_TOLD]:
        click.echo(f"warning: {damaged.sentence}", err=True)
    if len(store.damaged) > MOST_TOLD:
        click.echo(f"warning: {len(store.damaged) - MOST_TOLD} more cannot be read", err=True)


def show_run(found: Found, *, as_json: bool) -> None:
    """The terminal report on standard output, or one JSON document."""
    shown = compute(found)
    if as_json:
        click.echo(export.to_json(shown.analysis, shown.recommendation, shown.results))
    else:
        render_terminal(Console(), shown.analysis, shown.recommendation)


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


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, and the folders above it; a ServewattError says why it cannot be."""
    with _reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)


def write_html(shown: Shown, path: Path) -> None:
    """The self-contained page."""
    from servewatt.report.html import render_html

    page = render_html(shown.analysis, shown.recommendation, shown.results, command=reproduce(shown.run.plan))
    write_text(path, page)


def write_figures(shown: Shown, folder: Path) -> None:
    """Every figure as SVG and PNG."""
    from servewatt.report.figures import figures, save

    with _reporting(folder):
        for figure in figures(shown.analysis, shown.results):
            save(figure, folder)


def write_folder(shown: Shown, folder: Path) -> None:
    """Every form of the report."""
    write_html(shown, folder / "report.html")
    write_text(folder / "report.md", to_markdown(shown.analysis, shown.recommendation))
    write_text(folder / "report.json", export.to_json(shown.analysis, shown.recommendation, shown.results))
    write_text(folder / "trials.csv", export.trials_csv(shown.results, shown.analysis))
    write_text(folder / "configurations.csv", export.configurations_csv(shown.analysis))
    write_figures(shown, folder / "figures")


WRITERS: dict[str, Callable[[Shown, Path], None]] = {
    "html": write_html,
    "csv": lambda shown, path: write_text(path, export.trials_csv(shown.results, shown.analysis)),
    "summary_csv": lambda shown, path: write_text(path, export.configurations_csv(shown.analysis)),
    "figures": write_figures,
    "folder": write_folder,
    "export": lambda shown, path: write_file(path, shown.run, shown.results, shown.found.qualities),
}
"""Option of `servewatt report` -> what writes it."""


def reproduce(plan: Plan) -> str:
    """A command that measures the same again, as far as the plan tells: prompts from a file go by their name."""
    model, work, procedure = plan.model, plan.workload, plan.procedure
    cs = plan.configurations
    name = model.folder if model.source is ModelSource.FOLDER else model.name
    words = ["servewatt run", "--model", shlex.quote(name)]
    if model.weights is Weights.RANDOM:
        words += ["--weights random"] + ([f"--weights-seed {model.seed}"] if model.seed else [])
    elif model.source is ModelSource.HUB:
        words += ["--revision", model.revision]
    words += ["--prompts", shlex.quote(work.name), "--new-tokens", str(work.new_tokens), "--stop", work.stop.value]
    if not work.name.startswith("bundled"):
        words += ["--limit", str(len(work.prompts))]
    words += _listed(cs) or ["--configuration", ",".join(c.key for c in cs)]
    words += [f"--blocks {procedure.blocks} --seed {procedure.seed}"]
    words += [f"--window {procedure.window_s:g} --idle {procedure.idle_s:g} --boundary {procedure.boundary.value}"]
    return " ".join(words + _unusual(procedure))


def _unusual(procedure: Procedure) -> list[str]:
    """Options for what of the procedure is not as it is by default."""
    usual = Procedure()
    values = {
        "--warm-up": (procedure.warmup_s, usual.warmup_s),
        "--settle": (procedure.settle_s, usual.settle_s),
        "--timeout": (procedure.timeout_s, usual.timeout_s),
        "--foreign-limit": (procedure.foreign_limit, usual.foreign_limit),
        "--retries": (procedure.retries, usual.retries),
        "--sample-interval": (procedure.sample_interval_s, usual.sample_interval_s),
    }
    words = [f"{option} {value:g}" for option, (value, default) in values.items() if value != default]
    words += [f"--meter {shlex.quote(meter)}" for meter in procedure.meters]
    if procedure.cpu_watts is not None:
        words.append("--cpu-watts {:g},{:g}".format(*procedure.cpu_watts))
    return words


def _listed(configurations: Sequence[Configuration]) -> list[str]:
    """Options whose product the configurations are; nothing if they are none, and have to be named one by one."""
    lists = {
        "--engine": [c.engine for c in configurations],
        "--provider": [c.provider.value for c in configurations],
        "--precision": [c.precision.value for c in configurations],
        "--batch": [str(c.batch) for c in configurations],
        "--via": [c.via.value for c in configurations],
    }
    values = [tuple(dict.fromkeys(found)) for found in lists.values()]
    rest = {(c.threads, c.options) for c in configurations}
    if len(rest) > 1 or math.prod(map(len, values)) != len(configurations):
        return []
    words = [word for name, found in zip(lists, values, strict=True) for word in (name, ",".join(found))]
    ((threads, options),) = rest
    words += [] if threads is None else ["--threads", str(threads)]
    return words + [f"--option {name}={value}" for name, value in options]


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn an OSError into an error that names the path and the way out."""
    try:
        yield
    except OSError as error:
        raise ServewattError(
            f"cannot write {path}: {error.strerror}", "choose another place, or free some space"
        ) from error

"""Measures a model, and opens runs that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from servewatt.api.asking import ModelChoice, Work, configurations_of, request
from servewatt.api.tables import dataframe
from servewatt.errors import counted
from servewatt.experiment import assessing, gathering
from servewatt.experiment import measuring as pipeline
from servewatt.experiment.assessing import Questions
from servewatt.experiment.events import Log, Observer
from servewatt.experiment.gathering import Found
from servewatt.models.cache import ArtefactCache
from servewatt.quality import Quality
from servewatt.records import Configuration, Procedure, Status
from servewatt.store import Store
from servewatt.store.files import write_file

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Measurement(Found):
    """A run with the results of its trials: `run`, `results`, `qualities`, and rows that could not be read
    (`damaged`)."""

    @property
    def succeeded(self) -> bool:
        """Whether any trial did."""
        return any(result.status is Status.OK for result in self.results)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a trial, whatever its status, in SI base units; the columns of `trials.csv` (docs/reference).

        Raises UnavailableError where pandas is not installed.
        """
        from servewatt.experiment.deciding import decide
        from servewatt.report.export import trials_csv

        return dataframe(trials_csv(self.results, decide(self).analysis))

    def save(self, path: str | Path) -> None:
        """Write the run with all its trials to one file (`.json.gz`), which `servewatt.load` opens.

        Raises ServewattError if it cannot be written.
        """
        write_file(path, self.run, self.results, self.qualities)

    def __str__(self) -> str:
        ok = sum(result.status is Status.OK for result in self.results)
        plan = self.run.plan
        sizes = (
            f"{counted(len(plan.configurations), 'configuration')}, {ok} of {counted(len(self.results), 'trial')} ok"
        )
        return f"run {self.run.id} of {plan.model.name}: {sizes}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}; <code>servewatt.analyse</code> tells what it shows</p>"


def measure(
    model: str | Path | ModelChoice = "bundled",
    configurations: Sequence[Configuration | str] | None = None,
    *,
    work: Work | None = None,
    procedure: Procedure | None = None,
    store: str | Path | None = None,
    fresh: bool = False,
    observer: Observer | None = None,
) -> Measurement:
    """Measure a model in serving configurations: energy, time and use of computing resources.

    The pipeline of `servewatt run`: each trial in a process of its own, in blocks of random order, every result in the
    store before the next begins. The same call again continues a run that was stopped.

    `model` is `bundled`, a folder, a hub id or a catalogue name; a `ModelChoice` also says which weights and revision.
    `configurations` are records or names (`onnx/int4`, `torch/cuda/bf16/b8`); None means every installed engine, fp32,
    batch 1. `work` are the prompts and the tokens out, `procedure` how to measure (seconds, blocks, meters). `store` is
    a SQLite file or a database URL; None is `results.db` in the user's data folder. `fresh` starts a new run.
    `observer` receives progress; None writes it to Python's log `servewatt`.

    A configuration that cannot run, crashes or is refused is a result with that status and its reason. Raises
    InputError for what cannot be found or used, UnavailableError where no energy meter can be read or others keep the
    machine too busy, StoreError for a store that cannot be opened.
    """
    procedure = procedure or Procedure()
    asked, told = request(model, work, procedure), observer or Log()
    with ArtefactCache() as cache:
        experiment = pipeline.design(asked, cache, told, configurations=configurations_of(configurations))
        # The request holds the procedure's fields that a study file has; the record has more.
        experiment = replace(experiment, plan=replace(experiment.plan, procedure=procedure))
        with Store.open(store) as opened:
            measured = pipeline.measure(experiment, opened, told, fresh=fresh)
            return _as_measurement(measured.found(opened))


def load(run: str | Path = "latest", *, store: str | Path | None = None, samples: bool = True) -> Measurement:
    """Open a run: an exported file, or by its id, the beginning of one, or `latest` from the store.

    Without `samples`, power and utilisation over time are left out, which is faster; figures over time are then
    missing. Raises InputError where there is no such run or file, StoreError where the store cannot be read; single
    results that cannot are in `damaged`.
    """
    return _as_measurement(gathering.find(str(run), store, with_samples=samples))


def assess_quality(
    model: str | Path | ModelChoice = "bundled",
    configurations: Sequence[Configuration | str] | None = None,
    *,
    work: Work | None = None,
    questions: Questions | None = None,
    store: str | Path | None = None,
    observer: Observer | None = None,
) -> Quality:
    """Compare the outputs of configurations with a reference's; nothing is metered.

    Agreement of greedy outputs, perplexity ratio on held-out code, and, if `questions` ask for it, the share of
    problems whose tests pass. The result is kept in the store, where `load`, `analyse` and `recommend` find it.
    `questions` name the reference (torch/cpu/fp32 unless given) and how much text; the rest is as in `measure`.

    Raises InputError for what cannot be found or used, StoreError for a store that cannot be written.
    """
    asked = request(model, work, None)
    with Store.open(store) as opened:
        quality = assessing.assess_quality(
            asked, questions or Questions(), observer, configurations=configurations_of(configurations)
        )
        opened.add_quality(quality)
    return quality


def _as_measurement(found: Found) -> Measurement:
    return Measurement(**{field.name: getattr(found, field.name) for field in fields(Found)})

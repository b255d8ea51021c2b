"""Runs as they are kept: in a store, or in an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from servewatt.advice import Action, Advice
from servewatt.errors import InputError
from servewatt.experiment import quality_file
from servewatt.experiment.events import Level, Note, Observer
from servewatt.input_files import is_there
from servewatt.quality import Quality
from servewatt.records import Result, Run
from servewatt.store import StoreReader
from servewatt.store.files import read_file, read_qualities
from servewatt.store.reading import Damaged

MOST_TOLD = 5
"""Notes about damage before the rest is only counted."""


@dataclass(frozen=True)
class Found:
    """A run as it is kept."""

    run: Run
    results: Sequence[Result]
    qualities: Sequence[Quality] = ()
    """What is known of the quality of its model's configurations, newest first."""
    damaged: tuple[Damaged, ...] = ()
    """What of the store could not be read."""


def find(name: str, store: str | Path | None = None, *, with_samples: bool, quality: Path | None = None) -> Found:
    """A run by file, id, beginning of an id, or `latest`; its quality from the same place, or the file `quality`.

    With `with_samples` everything that was kept, else what statistics need. Raises InputError where there is no such
    run or file, and where `quality` is of another model; StoreError where the store cannot be read.
    """
    found = _find(name, store, with_samples=with_samples)
    if quality is None:
        return found
    given, model = quality_file.read(quality), found.run.plan.model
    if not given.is_of(model):
        raise InputError(
            f"{quality} is the quality of {given.model.name}, the run measured {model.name} (or another revision)",
            Advice(Action.ASSESS_QUALITY, " with the model of the run"),
        )
    return replace(found, qualities=(given,))


def _find(name: str, store: str | Path | None, *, with_samples: bool) -> Found:
    path = Path(name)
    if is_there(path) and path.is_file():
        return Found(*read_file(path), read_qualities(path))
    if "/" in name or path.suffix:
        raise InputError(f"there is no file {name}", "give the path of an exported run, a run's id, or latest")
    with StoreReader.open(store) as opened:
        return gather(opened, opened.run(name), with_samples=with_samples)


def gather(store: StoreReader, run: Run, *, with_samples: bool) -> Found:
    """What the store holds of a run, and can be read: all of it with `with_samples`, else what statistics need.

    Those of a race are few, and its checks look at the samples.
    """
    with_samples = with_samples or run.plan.race is not None
    results = store.results(run.id, with_samples=True, skip_damaged=True) if with_samples else store.briefs(run.id)
    qualities = store.qualities(run.plan.model, skip_damaged=True)
    return Found(run, results, qualities, tuple(store.damaged))


def tell_damage(damaged: Sequence[Damaged], observer: Observer) -> None:
    """Tell what of a store could not be read."""
    for each in damaged[:MOST_TOLD]:
        observer.notice(Note(each.sentence, Level.WARNING))
    if len(damaged) > MOST_TOLD:
        observer.notice(Note(f"{len(damaged) - MOST_TOLD} more cannot be read", Level.WARNING))

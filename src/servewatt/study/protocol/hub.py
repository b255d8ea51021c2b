"""The study's twelve models as this machine has them, and the funnel run on what the hub says now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from servewatt.errors import InputError
from servewatt.models import hub, hub_search
from servewatt.models.catalogue import CATALOGUE
from servewatt.models.hub_access import endpoint
from servewatt.models.hub_search import HubModel, look_up
from servewatt.study.data.names import size_group
from servewatt.study.protocol import selection
from servewatt.study.protocol.selection import (
    Candidate,
    Fate,
    Filter,
    Selection,
    StudyModel,
    code_signs,
    humaneval_evidence,
    left_at,
)
from servewatt.version import __version__


def list_twelve() -> tuple[StudyModel, ...]:
    """The catalogue, with what of it is on this machine. No network."""
    here = {entry.name: hub.cached(entry.hub_id, entry.revision) for entry in CATALOGUE.values()}
    return tuple(
        StudyModel(
            name=entry.name,
            hub_id=entry.hub_id,
            architecture=entry.architecture,
            parameters=entry.parameters,
            published_parameters=entry.published_parameters,
            size_group=size_group(entry.parameters),
            licence=entry.licence,
            gated=entry.gated,
            revision=entry.revision,
            downloaded=snapshot.commit if (snapshot := here[entry.name]) else None,
            causal_mask_elements=entry.causal_mask_elements,
        )
        for entry in CATALOGUE.values()
    )


def select_models(
    limit: int | None, max_parameters: float | None, seen: Callable[[int], None] = lambda number: None
) -> Selection:
    """Query the hub and run the funnel. Nothing of the hub is kept but the counts and the survivors.

    `limit` is how many of the most downloaded are asked for, None for all; `seen` is called with the number of models
    looked at so far. Raises InputError for a size limit that leaves no model.
    """
    if max_parameters is not None and not 1 <= max_parameters < float("inf"):
        raise InputError(f"--max-parameters {max_parameters:g} leaves no model", "write it like 3e9")
    largest = int(max_parameters or selection.MAX_PARAMETERS)
    steps = selection.filters(largest)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    twelve = _find_fates(steps)
    stages, survivors = selection.run(_candidates(hub_search.search(selection.TASK, limit), seen), steps)
    return Selection(
        date=date,
        endpoint=endpoint(),
        task=selection.TASK,
        sort=hub_search.SORT,
        limit=limit,
        max_parameters=largest,
        stages=stages,
        survivors=survivors,
        by_hand=sum(candidate.by_hand for candidate in survivors),
        twelve=twelve,
        servewatt_version=__version__,
    )


def _find_fates(steps: tuple[Filter, ...]) -> tuple[Fate, ...]:
    """Where the study's twelve would be left out by what the hub says of them now."""
    found = look_up(entry.hub_id for entry in CATALOGUE.values())
    return tuple(
        Fate(entry.name, entry.hub_id, left_at(_reduce(model), steps) if (model := found[entry.hub_id]) else "hub")
        for entry in CATALOGUE.values()
    )


def _candidates(models: Iterable[HubModel], seen: Callable[[int], None]) -> Iterator[Candidate]:
    """The models as they arrive, reduced."""
    for number, model in enumerate(models, 1):
        seen(number)
        yield _reduce(model)


def _reduce(model: HubModel) -> Candidate:
    """What the funnel asks of a model."""
    return Candidate(
        hub_id=model.hub_id,
        task=model.task,
        architecture=model.architecture,
        parameters=model.parameters,
        gated=model.gated,
        humaneval=humaneval_evidence(model.evaluated_on, model.card, model.tags),
        code=code_signs(model.hub_id, model.tags, model.languages, model.datasets),
        derived=bool(model.base_models),
        downloads=model.downloads,
        likes=model.likes,
        created_at=model.created_at,
    )

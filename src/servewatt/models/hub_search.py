"""Searches models on the hub: those of a task, most downloaded first, or some by id. No file is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from servewatt.errors import UnavailableError
from servewatt.models import hub
from servewatt.models.hub_access import UnreachableError, endpoint

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

SORT = "downloads"
_FACTS = (
    "cardData",
    "config",
    "createdAt",
    "downloads",
    "evalResults",
    "gated",
    "likes",
    "model-index",
    "pipeline_tag",
    "safetensors",
    "tags",
)
_UNREACHABLE_HINT = "connect, or set HF_ENDPOINT to a mirror; `servewatt study models` without --select needs no hub"


@dataclass(frozen=True)
class HubModel:
    """A model as the hub describes it."""

    hub_id: str
    task: str
    architecture: str
    """The first of config.json's `architectures`; empty where the hub does not know it."""
    parameters: int | None
    """Elements of all tensors in its safetensors, stored masks included; None where it has none."""
    gated: bool
    tags: tuple[str, ...]
    languages: tuple[str, ...]
    """Of text and of programs, as its card names them."""
    datasets: tuple[str, ...]
    """That it was trained on, as its card names them."""
    evaluated_on: tuple[str, ...]
    """Data sets of the results on its page."""
    card: str
    """The metadata of its card, as JSON."""
    base_models: tuple[str, ...]
    """That it was derived from."""
    downloads: int
    """Of the last 30 days."""
    likes: int
    created_at: str
    """UTC, ISO 8601; empty where unknown."""


def search(task: str, limit: int | None) -> Iterator[HubModel]:
    """Models of a task, most downloaded first; the hub is asked page by page while the result is read.

    `limit` None means every model. Raises UnavailableError if the hub cannot be reached or stops answering.
    """
    from huggingface_hub.utils import logging

    # A broken card is not ours to report, and among all models of a task there are hundreds.
    logging.set_verbosity_error()
    try:
        with hub.explained(f"the list of {task} models", None):
            found = hub.connect().list_models(pipeline_tag=task, sort=SORT, limit=limit, expand=list(_FACTS))
            for info in found:
                yield _model(info)
    except UnreachableError as error:
        raise UnavailableError(f"cannot reach {endpoint()}: {error}", error.hint or _UNREACHABLE_HINT) from error


def look_up(hub_ids: Iterable[str]) -> dict[str, HubModel | None]:
    """What the hub says of each model; None where it has no such model.

    Raises UnavailableError if the hub cannot be reached.
    """
    from huggingface_hub import errors

    found: dict[str, HubModel | None] = {}
    for hub_id in hub_ids:
        try:
            with hub.explained(hub_id, None):
                try:
                    found[hub_id] = _model(hub.connect().model_info(hub_id, expand=list(_FACTS)))
                except errors.RepositoryNotFoundError:
                    found[hub_id] = None
        except UnreachableError as error:
            raise UnavailableError(f"cannot reach {endpoint()}: {error}", error.hint or _UNREACHABLE_HINT) from error
    return found


def _model(info: ModelInfo) -> HubModel:
    card: dict[str, Any] = info.card_data.to_dict() if info.card_data else {}
    architectures = (info.config or {}).get("architectures") or [""]
    return HubModel(
        hub_id=info.id,
        task=info.pipeline_tag or "",
        architecture=str(architectures[0]),
        parameters=info.safetensors.total if info.safetensors else None,
        gated=bool(info.gated),
        tags=_words(info.tags),
        languages=(*_words(card.get("language")), *_words(card.get("programming_language"))),
        datasets=_words(card.get("datasets")),
        evaluated_on=_evaluations(info),
        card=json.dumps(card, default=str, sort_keys=True),
        base_models=_words(card.get("base_model")),
        downloads=info.downloads or 0,
        likes=info.likes or 0,
        created_at=info.created_at.isoformat() if info.created_at else "",
    )


def _words(value: object) -> tuple[str, ...]:
    """Card entries are one text, a list, or missing, as their authors wrote them."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(word) for word in value) if isinstance(value, list | tuple) else ()


def _evaluations(info: ModelInfo) -> tuple[str, ...]:
    """Data sets of the results: the card's index of results, and the hub's newer result files."""
    names: list[str] = []
    index = info.model_index if isinstance(info.model_index, list) else []
    for model in index:
        results = model.get("results") if isinstance(model, dict) else None
        for result in results if isinstance(results, list) else []:
            dataset = result.get("dataset") if isinstance(result, dict) else None
            if isinstance(dataset, dict):
                names += [str(dataset[key]) for key in ("type", "name") if dataset.get(key)]
    names += [result.dataset_id for result in info.eval_results or []]
    return tuple(dict.fromkeys(names))

"""Facts about each model without asking the network, for `servewatt models`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.checkpoints.files import read_object
from servewatt.errors import InputError, ServewattError
from servewatt.models import hub, random_weights
from servewatt.models.cache import ArtefactCache
from servewatt.models.catalogue import BUNDLED, CATALOGUE
from servewatt.models.catalogue_entry import CatalogueEntry
from servewatt.models.catalogue_recent import PRESENT
from servewatt.models.folder import CONFIG_FILE, describe
from servewatt.models.resolve import RANDOM_KIND
from servewatt.models.tokenizer import BUNDLED_FOLDER
from servewatt.records import ModelSource, Precision

BUNDLED_LICENCE = "apache-2.0"
_FP32_BYTES = 4


@dataclass(frozen=True)
class ListedModel:
    """One line of the list of models."""

    name: str
    hub_id: str
    """Empty for the bundled model."""
    architecture: str
    parameters: int
    fp32_bytes: int
    """Size of the weights in fp32."""
    licence: str
    gated: bool
    group: str
    """`bundled`, `study` (the published study's twelve) or `today`."""
    trained_at: Path | None
    """Folder of the trained weights on this machine; None if they are not here."""
    random_at: Path | None
    """Folder of a random checkpoint of this shape on this machine; None if there is none."""


def list_models(cache: ArtefactCache) -> list[ListedModel]:
    """The bundled model and the catalogue, with what of them is on this machine. No network, no heavy import."""
    checkpoints = _random_checkpoints(cache)
    listed = [_catalogued(entry, checkpoints) for entry in (*CATALOGUE.values(), *PRESENT.values())]
    try:
        model = describe(BUNDLED_FOLDER, BUNDLED, ModelSource.BUNDLED, revision="-")
    except ServewattError:  # an installation without it still lists the others
        return listed
    bundled = ListedModel(
        BUNDLED,
        "",
        model.architecture,
        model.parameters,
        model.parameters * _FP32_BYTES,
        BUNDLED_LICENCE,
        False,
        "bundled",
        BUNDLED_FOLDER,
        None,
    )
    return [bundled, *listed]


def _catalogued(entry: CatalogueEntry, checkpoints: dict[str, Path]) -> ListedModel:
    snapshot = hub.cached(entry.hub_id, entry.revision)
    shape = _canonical(random_weights.stored_config(entry.config, Precision.FP32))
    return ListedModel(
        entry.name,
        entry.hub_id,
        entry.architecture,
        entry.parameters,
        entry.parameters * _FP32_BYTES,
        entry.licence,
        entry.gated,
        "today" if entry.name in PRESENT else "study",
        snapshot.folder if snapshot else None,
        checkpoints.get(shape),
    )


def _random_checkpoints(cache: ArtefactCache) -> dict[str, Path]:
    """Folders of random checkpoints by the canonical text of their configuration."""
    found = {}
    for entry in cache.entries():
        if entry.kind == RANDOM_KIND:
            try:
                found[_canonical(read_object(entry.folder / CONFIG_FILE))] = entry.folder
            except InputError:
                continue
    return found


def _canonical(config: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in config.items() if key != "dtype"}, sort_keys=True)

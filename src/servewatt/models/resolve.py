"""From the name a user gives to a model on this machine, pinned by its revision."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from servewatt.checkpoints.architecture import architecture_of
from servewatt.checkpoints.config import Config
from servewatt.checkpoints.fields import check_fields
from servewatt.checkpoints.files import is_file, read_object, shown
from servewatt.errors import InputError, RefusedError, nearest
from servewatt.models import hub, random_weights
from servewatt.models.cache import ArtefactCache
from servewatt.models.catalogue import BUNDLED, find, known_names
from servewatt.models.digest import FileDigests, combined
from servewatt.models.folder import CONFIG_FILE, TOKENIZER_FILES, describe
from servewatt.models.local import local_folder, name_of
from servewatt.models.tokenizer import BUNDLED_FOLDER
from servewatt.records import Model, ModelSource, Precision, Weights

RANDOM_KIND = "random"
"""The kind under which random checkpoints lie in the artefact cache."""


def resolve(
    name: str,
    *,
    weights: Weights = Weights.TRAINED,
    revision: str | None = None,
    seed: int = 0,
    cache: ArtefactCache,
    precision: Precision = Precision.FP32,
    draw: bool = True,
) -> Model:
    """The model that `name` means: `bundled`, a folder, a name of the catalogue, or a hub id.

    With random weights only the configuration is needed: a checkpoint drawn from `seed`, stored as `precision`, is
    written into `cache` once (`precision` says nothing otherwise); without `draw` it is only described, for whoever
    plans, and its folder holds no weights. A random model's revision is a digest of configuration, seed and scheme; a
    folder's one of configuration and weights; a hub model's its commit (by default the one that the catalogue pins, or
    the main branch's).
    Raises InputError, RefusedError or UnavailableError with what to do about it.
    """
    folder = _folder(name)
    if revision is not None and (folder is not None or name == BUNDLED):
        raise InputError(f"{name} has no revisions; --revision is for models of the hub", "leave out --revision")
    if weights == Weights.RANDOM:
        return _random(name, folder, revision, seed, cache, precision, draw=draw)
    digests = FileDigests(cache.root / "digests")
    if name == BUNDLED:
        return describe(BUNDLED_FOLDER, BUNDLED, ModelSource.BUNDLED, digests=digests)
    if folder is not None:
        return describe(folder, name_of(folder), ModelSource.FOLDER, digests=digests)
    entry = find(name)
    hub_id = entry.hub_id if entry else _hub_id(name)
    snapshot = hub.fetch(hub_id, revision or (entry.revision if entry else None))
    try:
        return describe(snapshot.folder, entry.name if entry else hub_id, ModelSource.HUB, revision=snapshot.commit)
    except InputError as error:
        if "safetensors file" in error.message:
            error.hint = f"delete {snapshot.folder.parents[1]} and run the same command again"
        raise


def outline(name: str, cache: ArtefactCache) -> Model:
    """The model that `name` means as its configuration describes it: no weights are fetched, drawn or read.

    For asking engines whether they could run it; nothing can be measured with it. Raises as `resolve` does.
    """
    folder = BUNDLED_FOLDER if name == BUNDLED else _folder(name)
    if folder is not None and any(folder.glob("*.safetensors")):
        source = ModelSource.BUNDLED if name == BUNDLED else ModelSource.FOLDER
        return describe(folder, BUNDLED if name == BUNDLED else name_of(folder), source, revision="-")
    return resolve(name, weights=Weights.RANDOM, cache=cache, draw=False)


def _folder(name: str) -> Path | None:
    """The folder that `name` means, None if it is a name of the catalogue or the hub."""
    if name == BUNDLED or find(name) is not None:
        return None
    if not name.strip():
        raise InputError("the model has no name", nearest(name, known_names()))
    if (path := local_folder(name)) is not None:
        if "/" in name and hub.is_hub_id(name) and not os.path.lexists(path / CONFIG_FILE):
            raise InputError(
                f"{name}: no {CONFIG_FILE}; the folder of this name here hides the hub's model {name}",
                "run from another folder, or rename this one",
            )
        return path
    if name.startswith(("/", ".", "~")) or not hub.is_hub_id(name):
        raise InputError(
            f"no folder {shown(name)}",
            f"give a folder, a hub id (owner/name) or a name of the catalogue ({nearest(name, known_names())})",
        )
    return None


def _hub_id(name: str) -> str:
    """`name` as a hub id; a word without owner is more likely a misspelt name of the catalogue."""
    if "/" not in name:
        raise InputError(
            f"unknown model {shown(repr(name))}", f"{nearest(name, known_names())} (or a hub id, owner/name)"
        )
    return name


def _random(
    name: str,
    folder: Path | None,
    revision: str | None,
    seed: int,
    cache: ArtefactCache,
    precision: Precision,
    *,
    draw: bool,
) -> Model:
    if precision not in (Precision.FP32, Precision.BF16, Precision.FP16):
        raise RefusedError(f"random weights cannot be stored as {precision.value}", "store them as fp32, bf16 or fp16")
    entry = find(name)
    if entry is not None and revision is None:
        config: Config = entry.config
        source, called = None, entry.name
    else:
        if name == BUNDLED:
            source, called = BUNDLED_FOLDER, BUNDLED
        elif folder is not None:
            source, called = folder, name_of(folder)
        else:
            called = entry.name if entry else name
            source = hub.fetch(entry.hub_id if entry else _hub_id(name), revision, weights=False).folder
        config = read_object(source / CONFIG_FILE)
    architecture_of(config, name)
    check_fields(config, called)
    digest = random_weights.revision(config, seed, precision)
    borrowed = [source / n for n in TOKENIZER_FILES if is_file(source / n)] if source else []
    key = (digest, combined(borrowed, FileDigests(None)) if borrowed else "no tokenizer")
    place = cache.path(RANDOM_KIND, key)
    if draw or place.is_dir():
        checkpoint = _draw(config, borrowed, key, seed, cache, precision)
        return describe(checkpoint, called, ModelSource.RANDOM, revision=digest, seed=seed)
    with tempfile.TemporaryDirectory() as outline:
        random_weights.write_outline(
            Path(outline), config, random_weights.parameter_shapes(config), precision=precision
        )
        _copy(borrowed, Path(outline))
        described = describe(Path(outline), called, ModelSource.RANDOM, revision=digest, seed=seed)
    # Where configuration and tokenizer are: the weights are nowhere yet.
    return replace(described, folder=str(source or _configuration_folder(config, digest, cache, precision)))


def _configuration_folder(config: Config, digest: str, cache: ArtefactCache, precision: Precision) -> Path:
    """A folder with nothing but config.json, which engines are asked about before any weights are drawn."""

    def build(folder: Path) -> None:
        random_weights.write_config(folder, config, precision)

    return cache.get_or_build("configuration", (digest,), build)


def _draw(
    config: Config,
    borrowed: list[Path],
    key: tuple[str, str],
    seed: int,
    cache: ArtefactCache,
    precision: Precision,
) -> Path:
    """The random checkpoint of `config`, with the `borrowed` files of a tokenizer beside it."""
    if cache.path(RANDOM_KIND, key).is_dir():
        shapes, expected = None, 0
    else:
        shapes = random_weights.parameter_shapes(config)
        expected = random_weights.stored_bytes(shapes, precision)

    def build(folder: Path) -> None:
        drawn = random_weights.parameter_shapes(config) if shapes is None else shapes
        random_weights.write_checkpoint(folder, config, drawn, seed=seed, precision=precision)
        _copy(borrowed, folder)

    return cache.get_or_build(RANDOM_KIND, key, build, expected)


def _copy(files: list[Path], folder: Path) -> None:
    for file in files:
        shutil.copyfile(file, folder / file.name)

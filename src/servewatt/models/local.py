"""Names that mean a folder on this machine, the hub's cache among them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from servewatt.checkpoints.files import shown
from servewatt.errors import InputError
from servewatt.input_files import expand

_REPOSITORY = "models--"
"""Begins the name of a model's folder in the hub's cache; `--` stands for the slash of its id."""


def local_folder(name: str) -> Path | None:
    """The folder that `name` means; None if there is nothing of that name.

    A model's folder of the hub's cache means the snapshot that its main branch was, or the only one.
    Raises InputError for what is there but is no folder, cannot be read, or has a name that is not UTF-8.
    """
    path = expand(name)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            target = shown(path.readlink())
            raise InputError(f"{shown(name)}: a link to {target}, which is not there", "mend the link") from error
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{shown(name)}: too long for the name of a folder", "give a model's folder") from error
        raise InputError(
            f"cannot read {shown(name)}: {error.strerror}", "check the path and its permissions"
        ) from error
    except ValueError as error:  # a null character
        raise InputError(f"{name!a} is no name of a folder", "give a model's folder") from error
    if stat.S_ISREG(mode):
        raise InputError(
            f"{shown(name)} is a file; a model is a folder with config.json and safetensors",
            f"try {shown(path.parent)}",
        )
    if not stat.S_ISDIR(mode):
        raise InputError(f"{shown(name)} is no folder", "give a model's folder")
    whole = path.resolve()
    try:
        str(whole).encode()
    except UnicodeEncodeError as error:
        # The libraries that read models take UTF-8 only.
        raise InputError(f"{shown(whole)}: the path is not UTF-8", "rename the folder, or move it elsewhere") from error
    return _snapshot(path) if whole.name.startswith(_REPOSITORY) and (path / "snapshots").is_dir() else path


def name_of(folder: Path) -> str:
    """What a folder's model is called: a snapshot of the hub's cache by its hub id, any other by the folder's name."""
    whole = folder.resolve()
    repository = whole.parent.parent.name
    if whole.parent.name == "snapshots" and repository.startswith(_REPOSITORY):
        return repository.removeprefix(_REPOSITORY).replace("--", "/")
    return whole.name


def _snapshot(repository: Path) -> Path:
    snapshots = repository / "snapshots"
    try:
        main = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
        if main and os.sep not in main and (snapshots / main).is_dir():
            return snapshots / main
    except (OSError, ValueError):
        pass
    found = sorted(path for path in snapshots.iterdir() if path.is_dir())
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{repository}: a folder of the hub's cache with {len(found)} snapshots",
        f"give one of them: {found[0]}" if found else "download the model again",
    )

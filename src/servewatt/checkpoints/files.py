"""Files of a model folder: opened only where they are files, JSON of them with the reason why it cannot be used."""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from servewatt.errors import InputError

JSON_LIMIT_BYTES = 1 << 30
"""Above the largest tokenizers by far; a larger file is something else."""
_AGAIN = "get the file again"
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def shown(text: object, most: int = 80) -> str:
    """A name out of a file or of a file, for a message: quoted where it must be, of `most` characters and a few."""
    plain = str(text)
    short = plain if len(plain) <= most else f"{plain[:most]}..."
    return short if short.isprintable() else ascii(short)


def is_file(path: Path) -> bool:
    """Whether there is a file at `path`; False if nothing is there. InputError for anything else, or without permission
    to look.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            target = shown(path.readlink())
            raise InputError(f"{path}: a link to {target}, which is not there", "copy the file itself") from error
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "no regular file")
        raise InputError(f"{path} is {kind}, not a file", "put the model's own file there")
    return True


def open_file(path: Path) -> BufferedReader:
    """`path` opened for reading. Raises InputError where there is no file, or one that cannot be read."""
    try:
        if not is_file(path):
            raise InputError(f"{path.parent}: no {path.name}", "a model's folder has config.json and safetensors")
        # O_NONBLOCK: a named pipe put there meanwhile would wait for its writer for ever.
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError that names the file and what is wrong with it."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > JSON_LIMIT_BYTES:
            raise InputError(f"{path}: {size:,} bytes are too many for a JSON file of a model", _AGAIN)
        try:
            raw = file.read()
        except OSError as error:
            raise _unreadable(path, error) from error
    if raw.startswith(b"\xef\xbb\xbf"):
        raise InputError(f"{path} begins with a byte order mark", "save it as UTF-8 without BOM")
    try:
        return parse_object(raw)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}", _AGAIN) from error


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that `raw` is. Raises ValueError for anything else, however it is broken or nested."""
    try:
        content = json.loads(raw.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it holds no table")
    return content


def _unreadable(path: Path, error: OSError) -> InputError:
    name = shown(path, 300)
    if error.errno == errno.ENAMETOOLONG:
        return InputError(f"{name}: the name is too long for a file", "give the path of a model's folder")
    if error.errno == errno.ELOOP:
        return InputError(f"{name}: the link leads back to itself", "replace it with the file it should lead to")
    return InputError(f"cannot read {name}: {error.strerror or error}", "check the file's permissions")

"""Packages of a few bytes, and an engine that needs one: environments can be built from them without a network."""

from __future__ import annotations

import io
import sysconfig
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

from servewatt.engines import ENGINES, EngineEntry

MARK = "tiny engine in"


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write the wheel of a pure Python distribution."""
    information = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{information}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{information}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in content.items():
            archive.writestr(place, text)
    return path


def tiny_wheel(folder: Path, version: str = "1.0", code: str = "") -> Path:
    """The wheel of `tiny-engine`, whose environment says where it is and borrows the tests' packages."""
    borrowed = sysconfig.get_path("purelib")
    start = f"import os, sys; print('{MARK}', sys.prefix, 'as', os.getpid(), file=sys.stderr)\n{borrowed}\n"
    return wheel(folder, "tiny_engine", version, {"tiny_engine/__init__.py": code, "tiny_engine.pth": start})


def tiny_sdist(folder: Path, backend: str) -> Path:
    """A source distribution of `tiny-engine` 1.0 that builds itself with the code `backend`."""
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    information = "Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.0\n"
    path = folder / "tiny_engine-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("pyproject.toml", project), ("PKG-INFO", information), ("backend.py", backend)):
            member = tarfile.TarInfo(f"tiny_engine-1.0/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def tiny_entry(*requirements: str, **build_variables: str) -> EngineEntry:
    """The fake engine, as one that needs an environment with `tiny-engine`."""
    return replace(
        ENGINES["fake"],
        packages=("tiny-engine",),
        pins=requirements or ("tiny-engine==1.0",),
        build_variables=build_variables,
    )

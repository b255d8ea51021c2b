"""Builds: environments beside the running one, to measure two versions of something in one race.

A build is a virtual environment with what a specification installs and, behind it on the import path, everything of the
running environment. It lies in the cache below the digest of what was installed, so that equal content is built into
one place, and a run that is continued finds what it was measured with.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from servewatt.engines.environments import state
from servewatt.engines.environments.build import reason
from servewatt.errors import InputError, UnavailableError
from servewatt.processes.endings import ending
from servewatt.processes.guarded import run_guarded
from servewatt.user_folders import cache_home

MANIFEST = "servewatt-build.json"
_NAME = re.compile(r"(?:base|head)-[0-9a-f]{12}")
_NOT_FOR_PIP = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER")
_ELSEWHERE = ("-e", "--editable", "-t", "--target", "--prefix", "--root", "--user", "--python")
"""Options of pip that would install into another place, or a link to code that may change while it is measured."""
_SEARCHED_CHARACTERS = 2**20


@dataclass(frozen=True)
class Build:
    """An environment that a specification was built into."""

    name: str
    """Its side and its digest, such as `base-0123456789ab`."""
    spec: str
    folder: Path
    packages: Mapping[str, str]
    """Name -> version of what it has in place of, or beside, the running environment's; may be empty."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """Environment variables for a process in it, made from those of `base`.

        Exported graphs and other artefacts are its own: those of the other side may have been made by other code.
        """
        kept = {name: value for name, value in base.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        kept.setdefault("HF_HOME", str(cache_home() / "huggingface"))
        path = os.pathsep.join(part for part in (str(self.folder / "bin"), base.get("PATH", "")) if part)
        own = {"PATH": path, "VIRTUAL_ENV": str(self.folder), "PYTHONSAFEPATH": "1"}
        own["XDG_CACHE_HOME"] = str(self.folder / "cache")
        if "servewatt" not in self.packages:
            own["PYTHONPATH"] = str(state.source())
        return {**kept, **own}


def root() -> Path:
    """Where builds lie: `$XDG_CACHE_HOME/servewatt/builds`, or the same below `~/.cache`."""
    return cache_home() / "servewatt" / "builds"


def make(side: str, spec: str) -> Build:
    """Build what `spec` installs, arguments of `pip install` as in a shell, for `side` (`base` or `head`).

    InputError for arguments that name nothing or install elsewhere; UnavailableError, with the reason and the path of
    the log, where it cannot be built.
    """
    arguments = check_spec(side, spec)
    folder = root() / f".part-{uuid.uuid4().hex}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fill(side, spec, arguments, folder)
            return _placed(side, spec, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        hint = "free disk space, or set XDG_CACHE_HOME to a folder you may write"
        raise UnavailableError(f"cannot write {error.filename or folder}: {error.strerror}", hint) from error


def check_spec(side: str, spec: str) -> list[str]:
    """The arguments of pip that `spec` is; InputError for those that cannot make a build."""
    form = f"give --{side} what pip install takes: a path, git+file://..., onnxruntime==1.23.0"
    try:
        arguments = shlex.split(spec)
    except ValueError as error:
        raise InputError(f"--{side}: {spec[:80]!r} is no list of arguments: {error}", form) from error
    if not [one for one in arguments if not one.startswith("-")] or not spec.isprintable():
        raise InputError(f"--{side}: {spec[:80]!r} names nothing to install", form)
    if elsewhere := [one for one in arguments if one.partition("=")[0] in _ELSEWHERE]:
        raise InputError(
            f"--{side}: {elsewhere[0]} would not install into a build", "leave it out: a build is a copy in its place"
        )
    return arguments


def find(name: str) -> Build:
    """The build called `name`; UnavailableError if it is not there, InputError if that is no build's name."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name[:80]!r} is no build", "builds have names like base-0123456789ab")
    folder = root() / name
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return Build(name, str(content["spec"]), folder, dict(content["packages"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnavailableError(
            f"the build {name} is not in the cache any more", "start servewatt compare --base again, which makes it"
        ) from error


def _fill(side: str, spec: str, arguments: list[str], folder: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_PIP}
    log_path = folder.parent / f"{side}.log"
    python = str(folder / "bin" / "python")
    # The one that a virtual environment was made by has the libraries of Python itself.
    venv = [sys.executable, "-I", "-m", "venv", str(folder)]
    pip = [python, "-I", "-m", "pip", "install", "--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    with log_path.open("w", encoding="utf-8") as log:
        code, step = run_guarded(venv, timeout_s=math.inf, environment=variables, log=log).returncode, "python -m venv"
        if code == 0:
            _put_behind(folder)
            step = "pip install"
            line = [*pip, *arguments]
            code = run_guarded(line, timeout_s=math.inf, environment=variables, log=log).returncode
    if code != 0:
        said = log_path.read_text(encoding="utf-8", errors="replace")[-_SEARCHED_CHARACTERS:]
        raise UnavailableError(
            f"--{side}: nothing was built from {spec!r}: {step}, {ending(code)}: {reason(said)}",
            f"all of what it said: {log_path}",
        )


def _put_behind(folder: Path) -> None:
    """Have the running environment's packages behind the build's own on its import path."""
    (packages,) = folder.glob("lib/python3.*/site-packages")
    # Python 3.11 puts a setuptools there that would stand in front of the running environment's.
    for entry in packages.iterdir():
        if entry.name.startswith(("setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    behind = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    # Through `site`, so that what is installed there as a link to its source is found too.
    lines = [f"import site; site.addsitedir({entry!r})" for entry in dict.fromkeys(behind)]
    (packages / "zz-servewatt-behind.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _placed(side: str, spec: str, folder: Path) -> Build:
    """The build, moved to the place that its content names; one with the same content is taken instead."""
    name = f"{side}-{_digest(folder.glob('lib/python3.*/site-packages/*.dist-info/RECORD'))}"
    packages = state.installed(folder)
    (folder / MANIFEST).write_text(json.dumps({"spec": spec, "packages": packages}, indent=1), encoding="utf-8")
    target = root() / name
    if not (target / MANIFEST).is_file() or not os.access(target / "bin" / "python", os.X_OK):
        shutil.rmtree(target, ignore_errors=True)
        try:
            folder.rename(target)
        except OSError:
            if not (target / MANIFEST).is_file():  # another process was quicker otherwise
                raise
    return Build(name, spec, target, packages)


def _digest(records: Iterable[Path]) -> str:
    """Of all installed files by their hashes; not of those that say when and from where they were installed."""
    lines = [f"{sys.version_info[:3]}"]
    for record in records:
        if record.parent.name.startswith("pip-"):
            continue
        for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
            file, _, rest = line.partition(",")
            changing = file.endswith((".pyc", "direct_url.json", "RECORD", "REQUESTED")) or file.startswith("../")
            if not changing:
                lines.append(f"{file} {rest}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]

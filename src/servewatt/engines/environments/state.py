"""State of an engine's environment, read without starting it: its manifest and the installed packages."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path

from servewatt import version as own_version
from servewatt.errors import UnavailableError
from servewatt.user_folders import data_home

MANIFEST = "manifest.json"
PARENT_ONLY = frozenset(
    ("altair", "click", "huggingface-hub", "jinja2", "pyyaml", "rich", "sqlalchemy", "tokenizers", "vl-convert-python")
)
"""Dependencies of servewatt that only the commands use; a worker gets token ids and answers with records."""
_WORKER_MARKERS = ("", "extra == 'serve'", 'extra == "serve"')
_NOT_FOR_THE_ENVIRONMENT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Manifest:
    """Inputs and outcome of a build; written last, so that an environment without it is unfinished."""

    engine: str
    folder: str
    """Name of the virtual environment's folder, beside the manifest."""
    requirements: tuple[str, ...]
    """The engine's pins, as asked."""
    build_variables: Mapping[str, str]
    worker_requirements: tuple[str, ...]
    """Requirements of servewatt's worker, as requested."""
    packages: Mapping[str, str]
    """Name -> version of everything that was installed."""
    servewatt: str
    python: str
    """Version of the interpreter."""
    interpreter: str
    """The file that `bin/python` meant."""
    created_at: str

    def write(self, path: Path) -> None:
        """Replace the file at `path` in one step."""
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises OSError if there is none, ValueError if it is not one."""
        content = json.loads(path.read_text(encoding="utf-8"))
        try:
            values = {field.name: content[field.name] for field in fields(cls)}
            for name in ("requirements", "worker_requirements"):
                values[name] = tuple(values[name])
            for name in ("build_variables", "packages"):
                values[name] = dict(values[name])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a manifest: {error}") from error
        return cls(**values)


@dataclass(frozen=True)
class EngineEnvironment:
    """An environment that was built for an engine."""

    engine: str
    folder: Path
    """The virtual environment."""
    packages: Mapping[str, str]
    """Name -> version of what is installed in it now."""
    problem: str
    """Why it differs from what was built; empty if it does not."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def version(self, package: str) -> str | None:
        """Version of a distribution in it; None if it is not there."""
        return self.packages.get(canonical(package))

    def check(self) -> None:
        """UnavailableError, with the command that mends it, if it is broken."""
        if self.problem:
            raise UnavailableError(
                f"the environment of engine {self.engine!r} is broken: {self.problem}", add_line(self.engine)
            )

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """Environment variables for a process in it, made from those of `base`.

        Its programs come first in PATH, as after `activate`; of the Python path only the running servewatt is left.
        """
        kept = {name: value for name, value in base.items() if name not in _NOT_FOR_THE_ENVIRONMENT}
        path = os.pathsep.join(part for part in (str(self.folder / "bin"), base.get("PATH", "")) if part)
        # Safe path: a file of the current folder must not stand in for one of the environment's modules.
        own = {"PATH": path, "VIRTUAL_ENV": str(self.folder), "PYTHONPATH": str(source()), "PYTHONSAFEPATH": "1"}
        return {**kept, **own}


def root() -> Path:
    """Where environments lie: `$XDG_DATA_HOME/servewatt/engines`, or the same below `~/.local/share`."""
    return data_home() / "servewatt" / "engines"


def add_line(engine: str) -> str:
    """The command that builds or mends the environment of `engine`."""
    return f"servewatt engines add {engine}"


def find(engine: str, requirements: Sequence[str], build_variables: Mapping[str, str]) -> EngineEnvironment | None:
    """The environment of `engine`, compared with its manifest and with what is asked now; None if there is none."""
    try:
        home = root() / engine
    except UnavailableError:  # nowhere to keep one, and so none
        return None
    try:
        manifest = Manifest.read(home / MANIFEST)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return EngineEnvironment(engine, home, {}, f"{home / MANIFEST} cannot be read ({error})")
    folder = home / manifest.folder
    packages = installed(folder)
    found = EngineEnvironment(engine, folder, packages, "")
    problem = (
        _other_pins(manifest, requirements, build_variables)
        or _lost_interpreter(manifest, found.python)
        or _other_packages(manifest.packages, packages)
        or _missing_for_worker(packages)
    )
    return EngineEnvironment(engine, folder, packages, problem)


def installed(folder: Path) -> dict[str, str]:
    """Name -> version of every distribution in a virtual environment but pip, from the names of its metadata."""
    found = {}
    for entry in folder.glob("lib/python3.*/site-packages/*.dist-info"):
        name, _, version = entry.name.removesuffix(".dist-info").rpartition("-")
        if name and canonical(name) != "pip":
            found[canonical(name)] = version
    return dict(sorted(found.items()))


def canonical(package: str) -> str:
    """A distribution's name as packaging compares them (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def name_of(requirement: str) -> str:
    """The distribution that a requirement such as `torch[opt]==2.9; python_version > '3'` names."""
    return canonical(re.split(r"[\s\[<>=!~;@(]", requirement.strip(), maxsplit=1)[0])


def worker_requirements(pinned: Iterable[str] = ()) -> tuple[str, ...]:
    """What a worker and its server need of servewatt's dependencies, at the versions that run here.

    Those that `pinned` names are left to it. Raises UnavailableError where servewatt itself is not installed.
    """
    try:
        declared = metadata.requires("servewatt") or []
    except metadata.PackageNotFoundError as error:
        hint = "install servewatt, such as by: pip install -e . in its source folder"
        raise UnavailableError("servewatt runs here without being installed: its dependencies are unknown", hint) from (
            error
        )
    left_to_others = PARENT_ONLY | {name_of(requirement) for requirement in pinned}
    needed = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        name = name_of(requirement)
        if marker.strip() not in _WORKER_MARKERS or name in left_to_others:
            continue
        try:
            needed.append(f"{name}=={metadata.version(name).partition('+')[0]}")
        except metadata.PackageNotFoundError:  # the server's packages may be missing here
            needed.append(requirement.strip())
    return tuple(needed)


def _other_pins(manifest: Manifest, requirements: Sequence[str], build_variables: Mapping[str, str]) -> str:
    if set(manifest.requirements) != set(requirements):
        wanted = " ".join(sorted(set(requirements) - set(manifest.requirements)))
        return f"this servewatt asks for {wanted}" if wanted else "this servewatt asks for fewer packages"
    if dict(manifest.build_variables) != dict(build_variables):
        return "this servewatt builds it with other settings"
    return ""


def _lost_interpreter(manifest: Manifest, python: Path) -> str:
    if not os.access(python, os.X_OK):
        return f"its interpreter is gone ({manifest.interpreter})"
    if not (python.parent.parent / "pyvenv.cfg").is_file():
        return "its pyvenv.cfg is gone"
    now = python.resolve()
    # The files of another patch release have the same name, and work.
    if now.name != Path(manifest.interpreter).name:
        return f"its interpreter was {manifest.interpreter} and is now {now}"
    return ""


def _other_packages(built: Mapping[str, str], now: Mapping[str, str]) -> str:
    changes = [
        f"{name} was {version} and is now {now[name]}" if name in now else f"{name} {version} is gone"
        for name, version in built.items()
        if now.get(name) != version
    ]
    return "; ".join(changes[:3]) + (f"; and {len(changes) - 3} more" if len(changes) > 3 else "")


def _missing_for_worker(packages: Mapping[str, str]) -> str:
    try:
        needed = [name_of(requirement) for requirement in worker_requirements()]
    except UnavailableError:
        return ""
    missing = [name for name in needed if name not in packages]
    return f"this servewatt needs {' '.join(missing)} in it" if missing else ""


def source() -> Path:
    """A folder that holds nothing but a link to the running servewatt, made where it is missing.

    One for each place that servewatt runs from, so that two checkouts can share the environments.
    """
    package = Path(own_version.__file__).resolve().parent
    folder = root() / ".source" / hashlib.sha256(str(package).encode()).hexdigest()[:16]
    link = folder / "servewatt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(package, target_is_directory=True)
    except FileExistsError:  # another process was quicker
        pass
    except OSError as error:
        raise UnavailableError(
            f"cannot write {folder}: {error.strerror}", "set XDG_DATA_HOME to a folder you may write"
        ) from error
    return folder

"""Models from the Hugging Face hub: pinned to a commit, safetensors only, from its cache when offline."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from servewatt.checkpoints.architecture import architecture_of
from servewatt.checkpoints.files import is_file, open_file, read_object
from servewatt.checkpoints.safetensors import (
    INDEX_FILE,
    SINGLE_FILE,
    checkpoint_files,
    refuse_without_safetensors,
    shard_names,
)
from servewatt.errors import InputError, RefusedError, ServewattError, UnavailableError, nearest
from servewatt.input_files import expand
from servewatt.models.catalogue import known_names
from servewatt.models.folder import CONFIG_FILE, GENERATION_FILE, TOKENIZER_FILES
from servewatt.models.hub_access import UnreachableError, bad_token, check_access, endpoint, token_source
from servewatt.user_folders import cache_home

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SMALL_FILES = (CONFIG_FILE, GENERATION_FILE, *TOKENIZER_FILES)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID_LENGTH = 96
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")


@dataclass(frozen=True)
class Snapshot:
    """A model's files of one commit, on this machine."""

    folder: Path
    commit: str


def hub_cache() -> Path:
    """The hub's cache folder, as huggingface_hub finds it, without importing it."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return expand(os.path.expandvars(os.environ[variable]))
    if os.environ.get("HF_HOME"):
        return expand(os.path.expandvars(os.environ["HF_HOME"])) / "hub"
    # huggingface_hub takes a relative path too.
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else cache_home()) / "huggingface" / "hub"


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form of a hub id, such as `EleutherAI/pythia-410m`."""
    known_form = len(name) <= _HUB_ID_LENGTH and _HUB_ID.fullmatch(name) is not None
    return known_form and ".." not in name and "--" not in name


def cached(hub_id: str, revision: str | None = None) -> Snapshot | None:
    """A whole snapshot in the hub's cache, found without network; None if there is none."""
    found = cached_folder(hub_id, revision)
    if found is None or not _has(found, CONFIG_FILE):
        return None
    try:
        checkpoint_files(found)
    except ServewattError:
        return None
    return Snapshot(found, found.name)


def fetch(hub_id: str, revision: str | None = None, *, weights: bool = True) -> Snapshot:
    """The model's files, downloaded where the hub's cache does not have them.

    Without `weights`, only configuration and tokenizer. What can be refused is refused before the weights are
    downloaded. Raises UnavailableError if the hub cannot be reached and the cache does not do instead, InputError
    or RefusedError if the hub does not give the model.
    """
    if revision is not None and _COMMIT.fullmatch(revision) and (pinned := cached(hub_id, revision)):
        return pinned
    try:
        with explained(hub_id, revision):
            return _download(hub_id, revision, weights)
    except UnreachableError as error:
        local = cached(hub_id, revision) if weights else _cached_configuration(hub_id, revision)
        if local is None:
            raise _neither(hub_id, revision, error) from error
        return local


def _neither(hub_id: str, revision: str | None, error: UnreachableError) -> UnavailableError:
    """Neither the hub nor its cache gives the model: why."""
    pinned_id = f"{hub_id} at {revision}" if revision else hub_id
    lacks = f"{pinned_id} is not in its cache {hub_cache()}"
    if (found := cached_folder(hub_id, revision)) is not None:
        try:
            open_file(found / CONFIG_FILE).close()
            checkpoint_files(found)
        except ServewattError as problem:
            lacks = f"its cache has {pinned_id} in part only ({problem.message})"
    return UnavailableError(
        f"cannot reach {endpoint()}, and {lacks}: {error}",
        error.hint or "connect once to download it, or time its shape with --weights random",
    )


def connect() -> HfApi:
    """The hub's interface; raises as `check_access`."""
    from huggingface_hub import HfApi

    check_access()
    return HfApi(endpoint=endpoint(), library_name="servewatt")


def is_commit(revision: str) -> bool:
    """Whether `revision` is a full commit, and not a branch or tag that may move."""
    return _COMMIT.fullmatch(revision) is not None


def _download(hub_id: str, revision: str | None, weights: bool) -> Snapshot:
    api = connect()
    info = api.model_info(hub_id, revision=revision)
    names = [sibling.rfilename for sibling in info.siblings or []]
    commit = str(info.sha)
    if CONFIG_FILE not in names:
        raise InputError(f"{hub_id} has no {CONFIG_FILE}", f"is it a language model? see {endpoint()}/{hub_id}")
    small = [name for name in SMALL_FILES if name in names]
    folder = _get(api, hub_id, commit, small)
    architecture_of(read_object(folder / CONFIG_FILE), hub_id)
    if weights:
        if SINGLE_FILE in names:
            files = [SINGLE_FILE]
        elif INDEX_FILE in names:
            _get(api, hub_id, commit, [INDEX_FILE])
            files = [INDEX_FILE, *shard_names(folder / INDEX_FILE)]
        else:
            refuse_without_safetensors(hub_id, [name for name in names if "/" not in name])
        _get(api, hub_id, commit, files)
    remember(hub_id, revision or "main", commit)
    return Snapshot(folder, commit)


def _get(api: HfApi, hub_id: str, commit: str, names: Sequence[str]) -> Path:
    for name in names:
        path = Path(api.hf_hub_download(hub_id, name, revision=commit, cache_dir=str(hub_cache())))
    return path.parent


@contextmanager
def explained(hub_id: str, revision: str | None, kind: str = "model") -> Iterator[None]:
    """Turn what huggingface_hub raises into errors a user can act on; `kind` is `model` or `dataset`.

    Raises UnreachableError if the hub did not answer, and ServewattError for what it answered.
    """
    try:
        yield
    except (ServewattError, UnreachableError):
        raise
    except Exception as error:
        told = _refusal(error, hub_id, revision, kind) or _local_trouble(error, hub_id) or _unreachable(error)
        if told is None:
            raise
        raise told from error


def _refusal(error: Exception, hub_id: str, revision: str | None, kind: str) -> ServewattError | None:
    """What the hub answered, if it answered no."""
    from huggingface_hub import errors

    page = f"{endpoint()}/{hub_id}" if kind == "model" else f"{endpoint()}/{kind}s/{hub_id}"
    if isinstance(error, errors.GatedRepoError):
        instead = "; or use --weights random" if kind == "model" else ""
        return RefusedError(
            f"{hub_id} is gated: its owner asks you to accept conditions first",
            f"accept them at {page} with the account that you log in with (`hf auth login`, or HF_TOKEN){instead}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{hub_id} has no revision {revision!r}", f"its revisions are at {page}/commits/main")
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        known = f"{nearest(hub_id, known_names())}; " if kind == "model" else ""
        return InputError(f"no {kind} {hub_id!r} at {endpoint()}", f"{known}a private one needs `hf auth login`")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return InputError(f"{hub_id} lists a file that it does not give: {_first_line(error)}", f"see {page}")
    if isinstance(error, errors.HfHubHTTPError):
        return _denial(getattr(error.response, "status_code", 0), hub_id, page)
    return None


def _denial(status: int, hub_id: str, page: str) -> ServewattError:
    """What a status of HTTP says that huggingface_hub has no error for."""
    if status == 401 and (source := token_source()):
        return bad_token(source, f"is not valid: the hub does not accept it ({status})")
    if status in (401, 403):
        hint = f"accept its conditions at {page} with the account that you log in with (`hf auth login`, or HF_TOKEN)"
        return RefusedError(f"{hub_id}: access denied ({status})", hint)
    busy = "it limits requests: wait, or log in with `hf auth login`"
    return UnavailableError(
        f"{endpoint()} answered {status} for {hub_id}", busy if status == 429 else "try again later"
    )


def _local_trouble(error: Exception, hub_id: str) -> ServewattError | None:
    """What this machine's disk refused."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some, or set HF_HOME to a folder on a larger disk"
        return UnavailableError(f"no room left at {hub_cache()} for {hub_id}", hint)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UnavailableError(f"cannot write {hub_cache()}: {error}", "set HF_HOME to a folder you may write")
    return None


def _unreachable(error: Exception) -> UnreachableError | None:
    # The HTTP client's own errors come from a package that differs between versions of huggingface_hub.
    package = type(error).__module__.partition(".")[0]
    if isinstance(error, UnicodeError | ImportError | ValueError) and package == "builtins":
        return UnreachableError(
            _first_line(error), "check the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and HF_TOKEN"
        )
    if isinstance(error, OSError) or package in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
        return UnreachableError(_first_line(error))
    return None


def _repository(hub_id: str, kind: str) -> Path:
    return hub_cache() / f"{kind}s--{hub_id.replace('/', '--')}"


def cached_folder(hub_id: str, revision: str | None, kind: str = "model") -> Path | None:
    """Where the hub's cache keeps what it has of a revision, whole or not; None if it has nothing."""
    repository = _repository(hub_id, kind)
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (repository / "refs" / commit).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        if not commit or Path(commit).name != commit:
            return None
    folder = repository / "snapshots" / commit
    try:
        return folder if folder.is_dir() else None
    except OSError:  # it may not be entered
        return None


def remember(hub_id: str, revision: str, commit: str, kind: str = "model") -> None:
    """Note which commit a branch or tag was, where huggingface_hub notes it, so that it is found offline."""
    if _COMMIT.fullmatch(revision) or ".." in revision:
        return
    reference = _repository(hub_id, kind) / "refs" / revision
    with suppress(OSError):
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")


def _cached_configuration(hub_id: str, revision: str | None) -> Snapshot | None:
    found = cached_folder(hub_id, revision)
    return Snapshot(found, found.name) if found is not None and _has(found, CONFIG_FILE) else None


def _has(folder: Path, name: str) -> bool:
    """Whether a file is there, whole links included."""
    try:
        return is_file(folder / name)
    except InputError:
        return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]

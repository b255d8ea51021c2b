"""The config.json of a model folder as engines read it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from servewatt.checkpoints.files import read_object
from servewatt.checkpoints.head import own_head
from servewatt.checkpoints.safetensors import checkpoint_files, read_tensors

Config = Mapping[str, Any]
"""A parsed config.json."""
CONFIG_FILE = "config.json"
_NULL_IS_A_VALUE = frozenset({"sliding_window", "attn_logit_softcapping", "final_logit_softcapping"})
"""Fields that are null for "none", where transformers takes another value if they are absent."""


def read_config(folder: str | Path) -> dict[str, Any]:
    """The folder's config.json, `tie_word_embeddings` as the weights have it: off where a head of its own is stored.

    Fields that are null are left out, but those that say "none" so. InputError if there is no such file, it is no JSON
    object, or the weights beside it cannot be read.
    """
    path = Path(folder)
    config = without_nulls(read_object(path / CONFIG_FILE))
    if config.get("tie_word_embeddings") is False or not any(path.glob("*.safetensors")):
        return config
    if _has_own_head(tuple((file, _state(file)) for file in checkpoint_files(path))):
        config["tie_word_embeddings"] = False
    return config


def without_nulls(config: Config) -> dict[str, Any]:
    """The fields of a config.json that say something."""
    return {name: value for name, value in config.items() if value is not None or name in _NULL_IS_A_VALUE}


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=16)
def _has_own_head(files: tuple[tuple[Path, tuple[int, int]], ...]) -> bool:
    """Kept, because it may take reading both matrices and a plan asks for each configuration."""
    return own_head(read_tensors(tuple(file for file, _ in files))) is not None

"""Tokenizers from before tokenizer.json: vocab.json with merges.txt, SentencePiece models, vocab.txt.

How text is split, which tokens are added and which are special hang on the class that the folder names, so they are
read by transformers itself.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from servewatt.checkpoints.files import is_file, read_object, shown
from servewatt.errors import InputError, RefusedError, UnavailableError

if TYPE_CHECKING:
    import tokenizers

_JSON_FILES = ("tokenizer_config.json", "config.json", "special_tokens_map.json", "added_tokens.json")
_SAVE_HINT = (
    "name the class in tokenizer_config.json (tokenizer_class), or save the model's fast tokenizer there with "
    "save_pretrained"
)


def from_legacy_files(folder: Path, files: tuple[Path, ...]) -> tokenizers.Tokenizer:
    """The tokenizer that transformers makes of `folder`, which has `files` and no tokenizer.json.

    Raises UnavailableError without transformers, RefusedError for code of the folder's own, and InputError if
    transformers makes no fast tokenizer of the files.
    """
    for name in _JSON_FILES:
        if is_file(folder / name) and "auto_map" in read_object(folder / name):
            raise RefusedError(
                f"{folder / name} asks to run code of its own (auto_map)",
                "servewatt runs no remote code; save the model's fast tokenizer there with save_pretrained",
            )
    try:
        from transformers import AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise UnavailableError(
            f"{folder}: without tokenizer.json, its tokenizer needs transformers: {error}",
            "pip install 'servewatt[torch]', or save the model's fast tokenizer there with save_pretrained",
        ) from error
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        names = " and ".join(file.name for file in files)
        message = f"{folder}: transformers makes no tokenizer of {names}: {_reason(error)}"
        raise InputError(message, _hint(error)) from error
    finally:
        logging.set_verbosity(verbosity)
    inner = getattr(made, "backend_tokenizer", None)
    if inner is None:
        raise InputError(f"{folder}: transformers has no fast tokenizer of the class {type(made).__name__}", _SAVE_HINT)
    found: tokenizers.Tokenizer = inner
    return found


def _reason(error: Exception) -> str:
    return shown((str(error).strip() or type(error).__name__).partition("\n")[0])


def _hint(error: Exception) -> str:
    if isinstance(error, ImportError) or "sentencepiece" in str(error):
        return f"pip install sentencepiece protobuf, if it is a SentencePiece model; else {_SAVE_HINT}"
    return _SAVE_HINT

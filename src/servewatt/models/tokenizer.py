"""Text to token ids and back, by the tokenizer that comes with a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from servewatt.errors import InputError
from servewatt.models.catalogue import BUNDLED
from servewatt.models.folder import read_json
from servewatt.records import Model, Weights

if TYPE_CHECKING:
    import tokenizers

BUNDLED_FOLDER = Path(__file__).parent / BUNDLED


class Tokenizer:
    """A tokenizer; made by `load`."""

    def __init__(self, inner: tokenizers.Tokenizer, vocabulary_size: int | None = None, borrowed: bool = False) -> None:
        self._inner = inner
        self._fold = vocabulary_size
        self.borrowed = borrowed
        """Whether this is the bundled model's tokenizer, standing in for one that a random model does not have."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with the special tokens that the tokenizer's post-processor adds (such as BOS)."""
        ids: list[int] = self._inner.encode(text).ids
        return ids if self._fold is None else [i % self._fold for i in ids]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of `text` begins and ends, in characters; special tokens are not added.

        Tokens that are parts of one character all span that character.
        """
        spans: list[tuple[int, int]] = self._inner.encode(text, add_special_tokens=False).offsets
        return spans

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of token ids; ids without a token are left out."""
        known = [i for i in ids if self._inner.id_to_token(i) is not None]
        text: str = self._inner.decode(known, skip_special_tokens=skip_special)
        return text


def load(model: Model) -> Tokenizer:
    """The tokenizer in the model's folder: tokenizer.json, or vocab.json and merges.txt of byte-level BPE.

    A model with random weights that has none borrows the bundled model's: its ids only set the length of prompts,
    and what it decodes means nothing.
    Raises InputError if there is no tokenizer, its file is broken, or its ids exceed the model's vocabulary.
    """
    folder = Path(model.folder)
    files = tokenizer_files(folder)
    if not files and model.weights is Weights.RANDOM:
        inner = _from_file(BUNDLED_FOLDER / "tokenizer.json")
        fold = model.vocabulary_size if inner.get_vocab_size() > model.vocabulary_size else None
        return Tokenizer(inner, fold, borrowed=True)
    inner = _open(folder, files)
    where = files[0]
    largest = max(inner.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest < 0:
        raise InputError(f"{where}: the tokenizer has no tokens", "get the file again")
    if largest >= model.vocabulary_size:
        raise InputError(
            f"{where}: its ids go up to {largest}, the model's vocabulary ends at {model.vocabulary_size - 1}",
            "tokenizer and weights belong to different models; get both from one place",
        )
    return Tokenizer(inner)


def load_alone(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, whatever else is there.

    Raises InputError if there is none or its file is broken.
    """
    return Tokenizer(_open(folder, tokenizer_files(folder)))


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """The files that make the tokenizer in `folder`; empty if there is none."""
    if (folder / "tokenizer.json").is_file():
        return (folder / "tokenizer.json",)
    legacy = (folder / "vocab.json", folder / "merges.txt")
    return legacy if all(file.is_file() for file in legacy) else ()


def _open(folder: Path, files: tuple[Path, ...]) -> tokenizers.Tokenizer:
    if not files:
        raise InputError(
            f"{folder}: no tokenizer.json, and no vocab.json with merges.txt",
            "save the model's fast tokenizer there with save_pretrained",
        )
    return _from_file(files[0]) if files[0].name == "tokenizer.json" else _from_legacy(folder)


def _from_file(file: Path) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        inner = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:
        raise InputError(f"{file}: not a tokenizer: {_reason(error)}", "get the file again") from error
    return _unlimited(inner)


def _from_legacy(folder: Path) -> tokenizers.Tokenizer:
    """Byte-level BPE as GPT-2 stored it."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    try:
        bpe = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:
        raise InputError(
            f"{folder}: vocab.json and merges.txt make no tokenizer: {_reason(error)}", "get the files again"
        ) from error
    inner = tokenizers.Tokenizer(bpe)
    settings = folder / "tokenizer_config.json"
    prefix = bool(read_json(settings).get("add_prefix_space", False)) if settings.is_file() else False
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    inner.decoder = decoders.ByteLevel()
    return inner


def _unlimited(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    # Some files carry the padding and truncation of their training, which would change the work silently.
    inner.no_padding()
    inner.no_truncation()
    return inner


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

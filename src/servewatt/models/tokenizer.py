"""Text to token ids and back, by the tokenizer that comes with a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from servewatt.checkpoints.files import is_file, open_file, read_object, shown
from servewatt.errors import InputError
from servewatt.models.catalogue import BUNDLED
from servewatt.models.legacy_tokenizer import from_legacy_files
from servewatt.records import Model, Weights

if TYPE_CHECKING:
    import tokenizers

BUNDLED_FOLDER = Path(__file__).parent / BUNDLED
_FORMS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",), ("spiece.model",), ("vocab.txt",))
"""Sets of files that make a tokenizer, the first that is there; all but the first need transformers."""
_TOKEN_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Tokenizer:
    """A tokenizer; made by `load`."""

    def __init__(self, inner: tokenizers.Tokenizer, vocabulary_size: int | None = None, borrowed: bool = False) -> None:
        """`vocabulary_size` is that of the model, if there is one."""
        self._inner = inner
        self._vocabulary_size = vocabulary_size
        self.borrowed = borrowed
        """Whether this is the bundled model's tokenizer, standing in for one that a random model does not have."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with the special tokens that the tokenizer's post-processor adds (such as BOS).

        Raises InputError for an id that the model's vocabulary lacks; a borrowed tokenizer's are folded into it.
        """
        ids: list[int] = self._inner.encode(text).ids
        if self._vocabulary_size is None:
            return ids
        if self.borrowed:
            return [i % self._vocabulary_size for i in ids]
        beyond = next((i for i in ids if i >= self._vocabulary_size), None)
        if beyond is not None:
            token = shown(repr(self._inner.id_to_token(beyond)))
            raise InputError(
                f"token {token} has the id {beyond}, the model's vocabulary ends at {self._vocabulary_size - 1}",
                "tokenizer and weights belong to different models, or the text has a token that the model was never "
                "given; get both from one place, or take the token out",
            )
        return ids

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
    """The tokenizer in the model's folder: tokenizer.json, or what transformers makes of older files.

    A model with random weights that has none borrows the bundled model's: its ids only set the length of prompts,
    and what it decodes means nothing.
    Raises InputError if there is no tokenizer or its files are broken, UnavailableError if they need a package that is
    missing. Ids that the model's vocabulary lacks are told where they occur: many tokenizers have some that never do.
    """
    folder = Path(model.folder)
    files = tokenizer_files(folder)
    if not files and model.weights is Weights.RANDOM:
        inner = _from_file(BUNDLED_FOLDER / "tokenizer.json")
        return Tokenizer(inner, model.vocabulary_size, borrowed=True)
    inner = _open(folder, files)
    if inner.get_vocab_size(with_added_tokens=True) == 0:
        raise InputError(f"{files[0]}: the tokenizer has no tokens", "get the file again")
    return Tokenizer(inner, model.vocabulary_size)


def load_alone(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, whatever else is there.

    Raises as `load`.
    """
    return Tokenizer(_open(folder, tokenizer_files(folder)))


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """The files that make the tokenizer in `folder`; empty if there is none."""
    for names in _FORMS:
        files = tuple(folder / name for name in names)
        if all(map(is_file, files)):
            return files
    return ()


def _open(folder: Path, files: tuple[Path, ...]) -> tokenizers.Tokenizer:
    if not files:
        raise InputError(
            f"{folder}: no tokenizer.json, and no vocab.json with merges.txt",
            "save the model's fast tokenizer there with save_pretrained",
        )
    if files[0].name != "tokenizer.json":
        return _unlimited(from_legacy_files(folder, files))
    inner = _from_file(files[0])
    _add_tokens(inner, folder)
    return inner


def _from_file(file: Path) -> tokenizers.Tokenizer:
    import tokenizers

    with open_file(file) as stream:
        raw = stream.read()
    try:
        inner = tokenizers.Tokenizer.from_buffer(raw)
    except Exception as error:
        raise InputError(f"{file}: not a tokenizer: {_reason(error)}", "get the file again") from error
    return _unlimited(inner)


def _add_tokens(inner: tokenizers.Tokenizer, folder: Path) -> None:
    """Add what other files of the folder list beside tokenizer.json, as transformers does, in the order of ids.

    InputError where a token would get another id than listed.
    """
    import tokenizers

    missing = [token for token in _listed_tokens(folder) if inner.token_to_id(token.content) is None]
    for token in missing:
        inner.add_tokens(
            [
                tokenizers.AddedToken(
                    token.content,
                    single_word=token.single_word,
                    lstrip=token.lstrip,
                    rstrip=token.rstrip,
                    normalized=token.normalized,
                    special=token.special,
                )
            ]
        )
        got = inner.token_to_id(token.content)
        if got != token.id:
            raise InputError(
                f"{token.file}: the token {shown(repr(token.content))} has the id {token.id}; beside tokenizer.json it "
                f"gets {got}",
                "get all files of the tokenizer from one place",
            )


@dataclass(frozen=True)
class _Listed:
    """A token that is listed beside tokenizer.json."""

    id: int
    content: str
    file: Path
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


def _listed_tokens(folder: Path) -> list[_Listed]:
    """Tokens of tokenizer_config.json's added_tokens_decoder and of added_tokens.json, by id."""
    found: dict[str, _Listed] = {}
    added, settings = folder / "added_tokens.json", folder / "tokenizer_config.json"
    if is_file(added):
        for content, number in read_object(added).items():
            if not isinstance(number, int) or isinstance(number, bool):
                raise InputError(f"{added}: the id of {shown(repr(content))} is no integer", "get the file again")
            found[content] = _Listed(number, content, added)
    decoder = read_object(settings).get("added_tokens_decoder") if is_file(settings) else None
    if decoder is not None and not isinstance(decoder, dict):
        raise InputError(f"{settings}: added_tokens_decoder is no table", "get the file again")
    for number, token in (decoder or {}).items():
        if not (number.isdecimal() and isinstance(token, dict) and isinstance(token.get("content"), str)):
            raise InputError(f"{settings}: added_tokens_decoder has an entry without id or text", "get the file again")
        flags = {name: token[name] for name in _TOKEN_FLAGS if isinstance(token.get(name), bool)}
        found[token["content"]] = _Listed(int(number), token["content"], settings, **flags)
    return sorted(found.values(), key=lambda token: token.id)


def _unlimited(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    # Some files carry the padding and truncation of their training, which would change the work silently.
    inner.no_padding()
    inner.no_truncation()
    return inner


def _reason(error: Exception) -> str:
    return shown(str(error).strip().partition("\n")[0])

"""The text that the bundled model learns from: which files, which part each belongs to, and their tokens.

The text is the standard library of one CPython release, as `make install` lays it out. A file belongs to the part
that a hash of its path decides, so the same file is held out on every machine. Only the training part is seen by
the tokenizer and by the optimiser; validation files choose the checkpoint; held-out files are for the model card.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
VOCABULARY_SIZE = 4096

VALIDATION_PERCENT = 4
HELD_OUT_PERCENT = 6

EXCLUDED = (
    "site-packages/*",
    "lib-dynload/*",
    "config-*",
    "_sysconfigdata*",
    # Tables and generated text, not code that anyone writes.
    "pydoc_data/*",
    "stringprep.py",
    "html/entities.py",
    "re/_casefix.py",
    "idlelib/help.py",
    "test/test_stable_abi_ctypes.py",
    # Files that are wrong or in other encodings on purpose.
    "lib2to3/tests/data/*",
    "test/bad*",
    "test/cjkencodings/*",
    "test/encoded_modules/*",
    "test/tokenizedata/*",
    "test/crashers/*",
)
CHARACTER_MAP_MARKS = ("decoding_table", "decoding_map")

Tokens: TypeAlias = npt.NDArray[np.uint16]


class Part(StrEnum):
    """What a file is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"


class Kind(StrEnum):
    """Library code, or the tests of it."""

    LIBRARY = "library"
    TESTS = "tests"


@dataclass(frozen=True)
class Source:
    """One source file: its path relative to the library folder, in POSIX form, and its text."""

    path: str
    text: str

    @property
    def part(self) -> Part:
        """The part this file belongs to, from a hash of its path alone."""
        bucket = int.from_bytes(hashlib.sha256(self.path.encode()).digest()[:8]) % 100
        if bucket < VALIDATION_PERCENT:
            return Part.VALIDATION
        if bucket < VALIDATION_PERCENT + HELD_OUT_PERCENT:
            return Part.HELD_OUT
        return Part.TRAIN

    @property
    def kind(self) -> Kind:
        """Tests are the files below a folder named test, tests or idle_test."""
        folders = self.path.split("/")[:-1]
        return Kind.TESTS if {"test", "tests", "idle_test"} & set(folders) else Kind.LIBRARY

    @property
    def size_bytes(self) -> int:
        """Length of the text in UTF-8 bytes."""
        return len(self.text.encode())


@dataclass(frozen=True)
class Share:
    """How much text one part and kind holds."""

    part: Part
    kind: Kind
    files: int
    size_bytes: int
    tokens: int


@dataclass(frozen=True)
class Corpus:
    """A tokenised corpus: one stream of tokens for each part and kind, files separated by the end-of-text token."""

    tokenizer: Tokenizer
    shares: tuple[Share, ...]
    streams: dict[tuple[Part, Kind], Tokens]
    digest: str

    def share(self, part: Part, kind: Kind) -> Share:
        """The share of one part and kind."""
        return next(share for share in self.shares if (share.part, share.kind) == (part, kind))


def collect(library: Path) -> list[Source]:
    """Read every usable source file below `library`, in order of path, each text once.

    Raises FileNotFoundError if the folder holds no Python file.
    """
    sources: list[Source] = []
    seen: set[str] = set()
    for file in sorted(library.rglob("*.py")):
        path = file.relative_to(library).as_posix()
        if any(fnmatch(path, pattern) for pattern in EXCLUDED):
            continue
        text = _read(file)
        if text is None or text in seen:
            continue
        seen.add(text)
        sources.append(Source(path, text))
    if not sources:
        raise FileNotFoundError(f"no Python source files in {library}; give the Lib folder of CPython")
    return sources


def digest(sources: Iterable[Source]) -> str:
    """SHA-256 over the paths and texts, to tell whether two corpora are the same."""
    whole = hashlib.sha256()
    for source in sources:
        whole.update(f"{source.path}\0{source.text}\0".encode())
    return whole.hexdigest()


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learn a byte-level BPE vocabulary of VOCABULARY_SIZE with GPT-2's splitting rule, which engines know."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def build(library: Path) -> Corpus:
    """Collect, split and tokenise the files below `library`."""
    sources = collect(library)
    tokenizer = train_tokenizer(source.text for source in sources if source.part is Part.TRAIN)
    shares: list[Share] = []
    streams: dict[tuple[Part, Kind], Tokens] = {}
    for part in Part:
        for kind in Kind:
            chosen = [source for source in sources if (source.part, source.kind) == (part, kind)]
            stream = _encode(tokenizer, [source.text for source in chosen])
            streams[part, kind] = stream
            size_bytes = sum(source.size_bytes for source in chosen)
            shares.append(Share(part, kind, len(chosen), size_bytes, len(stream) - len(chosen)))
    return Corpus(tokenizer, tuple(shares), streams, digest(sources))


def save(corpus: Corpus, folder: Path) -> None:
    """Write the tokenizer, the streams and the shares to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus.tokenizer.save(str(folder / "tokenizer.json"))
    for (part, kind), stream in corpus.streams.items():
        np.save(_stream_file(folder, part, kind), stream)
    facts = {"digest": corpus.digest, "shares": [asdict(share) for share in corpus.shares]}
    (folder / "corpus.json").write_text(json.dumps(facts, indent=2) + "\n")


def load(folder: Path) -> Corpus:
    """Read a corpus that `save` wrote. Raises FileNotFoundError if there is none."""
    facts = json.loads((folder / "corpus.json").read_text())
    shares = tuple(
        Share(Part(row["part"]), Kind(row["kind"]), row["files"], row["size_bytes"], row["tokens"])
        for row in facts["shares"]
    )
    streams = {(share.part, share.kind): np.load(_stream_file(folder, share.part, share.kind)) for share in shares}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Corpus(tokenizer, shares, streams, facts["digest"])


def _read(file: Path) -> str | None:
    """The text of a file with Unix line ends, or None if it is not UTF-8, empty, or a character map."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    if not text.strip() or any(mark in text for mark in CHARACTER_MAP_MARKS):
        return None
    return text


def _encode(tokenizer: Tokenizer, texts: list[str]) -> Tokens:
    """One stream: the end-of-text token before each text."""
    return np.fromiter(_ids(tokenizer, texts), dtype=np.uint16)


def _ids(tokenizer: Tokenizer, texts: list[str]) -> Iterator[int]:
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        yield END_OF_TEXT_ID
        yield from encoding.ids


def _stream_file(folder: Path, part: Part, kind: Kind) -> Path:
    return folder / f"{part}-{kind}.npy"

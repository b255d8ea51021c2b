"""Tokenizers without tokenizer.json: the ids that transformers makes, or a reason."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import pre_tokenizers

from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.models.tokenizer import load_alone

transformers = pytest.importorskip("transformers")

ALPHABET = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
MERGES = (("1", "2"), ("12", "3"), ("(", "x"), ("(", ")"), ("()", ":"), ("d", "e"), ("de", "f"), ("Ġ", "Ġ"), ("Ġ", "x"))
TEXTS = (
    "x = 123123",
    "def f():\n    return 1\n        pass",
    "\tcall(x)\t\t# don't\n\n\nstop  ",
    "naïve = 'ÄÖ' + \"漢字\" + '🙂'  # e\u0301",
    "<|endoftext|>def f():<fim_middle>  <|endoftext|>",
)


def write(folder: Path, kind: str, merges: Sequence[tuple[str, str]] = MERGES, **files: Any) -> Path:
    """A folder with vocab.json and merges.txt for the tokenizer class `kind`; `files` are more, by stem."""
    vocabulary = dict(ALPHABET)
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    vocabulary["<|endoftext|>"] = len(vocabulary)
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    settings = {"tokenizer_class": kind, "eos_token": "<|endoftext|>", **files.pop("tokenizer_config", {})}
    for stem, content in {"tokenizer_config": settings, **files}.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "CodeGenTokenizer", "Qwen2Tokenizer"])
@pytest.mark.parametrize("added", [False, True])
def test_the_ids_of_transformers(kind: str, added: bool, tmp_path: Path) -> None:
    more: dict[str, Any] = {}
    if added:
        first = len(ALPHABET) + len(MERGES) + 1
        names = ("    ", "        ", "<fim_middle>")
        more["added_tokens"] = {name: first + i for i, name in enumerate(names)}
        more["special_tokens_map"] = {"additional_special_tokens": ["<fim_middle>"]}
    folder = write(tmp_path / "model", kind, **more)
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ours = load_alone(folder)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], text


def test_each_class_splits_as_it_does(tmp_path: Path) -> None:
    # Qwen2 keeps digits apart and joins a bracket to the word behind it; GPT-2 does neither.
    qwen, gpt2 = (load_alone(write(tmp_path / kind, kind)) for kind in ("Qwen2Tokenizer", "GPT2Tokenizer"))
    assert len(qwen.encode("123123")) == 6
    assert len(gpt2.encode("123123")) == 2
    assert len(qwen.encode("f(x")) == 2
    assert len(gpt2.encode("f(x")) == 3


def test_special_and_added_tokens_are_one_id_each(tmp_path: Path) -> None:
    first = len(ALPHABET) + len(MERGES) + 1
    tokenizer = load_alone(write(tmp_path / "model", "CodeGenTokenizer", added_tokens={"        ": first}))
    assert tokenizer.encode("<|endoftext|>        ") == [first - 1, first]
    assert tokenizer.decode([first - 1, first]) == "        "


def test_word_pieces(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "def", "f", "##oo"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    assert load_alone(tmp_path).encode("def foo 1") == [2, 5, 6, 7, 1, 3]


def test_what_transformers_makes_no_tokenizer_of(tmp_path: Path) -> None:
    for name, kind in (("a", "AbacusTokenizer"), ("b", 5), ("c", None)):
        folder = write(tmp_path / name, "", tokenizer_config={"tokenizer_class": kind})
        with pytest.raises(InputError, match=r"makes no tokenizer of vocab\.json and merges\.txt") as caught:
            load_alone(folder)
        assert "save_pretrained" in caught.value.hint
        assert "\n" not in caught.value.message
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "tokenizer.model").write_bytes(b"\x00\x01 no model")
    with pytest.raises(InputError, match=r"makes no tokenizer of tokenizer\.model"):
        load_alone(tmp_path / "d")


def test_code_of_the_folder_is_not_run(tmp_path: Path) -> None:
    settings = {"auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    with pytest.raises(RefusedError, match="auto_map"):
        load_alone(write(tmp_path / "model", "GPT2Tokenizer", tokenizer_config=settings))


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "model", "GPT2Tokenizer")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnavailableError, match="needs transformers") as caught:
        load_alone(folder)
    assert "servewatt[torch]" in caught.value.hint

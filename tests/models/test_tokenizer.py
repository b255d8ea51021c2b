from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers

from servewatt.errors import InputError
from servewatt.models import tokenizer as module
from servewatt.models.folder import describe
from servewatt.models.tokenizer import load, load_alone
from servewatt.records import Model, ModelSource, Weights
from tests.models.tiny import write_llama, write_tokenizer

TEXT = 'def f(x):\n    return "ä" + x\n'


@pytest.fixture
def model(tmp_path: Path) -> Model:
    folder = write_llama(tmp_path / "model")
    return describe(folder, "model", ModelSource.FOLDER)


def test_text_there_and_back(model: Model) -> None:
    tokenizer = load(model)
    ids = tokenizer.encode(TEXT)
    assert len(ids) == len(TEXT.encode())
    assert tokenizer.decode(ids) == TEXT
    assert not tokenizer.borrowed


def test_the_post_processor_decides_on_bos(model: Model) -> None:
    write_tokenizer(Path(model.folder) / "tokenizer.json", bos=True)
    tokenizer = load(model)
    assert tokenizer.encode("a")[0] == 256
    assert len(tokenizer.encode("a")) == 2
    assert tokenizer.decode(tokenizer.encode("a")) == "a"
    assert tokenizer.decode(tokenizer.encode("a"), skip_special=False) == "<s>a"


def test_spans_are_characters_without_special_tokens(model: Model) -> None:
    write_tokenizer(Path(model.folder) / "tokenizer.json", bos=True)
    assert load_alone(Path(model.folder)).spans(" aä") == [(0, 1), (1, 2), (2, 3), (2, 3)]


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json") as caught:
        load_alone(tmp_path)
    assert "save_pretrained" in caught.value.hint


def test_ids_without_a_token_are_left_out(model: Model) -> None:
    tokenizer = load(model)
    assert tokenizer.decode([*tokenizer.encode("ab"), 299]) == "ab"


def test_truncation_and_padding_of_a_training_are_dropped(model: Model) -> None:
    file = Path(model.folder) / "tokenizer.json"
    inner = tokenizers.Tokenizer.from_file(str(file))
    inner.enable_truncation(3)
    inner.enable_padding(length=10)
    inner.save(str(file))
    assert len(load(model).encode("abcde")) == 5


def test_legacy_files(model: Model) -> None:
    pytest.importorskip("transformers")
    file = Path(model.folder) / "tokenizer.json"
    expected = load(model).encode(TEXT)
    vocabulary = json.loads(file.read_text())["model"]["vocab"]
    file.unlink()
    (file.parent / "vocab.json").write_text(json.dumps(vocabulary))
    (file.parent / "merges.txt").write_text("#version: 0.2\n")
    (file.parent / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    tokenizer = load(model)
    assert tokenizer.encode(TEXT) == expected
    assert tokenizer.decode(expected) == TEXT
    (file.parent / "vocab.json").write_text("{")
    with pytest.raises(InputError, match=r"makes no tokenizer of vocab\.json and merges\.txt"):
        load(model)


def test_ids_beyond_the_vocabulary_are_told_where_they_occur(model: Model) -> None:
    small = Model(**{**vars(model), "vocabulary_size": 256})
    tokenizer = load(small)  # <s>, id 256, has no embedding, and need not have one
    assert len(tokenizer.encode("abc")) == 3
    with pytest.raises(InputError, match=r"'<s>' has the id 256, the model's vocabulary ends at 255"):
        tokenizer.encode("abc<s>")


def test_tokens_that_other_files_list_are_added(model: Model) -> None:
    folder = Path(model.folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<fim>": 258}))
    entry = {"content": "    ", "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"257": entry}}))
    tokenizer = load(model)
    assert [i for i in tokenizer.encode("a    b<fim>c") if i > 256] == [257, 258]
    assert tokenizer.decode(tokenizer.encode("a    b<fim>c")) == "a    b<fim>c"
    (folder / "added_tokens.json").write_text(json.dumps({"<fim>": 290}))
    with pytest.raises(InputError, match=r"'<fim>' has the id 290; beside tokenizer\.json it gets 258"):
        load(model)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {"<fim>": "many"}),
        ("added_tokens.json", [1]),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "y"}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"257": {"content": 5}}}),
    ],
)
def test_broken_lists_of_tokens(model: Model, name: str, content: object) -> None:
    (Path(model.folder) / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=name):
        load(model)


def test_broken_and_missing_files(model: Model) -> None:
    file = Path(model.folder) / "tokenizer.json"
    file.write_text('{"version": "1.0"')
    with pytest.raises(InputError, match="not a tokenizer") as caught:
        load(model)
    assert "\n" not in caught.value.message
    file.unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load(model)


def test_a_random_model_borrows_the_bundled_tokenizer(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundled").mkdir()
    write_tokenizer(tmp_path / "bundled" / "tokenizer.json")
    monkeypatch.setattr(module, "BUNDLED_FOLDER", tmp_path / "bundled")
    (Path(model.folder) / "tokenizer.json").unlink()
    random = Model(**{**vars(model), "weights": Weights.RANDOM})
    tokenizer = load(random)
    assert tokenizer.borrowed
    assert len(tokenizer.encode("abc")) == 3
    narrow = Model(**{**vars(random), "vocabulary_size": 10})
    assert all(i < 10 for i in load(narrow).encode(TEXT))

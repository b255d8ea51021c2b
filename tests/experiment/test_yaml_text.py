"""YAML as text: what was written is what is read, and what cannot be meant is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import InputError, ServewattError
from servewatt.experiment import study_file
from servewatt.experiment.yaml_text import read_yaml

FILE = Path("study.yaml")
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    "text", ["off", "on", "yes", "no", "true", "2024-01-01", "1:30", "010", "0x1F", "1234567e2", "1_000", ".inf", "="]
)
def test_a_value_is_the_text_that_was_written(text: str) -> None:
    assert read_yaml(f"a: {text}\nb: [{text}]\n{text}: 1\n", FILE) == {"a": text, "b": [text], text: "1"}


def test_what_is_no_text() -> None:
    assert read_yaml("a:\nb: ~\nc: null\nd: 'null'\ne: {}\n", FILE) == {
        "a": None, "b": None, "c": None, "d": "null", "e": {},
    }  # fmt: skip
    assert read_yaml("# nothing\n", FILE) is None
    assert read_yaml('"\\ud83d\\ude00"', FILE) == "\U0001f600"


def test_aliases_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\na: {<<: *b, x: 3}\nb: {<<: [{x: 4}, *b]}\nc: *b\n"
    assert read_yaml(text, FILE) == {
        "base": {"x": "1", "y": "2"},
        "a": {"x": "3", "y": "2"},
        "b": {"x": "4", "y": "2"},
        "c": {"x": "1", "y": "2"},
    }


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice, first in line 1", "keep one"),
        ("p:\n  x: 1\n  'x': 2\n", "line 3: the key 'x' is given twice", "keep one"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", "line 2: the tag !!python/object", "without a tag"),
        ("a: !!binary aGk=\n", "line 1: the tag !!binary is not taken", "without a tag"),
        (BOMB, "more than 100000 values", "fewer aliases"),
        ("a: 1\nb: &b [*b]\n", "line 2: nested too deep", "alias"),
        ("[" * 3000, "nested too deep", "demo.yaml"),
        ("a: 1\n---\nb: 2\n", "line 2: not YAML: expected a single document", "demo.yaml"),
        ("a:\n\tb: 1\n", "line 2: not YAML", "by spaces, not by tabs"),
        ("a: [1\n", "line 2: not YAML", "demo.yaml"),
        ("a: *none\n", "line 1: not YAML: found undefined alias", "demo.yaml"),
        ("? [a, b]\n: 1\n", "line 1: a key must be text", "demo.yaml"),
        ("<<: 3\n", "line 1: << takes a mapping", "demo.yaml"),
        ('a: 1\nb: "\\ud83d"\n', "line 2 has half of a surrogate pair", "emoji"),
        ('a: "\\U00110000"\n', "is not YAML", "demo.yaml"),
        ("a: \x07\n", "is not YAML", "demo.yaml"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        read_yaml(text, FILE)
    assert message in caught.value.message
    assert hint in caught.value.hint


PIECES = [*"abx:-[]{},&*!|>'\"#?%\n\t 01.~", "<<", "procedure", "blocks", "\n  ", "&a", "*a", ": "]


@given(st.binary(max_size=80) | st.lists(st.sampled_from(PIECES)).map(lambda pieces: "".join(pieces).encode()))
def test_any_bytes_are_a_study_file_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        study_file.read(path)
    except ServewattError as error:
        assert error.message

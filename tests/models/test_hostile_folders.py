"""Model folders with anything in them: a model, or an error in words, and never a wait."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from servewatt.errors import InputError, ServewattError
from servewatt.models import tokenizer
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Weights
from tests.models.tiny import LLAMA, write_llama

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([10**400, -1, 0, 64, "64", "", "\ud800", "é" * 300, 1e300, float("nan"), float("inf"), 0.5])
    | st.floats()
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
FIELDS = (
    *LLAMA,
    *("rope_scaling", "rope_parameters", "rope_theta", "head_dim", "sliding_window", "use_sliding_window"),
    *("attention_bias", "layer_types", "partial_rotary_factor", "initializer_range", "auto_map", "quantization_config"),
    *("torch_dtype", "dtype", "generation_config", "tokenizer_class"),
)
PATIENT = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArtefactCache]:
    with ArtefactCache(tmp_path / "cache", 10**9) as artefacts:
        yield artefacts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "model")


def in_words(act: Callable[[], object]) -> None:
    """That `act` succeeds, or fails with two lines that any terminal shows."""
    try:
        act()
    except ServewattError as error:
        assert error.message
        for line in (error.message, error.hint):
            line.encode()
            assert "\n" not in line
            assert len(line) < 2000


@PATIENT
@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3))
@example(changes={"hidden_size": "64"})
@example(changes={"rms_norm_eps": float("nan")})
@example(changes={"num_hidden_layers": 10**9})
@example(changes={"rope_scaling": {"type": "linear", "factor": float("inf")}})
@example(changes={"rope_scaling": {"type": ["linear"], "factor": 10**400}})
@example(changes={"architectures": [["LlamaForCausalLM"]]})
@example(changes={"architectures": ["\ud800"]})
@example(changes={"eos_token_id": [[1], {}, "x", True, 10**400]})
def test_any_field_of_the_configuration(folder: Path, cache: ArtefactCache, changes: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    in_words(lambda: resolve(str(folder), cache=cache))


@settings(PATIENT, max_examples=15)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=2))
@example(changes={"hidden_size": 9})
@example(changes={"vocab_size": 2**31 - 1, "intermediate_size": 2**31 - 1})
def test_any_field_of_a_shape(folder: Path, cache: ArtefactCache, changes: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    (folder / "config.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": 1, **changes}))
    in_words(lambda: resolve(str(folder), weights=Weights.RANDOM, cache=cache, draw=False))


HEADER = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@PATIENT
@given(
    name=st.sampled_from(["a", "__metadata__", "lm_head.weight", "\ud800", "n" * 5000, ""]) | st.text(max_size=5),
    entry=VALUES | st.fixed_dictionaries({"dtype": VALUES, "shape": VALUES, "data_offsets": VALUES}),
    length=st.none() | st.integers(0, 2**64 - 1),
    cut=st.integers(0, 64),
)
@example(name="a", entry={**HEADER, "shape": [2**62, 0]}, length=None, cut=0)
@example(name="a", entry={**HEADER, "dtype": ["F32"]}, length=None, cut=0)
@example(name="a", entry={**HEADER, "data_offsets": [16, 0]}, length=None, cut=0)
def test_any_header_of_the_weights(
    folder: Path, cache: ArtefactCache, name: str, entry: Any, length: int | None, cut: int
) -> None:
    text = json.dumps({"model.embed_tokens.weight": HEADER, name: entry}).encode()
    start = (len(text) if length is None else length).to_bytes(8, "little")
    whole = start + text + bytes(32)
    (folder / "model.safetensors").write_bytes(whole[: len(whole) - cut])
    in_words(lambda: resolve(str(folder), cache=cache))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "names one thing twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"__metadata__": {"format": 1}}', "not a table of texts"),
        ('{"a": {"dtype": "F32", "shape": [9223372036854775808, 0], "data_offsets": [0, 0]}}', "whole numbers"),
    ],
)
def test_headers_that_other_readers_refuse(folder: Path, cache: ArtefactCache, text: str, words: str) -> None:
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode())
    with pytest.raises(InputError, match=words):
        resolve(str(folder), cache=cache)


TOKENIZER_PATHS = [
    *((), ("model",), ("model", "vocab"), ("model", "merges"), ("model", "type"), ("added_tokens",)),
    *(("added_tokens", 0), ("added_tokens", 0, "id"), ("added_tokens", 0, "content"), ("pre_tokenizer",)),
    *(("decoder",), ("post_processor",), ("truncation",), ("padding",), ("version",), ("normalizer",)),
]


@PATIENT
@given(path=st.sampled_from(TOKENIZER_PATHS), value=VALUES)
def test_any_tokenizer(folder: Path, cache: ArtefactCache, path: tuple[Any, ...], value: Any) -> None:
    file = folder / "tokenizer.json"
    original = file.read_text()
    content = json.loads(original)
    try:
        if path:
            place = content
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        file.write_text(json.dumps(content if path else value))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<s>"}))
        in_words(lambda: tokenizer.load(resolve(str(folder), cache=cache)).encode("def f(x):\n    <s>"))
    finally:
        file.write_text(original)


@PATIENT
@given(
    file=st.sampled_from(
        ["tokenizer_config.json", "added_tokens.json", "generation_config.json", "special_tokens_map.json"]
    ),
    content=VALUES
    | st.dictionaries(st.sampled_from(["added_tokens_decoder", "eos_token", "eos_token_id"]), VALUES, min_size=1),
)
def test_any_file_beside_them(folder: Path, cache: ArtefactCache, file: str, content: Any) -> None:
    (folder / file).write_text(json.dumps(content))
    in_words(lambda: tokenizer.load(resolve(str(folder), cache=cache)).encode("def f"))
    (folder / file).unlink()


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path) -> None:
    # A socket's address is short: made elsewhere, and moved.
    made = Path(os.path.relpath(path.with_name("s")))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(made))
    made.rename(path)


def put_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def put_folder(path: Path) -> None:
    path.mkdir()


def put_loop(path: Path) -> None:
    path.symlink_to(path.name)


def put_dangling(path: Path) -> None:
    path.symlink_to("../../blobs/0123")


def put_nesting(path: Path) -> None:
    path.write_text("[" * 100_000)


def put_mark(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf{}")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("put", "words"),
    [
        (put_pipe, "is a named pipe, not a file"),
        (put_socket, "is a socket, not a file"),
        (put_device, "is a device, not a file"),
        (put_folder, "is a folder, not a file"),
        (put_loop, "leads back to itself"),
        (put_dangling, r"a link to \.\./\.\./blobs/0123, which is not there"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"])
def test_what_is_no_file(
    put: Callable[[Path], None],
    words: str,
    name: str,
    folder: Path,
    cache: ArtefactCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    (folder / name).unlink(missing_ok=True)
    put(folder / name)
    with pytest.raises(InputError, match=words) as caught:
        tokenizer.load(resolve(str(folder), cache=cache))
    assert name in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("put", "words"), [(put_nesting, "nested too deeply"), (put_mark, "byte order mark")])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_json_that_is_none(
    put: Callable[[Path], None], words: str, name: str, folder: Path, cache: ArtefactCache
) -> None:
    put(folder / name)
    with pytest.raises(InputError, match=words):
        resolve(str(folder), cache=cache)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_files_that_may_not_be_read(name: str, folder: Path, cache: ArtefactCache) -> None:
    (folder / name).chmod(0)
    with pytest.raises(InputError, match=f"cannot read .*{name}"):
        tokenizer.load(resolve(str(folder), cache=cache))
    (folder / name).chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_names_of_models(folder: Path, cache: ArtefactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name, words in (
        ("n" * 5000, "too long"),
        ("./" + "n" * 300, "too long"),
        ("a\0b", "no name of a folder"),
        ("~nobody-of-this-name/model", "home directory"),
        (str(folder / "config.json"), "is a file"),
        (str(folder / "config.json" / "model"), "no folder"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            resolve(name, cache=cache)
        assert len(caught.value.message) < 300
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no folder"):
        resolve(str(tmp_path / "pipe"), cache=cache)


def test_a_folder_whose_name_is_not_utf_8(folder: Path, cache: ArtefactCache, tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"mod\xe9l")
    try:
        shutil.copytree(folder, strange)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    link = tmp_path / "link"
    link.symlink_to(strange)
    for name in (strange, link):
        with pytest.raises(InputError, match="the path is not UTF-8") as caught:
            resolve(str(name), cache=cache)
        caught.value.message.encode()

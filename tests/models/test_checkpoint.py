from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from servewatt.checkpoints.safetensors import checkpoint_files, read_header, shard_names
from servewatt.errors import InputError, RefusedError


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: list[Any] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [2] if shape is None else shape, "data_offsets": [begin, end]}


def test_a_file_written_by_the_library(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"b": np.zeros((2, 3), np.float16), "a": np.zeros((5,), np.int64)}, file, {"format": "np"})
    tensors = {t.name: t for t in read_header(file)}
    assert tensors["b"].shape == (2, 3)
    assert (tensors["b"].dtype, tensors["b"].size_bytes) == ("F16", 12)
    assert (tensors["a"].dtype, tensors["a"].size_bytes) == ("I64", 40)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"abc", "header's length"),
        (raw({"a": entry(0, 8)}, b"\0" * 8, length=2**40), "header's length"),
        (raw({"a": entry(0, 8)}, b"")[:20], "truncated"),
        (raw({"a": entry(0, 8)}, b"\0" * 7), "truncated safetensors file: 76 of 77 bytes"),
        (raw({"a": entry(0, 8)}, b"\0" * 9), "1 bytes follow"),
        (raw(b"{nonsense"), "not JSON"),
        (raw([1]), "not a table"),
        (raw({"a": entry(0, 4)}, b"\0" * 4), "takes 4 bytes, its shape 8"),
        (raw({"a": entry(4, 12)}, b"\0" * 12), "does not follow"),
        (raw({"a": entry(0, 8), "b": entry(4, 12)}, b"\0" * 12), "does not follow"),
        (raw({"a": {"dtype": "F32"}}), "incomplete"),
        (raw({"a": entry(0, 8, ["2"])}, b"\0" * 8), "is not made of whole numbers"),
        (raw({"a": entry(0, 1, [1], "F4")}, b"\0"), "type F4"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_header(file)
    assert caught.value.hint


def test_the_data_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    size = 2**38
    with file.open("wb") as stream:  # sparse: takes no room, and reading it would take minutes
        stream.write(raw({"a": entry(0, size, [size], "U8")}))
        stream.truncate(stream.tell() + size)
    assert read_header(file)[0].elements == size


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(RefusedError, match="pickle") as caught:
        checkpoint_files(tmp_path)
    assert "safetensors" in caught.value.hint


def test_no_weights_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights") as caught:
        checkpoint_files(tmp_path)
    assert "--weights random" in caught.value.hint
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="only adapter_model"):
        checkpoint_files(tmp_path)


def test_shards(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "1.safetensors"}}))
    assert shard_names(index) == ["1.safetensors", "2.safetensors"]
    (tmp_path / "1.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"1 of 2 weight files are missing, first 2\.safetensors"):
        checkpoint_files(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": {"a": "../x"}}', '{"weight_map": {"a": 1}}'])
def test_a_broken_index(tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(InputError):
        shard_names(index)

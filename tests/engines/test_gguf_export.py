from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from servewatt.engines.llama_cpp.gguf_export import FILE_NAME, STORAGE_TYPES, encode, export
from tests.engines.libraries import require
from tests.engines.tiny import model_of

require("llama-cpp")


@pytest.mark.parametrize(("name", "most"), [("q8_0", 1 / 254), ("q4_0", 1 / 8), ("q4_K", 1 / 8)])
def test_encoded_weights_decode_to_nearly_the_same(name: str, most: float) -> None:
    """Decoded by gguf's own code; 8 bits have steps of 1/127 for values up to 1, 4 bits of 1/8."""
    import gguf

    array = np.random.default_rng(1).uniform(-1, 1, (64, 512)).astype(np.float32)
    kind = gguf.GGMLQuantizationType(STORAGE_TYPES[name].number)
    decoded = gguf.quants.dequantize(encode(array, STORAGE_TYPES[name]), kind)
    assert 0 < np.abs(decoded - array).max() <= 1.1 * most


def test_q8_0_is_bit_for_bit_that_of_gguf() -> None:
    import gguf

    array = np.random.default_rng(2).normal(size=(16, 320)).astype(np.float32)
    expected = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(encode(array, STORAGE_TYPES["q8_0"]), expected)


def test_values_and_names_in_the_file(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Transposed and plain tensors of a tiny GPT-2, read back by gguf."""
    import gguf

    folder = folder_of("gpt2")
    export(model_of(folder), tmp_path, STORAGE_TYPES["f32"])
    stored = load_file(folder / "model.safetensors")
    reader = gguf.GGUFReader(tmp_path / FILE_NAME)
    held = {t.name: t.data.reshape(tuple(reversed(t.shape.tolist()))) for t in reader.tensors}
    for ours, theirs in (
        ("blk.1.ffn_up.weight", "h.1.mlp.c_fc.weight"),
        ("blk.0.attn_qkv.weight", "h.0.attn.c_attn.weight"),
    ):
        np.testing.assert_array_equal(held[ours], stored[f"transformer.{theirs}"].T)
    np.testing.assert_array_equal(held["token_embd.weight"], stored["transformer.wte.weight"])
    assert "output.weight" not in held, "the output projection is the embedding"
    assert reader.fields["gpt2.vocab_size"].parts[-1][0] == 311

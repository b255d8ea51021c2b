from __future__ import annotations

from pathlib import Path

from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.models.tokenizer import load
from servewatt.records import ModelSource


def test_the_bundled_model(tmp_path: Path) -> None:
    with ArtefactCache(tmp_path, 10**9) as cache:
        model = resolve("bundled", cache=cache)
    assert (model.name, model.source) == ("bundled", ModelSource.BUNDLED)
    assert model.architecture == "LlamaForCausalLM"
    assert model.weight_bytes == 2 * model.parameters <= 25 * 10**6
    assert (model.vocabulary_size, model.context_length) == (4096, 512)
    assert model.eos_ids
    tokenizer = load(model)
    text = "def add(a, b):\n    return a + b\n"
    ids = tokenizer.encode(text)
    assert len(ids) < len(text) / 2
    assert tokenizer.decode(ids) == text

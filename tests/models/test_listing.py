from __future__ import annotations

import json
from pathlib import Path

import pytest

from servewatt.models.cache import ArtefactCache
from servewatt.models.catalogue import CATALOGUE
from servewatt.models.listing import list_models
from servewatt.models.random_weights import stored_config
from servewatt.models.resolve import RANDOM_KIND
from servewatt.records import Precision
from tests.models.tiny import write_llama


def test_what_is_here_is_found_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--microsoft--phi-2"
    pinned = repository / "snapshots" / str(CATALOGUE["phi2"].revision)
    write_llama(pinned)
    of_main = tmp_path / "hub" / "models--codeparrot--codeparrot-small"
    write_llama(of_main / "snapshots" / "abc")
    (of_main / "refs").mkdir()
    (of_main / "refs" / "main").write_text("abc")
    unfinished = tmp_path / "hub" / "models--EleutherAI--pythia-410m" / "snapshots"
    write_llama(unfinished / str(CATALOGUE["pythia-410m"].revision))
    (unfinished / str(CATALOGUE["pythia-410m"].revision) / "model.safetensors").unlink()

    def build(folder: Path) -> None:
        config = stored_config(CATALOGUE["tinyllama"].config, Precision.BF16)
        (folder / "config.json").write_text(json.dumps(config))

    def build_broken(folder: Path) -> None:
        (folder / "config.json").write_text("[1]")

    with ArtefactCache(tmp_path / "cache", 10**9) as cache:
        cache.get_or_build(RANDOM_KIND, ["y"], build_broken)
        drawn = cache.get_or_build(RANDOM_KIND, ["x"], build)
        listed = {model.name: model for model in list_models(cache)}
    assert set(CATALOGUE) <= set(listed)
    assert listed["phi2"].trained_at == pinned
    assert {m.name for m in listed.values() if m.trained_at} - {"bundled"} == {"phi2", "codeparrot-small"}
    assert {m.name: m.random_at for m in listed.values() if m.random_at} == {"tinyllama": drawn}
    assert listed["tinyllama"].fp32_bytes == 4 * 1_100_048_384
    assert listed["codegemma-2b"].gated

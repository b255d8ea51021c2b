from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servewatt.errors import InputError, RefusedError, ServewattError, UnavailableError
from servewatt.models import hub
from servewatt.models.cache import ArtefactCache
from servewatt.models.catalogue import CATALOGUE
from servewatt.models.catalogue_entry import CatalogueEntry
from servewatt.models.resolve import resolve
from servewatt.records import ModelSource, Weights
from tests.models.fake_hub import FakeHub, Repository, serve, use
from tests.models.tiny import PARAMETERS, write_llama

COMMIT = Repository(Path()).commit


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serve() as server:
        use(server, tmp_path / "hf", monkeypatch)
        write_llama(tmp_path / "source")
        server.repositories["owner/tiny"] = Repository(tmp_path / "source")
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArtefactCache]:
    with ArtefactCache(tmp_path / "cache", 10**9) as artefacts:
        yield artefacts


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_a_hub_model_is_downloaded_once_and_pinned(fake: FakeHub, cache: ArtefactCache, tmp_path: Path) -> None:
    model = resolve("owner/tiny", cache=cache)
    assert (model.name, model.source, model.revision) == ("owner/tiny", ModelSource.HUB, COMMIT)
    assert model.parameters == PARAMETERS
    assert Path(model.folder).is_relative_to(tmp_path / "hf" / "hub")
    downloads = sum(line.startswith("GET") and "/resolve/" in line for line in fake.requests)
    assert resolve("owner/tiny", cache=cache) == model
    assert sum(line.startswith("GET") and "/resolve/" in line for line in fake.requests) == downloads


def test_only_the_files_that_are_needed(fake: FakeHub, cache: ArtefactCache, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "README.md", "modeling_tiny.py", "model.fp16.safetensors"):
        (tmp_path / "source" / name).write_bytes(b"x")
    folder = Path(resolve("owner/tiny", cache=cache).folder)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_pinned_commit_needs_no_network_the_second_time(fake: FakeHub, cache: ArtefactCache) -> None:
    model = resolve("owner/tiny", revision=COMMIT, cache=cache)
    seen = len(fake.requests)
    assert resolve("owner/tiny", revision=COMMIT, cache=cache) == model
    assert len(fake.requests) == seen


def test_an_unreachable_hub_falls_back_on_its_cache(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve("owner/tiny", cache=cache)
    unreachable(monkeypatch)
    assert resolve("owner/tiny", cache=cache) == model


def test_an_unreachable_hub_is_told_with_both_ways_out(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unreachable(monkeypatch)
    start = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        resolve("owner/tiny", cache=cache)
    assert str(tmp_path / "hf" / "hub") in caught.value.message
    assert "--weights random" in caught.value.hint
    assert time.monotonic() - start < 10


def test_the_offline_switch_is_honoured(fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE"):
        resolve("owner/tiny", cache=cache)
    assert not fake.requests


@pytest.mark.parametrize("token", [None, "bad"])
def test_a_gated_model_names_its_page(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    fake.repositories["owner/tiny"].gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(RefusedError) as caught:
        resolve("owner/tiny", cache=cache)
    assert f"{fake.url}/owner/tiny" in caught.value.hint
    assert "hf auth login" in caught.value.hint
    assert "HF_TOKEN" in caught.value.hint


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda e: e.name)
def test_each_of_the_twelve_is_found_by_name_and_pinned(
    fake: FakeHub, cache: ArtefactCache, entry: CatalogueEntry
) -> None:
    commit = entry.revision or "f" * 40
    fake.repositories[entry.hub_id] = Repository(fake.repositories["owner/tiny"].folder, commit, gated=entry.gated)
    if entry.gated:
        with pytest.raises(RefusedError) as caught:
            resolve(entry.name, cache=cache)
        assert f"accept them at {fake.url}/{entry.hub_id} with the account" in caught.value.hint
    else:
        model = resolve(entry.name, cache=cache)
        assert (model.name, model.revision, model.weights) == (entry.name, commit, Weights.TRAINED)


def test_a_revision_asked_for_goes_before_the_pinned_one(fake: FakeHub, cache: ArtefactCache) -> None:
    fake.repositories["microsoft/phi-2"] = fake.repositories["owner/tiny"]
    assert resolve("phi2", revision="main", cache=cache).revision == COMMIT
    with pytest.raises(InputError, match=f"no revision '{CATALOGUE['phi2'].revision}'"):
        resolve("phi2", cache=cache)


@pytest.mark.parametrize(("status", "hint"), [(429, "hf auth login"), (503, "later")])
def test_a_hub_in_trouble_is_told(fake: FakeHub, cache: ArtefactCache, status: int, hint: str) -> None:
    fake.status = status
    with pytest.raises(UnavailableError, match=f"answered {status} for owner/tiny") as caught:
        resolve("owner/tiny", cache=cache)
    assert hint in caught.value.hint


def test_a_token_opens_a_gated_model(fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.repositories["owner/tiny"].gated = True
    monkeypatch.setenv("HF_TOKEN", "good")
    assert resolve("owner/tiny", cache=cache).parameters == PARAMETERS


def test_an_unknown_repository_names_the_nearest(fake: FakeHub, cache: ArtefactCache) -> None:
    with pytest.raises(InputError) as caught:
        resolve("EleutherAI/pythia-401m", cache=cache)
    assert "no model 'EleutherAI/pythia-401m'" in caught.value.message
    assert "pythia-410m" in caught.value.hint


def test_an_unknown_revision(fake: FakeHub, cache: ArtefactCache) -> None:
    with pytest.raises(InputError, match="no revision 'v9'"):
        resolve("owner/tiny", revision="v9", cache=cache)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Tiny"}}, RefusedError, "code of its own"),
        ({"architectures": ["LamaForCausalLM"]}, InputError, "unknown architecture"),
    ],
)
def test_a_refused_configuration_stops_before_the_weights(
    fake: FakeHub,
    cache: ArtefactCache,
    tmp_path: Path,
    change: dict[str, Any],
    error: type[ServewattError],
    words: str,
) -> None:
    write_llama(tmp_path / "source", **change)
    with pytest.raises(error, match=words):
        resolve("owner/tiny", cache=cache)
    assert not any("safetensors" in line for line in fake.requests)


def test_pickled_weights_are_refused_before_download(fake: FakeHub, cache: ArtefactCache, tmp_path: Path) -> None:
    (tmp_path / "source" / "model.safetensors").rename(tmp_path / "source" / "pytorch_model.bin")
    with pytest.raises(RefusedError, match="pickle"):
        resolve("owner/tiny", cache=cache)
    assert not any("pytorch_model" in line for line in fake.requests)


def test_a_broken_download_says_what_to_delete(fake: FakeHub, cache: ArtefactCache, tmp_path: Path) -> None:
    weights = tmp_path / "source" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match="truncated") as caught:
        resolve("owner/tiny", cache=cache)
    assert "models--owner--tiny" in caught.value.hint


def test_shards_are_downloaded_by_their_index(fake: FakeHub, cache: ArtefactCache, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "model.safetensors").rename(source / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolve("owner/tiny", cache=cache).parameters == PARAMETERS


def test_random_weights_of_a_hub_model_need_no_weights(fake: FakeHub, cache: ArtefactCache) -> None:
    model = resolve("owner/tiny", weights=Weights.RANDOM, cache=cache)
    assert (model.name, model.weights, model.parameters) == ("owner/tiny", Weights.RANDOM, PARAMETERS)
    assert (Path(model.folder) / "tokenizer.json").is_file()
    assert not any("safetensors" in line for line in fake.requests)


def test_the_cache_folder_is_the_one_huggingface_hub_uses(tmp_path: Path) -> None:
    code = "from huggingface_hub.constants import HF_HUB_CACHE; from servewatt.models.hub import hub_cache\n"
    code += "from pathlib import Path; assert hub_cache() == Path(HF_HUB_CACHE), (hub_cache(), HF_HUB_CACHE)"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGINGFACE_", "XDG_"))}
    for extra in ({}, {"HF_HOME": str(tmp_path)}, {"HF_HUB_CACHE": str(tmp_path)}, {"XDG_CACHE_HOME": str(tmp_path)}):
        subprocess.run([sys.executable, "-c", code], check=True, env={**clean, **extra})


def test_hub_ids() -> None:
    assert hub.is_hub_id("EleutherAI/pythia-1.4b")
    assert hub.is_hub_id("gpt2")
    assert not hub.is_hub_id("a/b/c")
    assert not hub.is_hub_id("../a")
    assert not hub.is_hub_id("a b")


def test_models_import_nothing_heavy() -> None:
    code = (
        "import sys, servewatt.models.resolve, servewatt.models.listing, servewatt.models.hub_files\n"
        "import servewatt.models.hub_search\n"
        "heavy = {'torch', 'transformers', 'numpy', 'huggingface_hub', 'tokenizers', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

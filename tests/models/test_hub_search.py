from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servewatt.errors import UnavailableError
from servewatt.models.hub_search import HubModel, look_up, search
from tests.models.fake_hub import FakeHub, serve, use


def page(name: str, downloads: int, **more: Any) -> dict[str, Any]:
    return {"id": name, "pipeline_tag": "text-generation", "downloads": downloads, "tags": [], **more}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serve() as server:
        use(server, tmp_path / "hf", monkeypatch)
        server.models = [page(f"owner/m{n}", n) for n in range(5)]
        server.models.append(page("owner/other", 99) | {"pipeline_tag": "translation"})
        yield server


def test_the_list_is_read_to_its_end_most_downloaded_first(fake: FakeHub) -> None:
    assert [model.hub_id for model in search("text-generation", None)] == [f"owner/m{n}" for n in (4, 3, 2, 1, 0)]
    assert len(fake.requests) == 3, "five models in pages of two"


def test_a_limit_asks_for_no_more_pages_than_it_needs(fake: FakeHub) -> None:
    assert [model.hub_id for model in search("text-generation", 3)] == ["owner/m4", "owner/m3", "owner/m2"]
    assert len(fake.requests) == 2


def test_what_is_read_of_a_page(fake: FakeHub) -> None:
    results = [{"task": {"type": "text-generation"}, "dataset": {"type": "openai_humaneval", "name": "HumanEval"}}]
    fake.models = [
        page(
            "owner/full",
            7,
            likes=3,
            gated="manual",
            tags=["code"],
            createdAt="2023-08-07T16:59:19.000Z",
            config={"architectures": ["GPTNeoXForCausalLM"]},
            safetensors={"parameters": {"F16": 90, "BOOL": 10}, "total": 100},
            cardData={
                "language": "en",
                "programming_language": ["C", "Python"],
                "datasets": ["owner/data"],
                "base_model": "owner/base",
            },
            **{"model-index": [{"name": "full", "results": results}]},
        )
    ]
    assert list(search("text-generation", 1)) == [
        HubModel(
            hub_id="owner/full",
            task="text-generation",
            architecture="GPTNeoXForCausalLM",
            parameters=100,
            gated=True,
            tags=("code",),
            languages=("en", "C", "Python"),
            datasets=("owner/data",),
            evaluated_on=("openai_humaneval", "HumanEval"),
            card='{"base_model": "owner/base", "datasets": ["owner/data"], "language": "en", '
            '"programming_language": ["C", "Python"]}',
            base_models=("owner/base",),
            downloads=7,
            likes=3,
            created_at="2023-08-07T16:59:19+00:00",
        )
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"model-index": "none"},
        {"model-index": [{"name": "x"}]},
        {"model-index": [{"name": "x", "results": [{"dataset": None}, "words"]}]},
        {"cardData": {"language": {"en": 1}, "datasets": None}},
        {"config": {}},
        {"config": {"architectures": None}},
    ],
)
def test_a_page_in_disorder_is_read_as_far_as_it_goes(fake: FakeHub, broken: dict[str, Any]) -> None:
    fake.models = [page("owner/broken", 1, **broken)]
    (model,) = search("text-generation", None)
    assert (model.hub_id, model.evaluated_on, model.parameters, model.architecture) == ("owner/broken", (), None, "")


def test_models_are_looked_up_by_id(fake: FakeHub) -> None:
    found = look_up(["owner/m1", "owner/absent"])
    assert found["owner/absent"] is None
    assert found["owner/m1"] is not None
    assert found["owner/m1"].downloads == 1


def test_an_unreachable_hub(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"cannot reach http://127\.0\.0\.1:9") as caught:
        look_up(["owner/m1"])
    assert "HF_ENDPOINT" in caught.value.hint
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE is set"):
        next(search("text-generation", None))

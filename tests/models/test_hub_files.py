from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.models.hub_files import fetch_table, find_tokenizer
from servewatt.models.tokenizer import BUNDLED_FOLDER, load_alone
from tests.models.fake_hub import FakeHub, Repository, serve, use
from tests.models.tiny import write_tokenizer

COMMIT = Repository(Path()).commit


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serve() as server:
        use(server, tmp_path / "hf", monkeypatch)
        data, model = tmp_path / "data", tmp_path / "model"
        (data / "set").mkdir(parents=True)
        (data / "set" / "test.parquet").write_bytes(b"a table")
        (data / "README.md").write_text("about")
        model.mkdir()
        (model / "config.json").write_text('{"model_type": "t5"}')
        write_tokenizer(model / "tokenizer.json")
        server.repositories["datasets/owner/set"] = Repository(data)
        server.repositories["owner/t5"] = Repository(model)
        yield server


def test_a_table_is_downloaded_alone_and_once(fake: FakeHub) -> None:
    table, commit = fetch_table("owner/set", "main")
    assert (table.read_bytes(), commit) == (b"a table", COMMIT)
    assert not any("README" in line for line in fake.requests)
    seen = len(fake.requests)
    assert fetch_table("owner/set", COMMIT) == (table, COMMIT)
    assert len(fake.requests) == seen, "a commit does not move"


def test_an_unreachable_hub_falls_back_on_its_cache(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fetch_table("owner/set", "main")
    folder = find_tokenizer("owner/t5")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch_table("owner/set", "main") == table
    assert find_tokenizer("owner/t5") == folder
    with pytest.raises(UnavailableError, match="owner/other is not in its cache"):
        fetch_table("owner/other", "main")


def test_what_the_hub_does_not_give(fake: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dataset 'owner/other'"):
        fetch_table("owner/other", "main")
    with pytest.raises(InputError, match="no revision 'v9'") as caught:
        fetch_table("owner/set", "v9")
    assert f"{fake.url}/datasets/owner/set/commits" in caught.value.hint
    (tmp_path / "data" / "more.parquet").write_bytes(b"another")
    with pytest.raises(InputError, match="2 Parquet files"):
        fetch_table("owner/set", "main")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"owner/t5 has no tokenizer\.json"):
        find_tokenizer("owner/t5")


def test_a_gated_data_set_names_its_page(fake: FakeHub) -> None:
    fake.repositories["datasets/owner/set"].gated = True
    with pytest.raises(RefusedError) as caught:
        fetch_table("owner/set", "main")
    assert f"{fake.url}/datasets/owner/set" in caught.value.hint
    assert "--weights" not in caught.value.hint


def test_a_tokenizer_by_every_kind_of_name(fake: FakeHub, tmp_path: Path) -> None:
    assert find_tokenizer("bundled").folder == BUNDLED_FOLDER
    assert find_tokenizer(str(tmp_path / "model")).commit == ""
    found = find_tokenizer("owner/t5")
    assert found.commit == COMMIT
    assert load_alone(found.folder).encode("ab") == load_alone(tmp_path / "model").encode("ab")
    fake.repositories["bigscience/bloomz-1b1"] = fake.repositories["owner/t5"]
    assert find_tokenizer("bloomz-1b1").commit == COMMIT
    with pytest.raises(InputError, match="no tokenizer 'bloomz-1b'") as caught:
        find_tokenizer("bloomz-1b")
    assert "bloomz-1b1" in caught.value.hint

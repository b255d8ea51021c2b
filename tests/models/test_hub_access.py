"""What stands between this machine and the hub is named: proxies, certificates, addresses, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from huggingface_hub import constants

from servewatt.errors import InputError, ServewattError, UnavailableError
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Model
from tests.models.fake_hub import FakeHub, Repository, serve, use
from tests.models.tiny import PARAMETERS, write_llama

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in (*PROXIES, "HUGGING_FACE_HUB_TOKEN", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with serve() as server:
        use(server, tmp_path / "hf", monkeypatch)
        write_llama(tmp_path / "source")
        server.repositories["owner/tiny"] = Repository(tmp_path / "source")
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArtefactCache]:
    with ArtefactCache(tmp_path / "cache", 10**9) as artefacts:
        yield artefacts


def failure(cache: ArtefactCache) -> ServewattError:
    with pytest.raises((InputError, UnavailableError)) as caught:
        resolve("owner/tiny", cache=cache)
    caught.value.message.encode()
    return caught.value


@pytest.mark.parametrize(
    ("address", "words", "hint"),
    [
        ("socks://127.0.0.1:1080/", "its scheme is unknown", "unset ALL_PROXY"),
        ("ftp://127.0.0.1:1080", "its scheme is unknown", "unset ALL_PROXY"),
        ("http://127.0.0.1:port/", "no host with a port", "http://host:port"),
        ("http://127.0.0.1:99999", "no host with a port", "http://host:port"),
        ("http://", "no host with a port", "http://host:port"),
        pytest.param(
            "socks5h://127.0.0.1:1080",
            "the package socksio is missing",
            "pip install socksio",
            marks=pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed"),
        ),
    ],
)
def test_a_proxy_that_cannot_be_used(
    address: str, words: str, hint: str, fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    error = failure(cache)
    assert f"the proxy ALL_PROXY={address} cannot be used: {words}" in error.message
    assert hint in error.hint
    assert not fake.requests


def test_a_model_in_the_cache_needs_no_proxy(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve("owner/tiny", cache=cache)
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")
    assert resolve("owner/tiny", cache=cache) == model


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HF_ENDPOINT", "huggingface.co", "no web address"),
        ("HF_ENDPOINT", "https:/huggingface.co", "no web address"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE is /nowhere/ca.pem, which is not there"),
    ],
)
def test_settings_of_the_way_to_the_hub(
    variable: str, value: str, words: str, fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert words in failure(cache).message


def test_a_token_that_the_hub_does_not_know(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake.status = 401
    assert "access denied (401)" in _refused(cache)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    error = failure(cache)
    assert error.message == "HF_TOKEN is not valid: the hub does not accept it (401)"
    assert error.hint.startswith("unset HF_TOKEN, or log in again")
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text("hf_expired\n")
    error = failure(cache)
    assert error.message.startswith(f"the token in {tmp_path / 'token'} is not valid")
    assert str(tmp_path / "token") in error.hint


def _refused(cache: ArtefactCache) -> str:
    with pytest.raises(ServewattError) as caught:
        resolve("owner/tiny", cache=cache)
    return caught.value.message


@pytest.mark.parametrize("token", ["hf_abc…xyz", "hf_abc xyz", "hf_abc\tz", "hf_\udce9"])
def test_a_token_that_no_header_holds(
    token: str, fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert "HF_TOKEN is not valid: it has the character '" in failure(cache).message
    assert not fake.requests


def test_a_token_file_that_is_no_text(fake: FakeHub, cache: ArtefactCache, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfeh\x00f\x00")
    assert f"the token in {tmp_path / 'token'} cannot be read" in failure(cache).message


def test_a_line_end_behind_a_token_is_no_fault(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_fine\n")
    assert resolve("owner/tiny", cache=cache).parameters == PARAMETERS


def repository_of(model: Model) -> Path:
    return Path(model.folder).parents[1]


def test_a_folder_of_the_hub_s_cache_means_its_snapshot(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve("owner/tiny", cache=cache)
    repository = repository_of(model)
    assert (Path(model.folder) / "model.safetensors").is_symlink()
    for folder in (repository, Path(model.folder)):
        local = resolve(str(folder), cache=cache)
        assert (local.name, local.folder, local.parameters) == ("owner/tiny", model.folder, PARAMETERS)
    (repository / "refs" / "main").unlink()
    assert resolve(str(repository), cache=cache).folder == model.folder
    (repository / "snapshots" / ("f" * 40)).mkdir()
    with pytest.raises(InputError, match="with 2 snapshots") as caught:
        resolve(str(repository), cache=cache)
    assert str(repository / "snapshots") in caught.value.hint


def test_a_cache_with_links_that_lead_nowhere_says_so(
    fake: FakeHub, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve("owner/tiny", cache=cache)
    (Path(model.folder) / "model.safetensors").resolve().unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = failure(cache).message
    assert "its cache has owner/tiny in part only" in message
    assert "model.safetensors: a link to " in message
    with pytest.raises(InputError, match=r"model\.safetensors: a link to .*, which is not there"):
        resolve(str(repository_of(model)), cache=cache)


def test_a_folder_that_hides_a_hub_model_says_so(
    fake: FakeHub, cache: ArtefactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "tiny" / "logs").mkdir(parents=True)
    with pytest.raises(InputError, match="hides the hub's model owner/tiny"):
        resolve("owner/tiny", cache=cache)
    with pytest.raises(InputError, match=r"no config\.json"):
        resolve("./owner/tiny", cache=cache)

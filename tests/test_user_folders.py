"""Homes that are not there: what is said, and what processes get in their place."""

from __future__ import annotations

import getpass
import os
import pwd
from pathlib import Path

import pytest

from servewatt import engines
from servewatt.engines.environments.state import find
from servewatt.errors import StoreError, UnavailableError
from servewatt.models.cache import cache_root
from servewatt.models.hub import hub_cache
from servewatt.store.reader import default_path
from servewatt.user_folders import identity

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user: an id without an entry, and no variable that tells of it."""

    def missing(_: int) -> pwd.struct_passwd:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", missing)
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", *NAMES):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("place", [cache_root, hub_cache])
def test_without_a_home_the_variables_are_named(place: object, nobody: None) -> None:
    assert callable(place)
    with pytest.raises(UnavailableError, match="HOME is not set") as caught:
        place()
    assert caught.value.hint.startswith("set HOME, or both XDG_DATA_HOME and XDG_CACHE_HOME")


def test_without_a_home_the_store_names_the_variables_too(nobody: None) -> None:
    with pytest.raises(StoreError, match="home folder") as caught:
        default_path()
    assert "HOME or XDG_DATA_HOME" in caught.value.hint


def test_the_xdg_variables_do_instead(nobody: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_path() == tmp_path / "data" / "servewatt" / "results.db"
    assert cache_root() == tmp_path / "cache" / "servewatt"
    assert hub_cache() == tmp_path / "cache" / "huggingface" / "hub"


def test_without_a_home_there_is_no_environment_of_an_engine(nobody: None) -> None:
    assert find("llama-cpp", ("llama-cpp-python==0.3.36",), {}) is None


def test_processes_get_what_libraries_ask_for(nobody: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, variables = engines.interpreter("torch", {"XDG_CACHE_HOME": str(tmp_path)})
    assert (variables["HOME"], variables["USER"]) == (str(tmp_path), str(os.getuid()))
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    monkeypatch.setenv("USER", variables["USER"])
    assert getpass.getuser() == str(os.getuid())


def test_what_is_known_stays_as_it_is() -> None:
    assert identity({"HOME": "/home/a", "USER": "a"}) == {}

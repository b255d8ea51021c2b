"""Builds: what pip installs in front, the running environment behind, and every way in which none comes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt import engines
from servewatt.engines.environments import builds
from servewatt.errors import InputError, ServewattError, UnavailableError
from tests.wheels import spec, wheel


def says(build: builds.Build, code: str) -> str:
    line = [str(build.python), "-P", "-c", code]
    done = subprocess.run(
        line, env=build.variables(os.environ), capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_a_build_has_its_own_package_and_behind_it_what_is_here(tmp_path: Path) -> None:
    """It stands in place of one that is here, and the same content is built into the same place."""
    given_wheel = wheel(tmp_path, "click", "99.0", {"click/__init__.py": b"own = True\n"})
    build = builds.make("base", spec(given_wheel))
    assert build.packages == {"click": "99.0"}
    assert says(build, "import click, pydantic, servewatt; print(click.own)") == "True"
    assert Path(says(build, "import servewatt; print(servewatt.__file__)")).samefile(
        builds.__file__.split("engines")[0] + "__init__.py"
    )
    assert builds.find(build.name) == build
    again = builds.make("base", spec(given_wheel))
    assert (again.name, again.folder) == (build.name, build.folder)
    python, variables = engines.interpreter("fake", dict(os.environ), build.name)
    assert python == str(build.python)
    assert variables["XDG_CACHE_HOME"] == str(build.folder / "cache")
    other = builds.make("head", spec(wheel(tmp_path, "click", "99.0", {"click/__init__.py": b"own = 2\n"})))
    assert other.name.partition("-")[2] != build.name.partition("-")[2]
    assert sorted(p.name for p in builds.root().iterdir()) == sorted(
        [build.name, other.name, "base.log", "head.log"]
    ), "nothing is left over"


def test_what_cannot_be_installed_is_told_with_pip_s_own_words(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"--head: nothing was built from .*pip install, exit code 1") as caught:
        builds.make("head", f"--no-index {tmp_path / 'nothing'}-1.0-py3-none-any.whl")
    assert "head.log" in caught.value.hint
    assert [p.name for p in builds.root().iterdir()] == ["head.log"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names nothing"),
        ("--no-deps", "names nothing"),
        ("'unclosed", "is no list of arguments"),
        ("-e .", "-e would not install into a build"),
        ("--editable=. x", "--editable"),
        ("x --target /tmp/x", "--target would not"),
        ("x --user", "--user would not"),
    ],
)
def test_specifications_that_make_no_build(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        builds.make("base", text)
    assert not builds.root().exists()


@given(st.text(max_size=40))
def test_any_text_is_a_specification_or_told_why_not(text: str) -> None:
    try:
        assert builds.check_spec("base", text)
    except InputError as error:
        assert error.hint and error.message.isprintable()


@given(st.text(max_size=30))
def test_a_name_that_is_none_reaches_no_file(name: str) -> None:
    with pytest.raises(ServewattError):
        builds.find(name)


def test_a_build_that_was_removed_is_told() -> None:
    with pytest.raises(UnavailableError, match="not in the cache any more"):
        builds.find("base-0123456789ab")
    with pytest.raises(InputError, match="is no build"):
        builds.find("../../etc")


def test_an_engine_with_its_own_environment_is_left_to_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = engines.entry("llama-cpp")
    monkeypatch.setattr(type(entry), "environment", lambda _self: object())
    with pytest.raises(UnavailableError, match="environment of its own"):
        engines.interpreter("llama-cpp", {}, "base-0123456789ab")

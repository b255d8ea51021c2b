"""The site's generated pages hold what the code holds, and no page needs the network."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import servewatt
from servewatt.engines import ENGINES
from tools.site import commands, engines
from tools.site.pages import PLACE, foreign, generated, with_tables

PACKAGE = Path(servewatt.__file__).parent
SHOWN = re.compile(r"^```console\n\$ servewatt ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block of output that stands in a page, with the command that prints it."""
DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = {" ".join(path): command for path, command in commands.commands()}


@pytest.mark.parametrize("path", COMMANDS)
def test_the_reference_has_every_option_of_every_command(path: str) -> None:
    page = commands.pages()[f"{path.split(maxsplit=1)[0]}.md" if path else "index.md"]
    assert f"Usage: servewatt {path}".rstrip() in page
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert max(parameter.opts, key=len) in page


def test_the_reference_has_the_commands_of_groups_too() -> None:
    assert {"run", "report", "study run", "engines add", "models prune"} <= set(COMMANDS)


def test_the_api_page_names_every_public_name() -> None:
    page = generated()["reference/api.md"]
    for name in servewatt.__all__:
        assert f".{name}\n" in page or f"::: servewatt.{name}" in page or name == "__version__"


@pytest.mark.parametrize("name", engines.LISTED)
def test_an_engine_s_tables_hold_its_options_and_install_line(name: str) -> None:
    table = engines.options(name)
    assert all(f"`{option.name}`" in table and option.help in table for option in ENGINES[name].options)
    assert ENGINES[name].install_line in engines.install(name)


def test_precisions_by_hand() -> None:
    assert engines.precisions("vllm").splitlines()[2] == "| `cuda` | yes | yes | yes | no | no | no |"


def test_support_by_hand() -> None:
    heading, _, *rows = [row.strip("| ").split(" | ") for row in engines.support("cuda").splitlines()]
    columns = [name[1 : name.index("]")] for name in heading[1:]]
    cells = {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}
    assert cells["Bloom"]["onnxruntime-genai"] == "no"
    assert cells["Llama"]["onnxruntime-genai"] == "yes"
    assert cells["precisions"]["vllm"] == "fp32 bf16 fp16"
    assert "openvino" not in columns


def test_every_place_of_a_table_can_be_filled() -> None:
    for path in DOCS.rglob("*.md"):
        assert not PLACE.search(with_tables(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize("path", [DOCS.parent / "README.md", *DOCS.rglob("*.md")], ids=lambda path: path.name)
def test_what_a_page_shows_of_a_command_is_what_it_prints(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    for line, shown in SHOWN.findall(path.read_text(encoding="utf-8")):
        printed = commands.output(line).split("\n", 2)[2].removesuffix("```")
        assert shown.split() == printed.split()


def test_code_that_a_page_names_is_there() -> None:
    for path in (*(p for p in DOCS.rglob("*.md") if "decisions" not in p.parts), DOCS.parent / "CONTRIBUTING.md"):
        for name in re.findall(r"`((?:[a-z0-9_]+/)+(?:[a-z0-9_]+\.py)?)`", path.read_text(encoding="utf-8")):
            assert any((folder / name).exists() for folder in (DOCS.parent, PACKAGE)), f"{path} names {name}"


def test_what_a_browser_would_load_from_elsewhere_is_found() -> None:
    page = """<link rel="canonical" href="https://a"><a href="https://b">b</a><link rel="stylesheet" href="x.css">
        <script src="https://c/shim"></script><img src="//d/e.png"><img src="f.png">"""
    assert foreign(page) == ["https://c/shim", "//d/e.png"]

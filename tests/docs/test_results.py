"""The tables in the pages say what `results/tables.py` prints, and it prints what the trials say."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from results import tables


@pytest.mark.parametrize("path", tables.PAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_page_shows_what_is_printed(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert tables.renewed(page) == page, "python results/tables.py --write renews the tables"


def test_every_table_stands_in_a_page() -> None:
    shown = {name for path in tables.PAGES for name, _ in tables.BLOCK.findall(path.read_text(encoding="utf-8"))}
    assert shown == set(tables.TABLES)


def test_a_page_with_another_figure_is_told() -> None:
    page = "<!-- table: h200-spread -->\n\n| of the configurations | 1.3 |\n\n<!-- end -->"
    assert "1.28" in tables.renewed(page)


def test_ratios_beside_vllm_by_hand() -> None:
    """Joules a token of the two blocks: 0.165545 over 0.433182, and 0.165497 over 0.341522."""
    first, second = tables.beside_vllm_ratios()[1]
    assert math.isclose(first, 0.3822, abs_tol=1e-4)
    assert math.isclose(second, 0.4846, abs_tol=1e-4)
    assert "| 1 | 0.43 |" in tables.beside_vllm().markdown()


def test_numbers_have_no_exponent() -> None:
    assert [tables.figure(x) for x in (1234.6, 0.04567, 2.0, 431.2)] == ["1230", "0.0457", "2", "431"]


def test_an_unknown_name_is_an_error() -> None:
    asked = subprocess.run(
        [sys.executable, tables.__file__, "nothing"], capture_output=True, text=True, check=False, timeout=120
    )
    assert asked.returncode == 2
    assert "no table nothing" in asked.stderr

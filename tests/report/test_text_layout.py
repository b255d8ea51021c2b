from __future__ import annotations

import io
import re
from collections import Counter

import pytest
from rich.console import Console

from servewatt.report.table import Column, Entry, Form, Table
from servewatt.report.table_forms import renderable, to_text
from servewatt.report.text_layout import layout
from servewatt.report.units import Scale
from servewatt.stats.records import Interval
from servewatt.study.outputs import make_table
from servewatt.study.view import observed
from tests.study.builders import small, study

NUMBERS = re.compile(r"~?\d+\.\d+|\[[^\]]+\]")
MILLIJOULES = Scale("mJ/token", 1e-3)


def shown(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable(table, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def body(text: str) -> str:
    """The part above the notes, which a terminal breaks as prose."""
    return text[: text.index("Medians over blocks")] if "Medians over blocks" in text else text


def two_energies() -> Table:
    """Natural width: 12 + 3 + 20 + 3 + 14 + 3 + 14 = 69 characters."""
    value = Interval(0.1736, 0.1442, 0.2071, 3)
    columns = (
        Column("model", "model"),
        Column("configuration", "configuration"),
        Column("energy_j", "global energy", Form.QUANTITY, MILLIJOULES, bounds=True),
        Column("cpu_energy_j", "CPU energy", Form.QUANTITY, MILLIJOULES, bounds=True),
    )
    row = (Entry("codegemma-2b"), Entry("<CPU, ONNX, batch 4>"), Entry(value), Entry(value))
    return Table("energy", "Energy", columns, (row,))


def test_the_energies_of_a_study_stay_whole_at_eighty_columns() -> None:
    table = make_table(observed(small(), tested=True), "energy")
    whole, narrow = body(to_text(table)), body(shown(table, 80))
    assert max(map(len, whole.splitlines())) > 80 >= max(map(len, narrow.splitlines()))
    assert "…" not in narrow
    assert whole.count("[") > 0
    assert Counter(NUMBERS.findall(narrow)) == Counter(NUMBERS.findall(whole))


@pytest.mark.parametrize("width", [50, 80, 120])
def test_pairs_over_the_models_stay_whole_at_any_width(width: int) -> None:
    table = make_table(observed(study(models=4, blocks=3), tested=True), "across")
    whole, narrow = to_text(table), shown(table, width)
    end = table.notes[0][:20]
    whole, narrow = whole[: whole.index(end)], narrow[: narrow.index(end)]
    assert max(map(len, narrow.splitlines())) <= width
    assert "…" not in narrow
    assert whole.count("[") > 0
    assert Counter(NUMBERS.findall(narrow)) == Counter(NUMBERS.findall(whole))


def test_a_table_that_fits_is_as_wide_as_it_needs_to_be() -> None:
    table = two_energies()
    assert shown(table, 69).rstrip() == shown(table, 200).rstrip()
    assert [c.width for c in layout(table, 69).panels[0]] == [12, 20, 14, 14]


def test_names_go_over_lines_first() -> None:
    only = layout(two_energies(), 60).panels
    # 60 - 3 gaps of 2 - 12 - 2 x 14 leaves 14 of 20 to the configuration.
    assert [[c.width for c in panel] for panel in only] == [[12, 14, 14, 14]]
    lines = [line.rstrip() for line in shown(two_energies(), 60).splitlines()]
    assert lines[-2:] == [
        "codegemma-2b  <CPU, ONNX,     174 [144, 207]  174 [144, 207]",
        "              batch 4>",
    ]


def test_then_the_names_are_repeated_beside_the_other_numbers() -> None:
    found = layout(two_energies(), 52).panels
    assert [[c.head[0] for c in panel] for panel in found] == [
        ["model", "configuration", "global energy"],
        ["model", "configuration", "CPU energy"],
    ]
    text = shown(two_energies(), 52)
    assert text.count("codegemma-2b  <CPU, ONNX, batch 4>  174 [144, 207]") == 2
    assert text.count("mJ/token") == 2


def test_a_name_of_one_long_word_gives_way_to_a_number() -> None:
    lines = shown(two_energies(), 32).splitlines()
    assert max(map(len, lines)) <= 32
    assert sum("174 [144, 207]" in line for line in lines) == 2
    names = "".join(line[: layout(two_energies(), 32).panels[0][0].width].strip() for line in lines[4:])
    assert "codegemma-2b" in names


def test_heads_break_at_spaces_and_stand_over_their_numbers() -> None:
    columns = (Column("name", "name"), Column("p", "sign test p", Form.P_VALUE), Column("m", "models", Form.COUNT))
    table = Table("t", "T", columns, ((Entry("a" * 10), Entry(0.146), Entry(12.0)),))
    # Whole heads: 10 + 11 + 6 and two gaps of 3.
    assert [c.head for c in layout(table, 33).panels[0]] == [("name",), ("sign test p",), ("models",)]
    folded = layout(table, 32).panels[0]
    assert folded[1].head == (" sign", " test", "    p")
    assert (folded[1].width, folded[1].cells) == (5, ("0.146",))

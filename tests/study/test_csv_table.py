"""Observations from CSV files of all kinds, and errors that name the place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from servewatt.errors import InputError
from servewatt.study.csv_table import read_csv


def write(folder: Path, text: str) -> Path:
    path = folder / "runs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_by_subject_in_order_of_appearance(tmp_path: Path) -> None:
    path = write(tmp_path, "model,conf,j\nm,b,1\nm,a,2.5e-1\n\nn,b,3\nm,b,4\n")
    table = read_csv(path, "j", "conf", "model")
    assert [s.name for s in table.subjects] == ["m", "n"]
    assert table.subjects[0].groups == {"b": (1.0, 4.0), "a": (0.25,)}
    assert table.subjects[1].groups == {"b": (3.0,), "a": ()}


def test_without_a_subject_the_file_is_one(tmp_path: Path) -> None:
    (only,) = read_csv(write(tmp_path, "g,x\na,1\nb,2\n"), "x", "g").subjects
    assert only.name == "runs"
    assert only.groups == {"a": (1.0,), "b": (2.0,)}


@pytest.mark.parametrize(
    "text", ["g;x\na;1\n", "g\tx\na\t1\n", "\ufeffg,x\na,1\n", " g , x \n a , 1 \n", '"g","x"\n"a","1"\n']
)
def test_separators_marks_and_spaces(tmp_path: Path, text: str) -> None:
    assert read_csv(write(tmp_path, text), "x", "g").subjects[0].groups == {"a": (1.0,)}


def test_cells_without_a_value_stay_as_nan(tmp_path: Path) -> None:
    (only,) = read_csv(write(tmp_path, "x,g\n,a\nNaN,a\nNA,a\n1,a\n"), "x", "g").subjects
    assert [math.isnan(v) for v in only.groups["a"]] == [True, True, True, False]


def test_rows_without_a_group_are_left_out_with_a_note(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "x,g\n1,a\n2,\n3\n4,b\n"), "x", "g")
    assert table.subjects[0].groups == {"a": (1.0,), "b": (4.0,)}
    assert table.notes == ("2 rows without a group left out (lines 3, 4)",)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "is empty", "first line"),
        ("g,energy\n", "has no observations", "on each line"),
        ("group,energy\na,1\n", "no column 'g'", "known: energy, group"),
        ("g,energy_j\na,1\n", "no column 'energy'", "did you mean energy_j"),
        ("g,energy\na,1\nb,much\n", "line 3: energy is 'much'", "write numbers as"),
        ("g,energy\na,1_000\n", "line 2: energy is '1_000'", "write numbers as"),
        ("g,g,energy\na,b,1\n", "2 columns 'g'", "own name"),
    ],
)
def test_errors_name_the_place_and_the_next_step(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        read_csv(write(tmp_path, text), "energy", "g")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_csv(tmp_path / "nowhere.csv", "x", "g")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"g,x\n\xff\xfe\x00,1\n")
    with pytest.raises(InputError, match="no CSV text"):
        read_csv(binary, "x", "g")

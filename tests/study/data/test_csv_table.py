"""Observations from CSV files of all kinds, and errors that name the place."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import InputError
from servewatt.study.data.csv_table import read_csv


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
    "text",
    [
        "g;x\na;1\n",
        "g\tx\na\t1\n",
        "g|x\na|1\n",
        "sep=;\r\ng;x\r\na;1\r\n",
        "g,x\ra,1\r",
        '"a;b;c;d",g,x\n1,a,1\n',
        "a b;c d\tg\tx\n;;;\ta\t1\n",
        '"g", "x"\n"a", "1"\n',
        "g,x,\na,1,,\n",
        "\ufeffg,x\na,1\n",
        " g , x \n a , 1 \n",
        '"g","x"\n"a","1"\n',
    ],
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
        ("torch,10\nonnx,8\n", "no column 'energy'", "the first line must name the columns; it has torch, 10"),
        ("g,energy\na,inf\n", "line 2: energy is 'inf', which is not a finite number", "write numbers as"),
        ("g,energy\na,1e400\n", "line 2: energy is '1e400', which is not a finite number", "write numbers as"),
        ('g,energy\na,1\nb,"2\nc,3\n', "line 4: no CSV text: unexpected end of data", "close every quote"),
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
    (tmp_path / "marked.csv").write_bytes("g;x\na;1\n".encode("utf-16"))
    assert read_csv(tmp_path / "marked.csv", "x", "g").subjects[0].groups == {"a": (1.0,)}
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"g,x\n\xff\xfe\x00,1\n")
    with pytest.raises(InputError, match="line 2 is not UTF-8"):
        read_csv(binary, "x", "g")


def test_a_cell_of_any_size_in_a_column_that_is_not_asked_for(tmp_path: Path) -> None:
    text = 'g,x,answer\na,1,"x = 1\n' + "y = 2\n" * 30_000 + '"\nb,2,short\nb,much,\n'
    with pytest.raises(InputError, match="line 30005: x is 'much'"):
        read_csv(write(tmp_path, text), "x", "g")
    assert read_csv(write(tmp_path, text.replace("much", "3")), "x", "g").subjects[0].groups["b"] == (2.0, 3.0)
    assert csv.field_size_limit() == 131072


def test_decimal_commas_are_read_with_a_note_where_they_can_be_nothing_else(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "g;x\na;0,25\na;-1,5e1\nb;3\n"), "x", "g")
    assert table.subjects[0].groups == {"a": (0.25, -15.0), "b": (3.0,)}
    assert table.notes == ("x has decimal commas: 0,25 is read as 0.25",)
    for text in ("g;x\na;0,25\nb;1.5\n", 'g,x\na,"0,25"\n', "g;x\na;1.234,5\n"):
        with pytest.raises(InputError, match=r"line 2: x is .*, which is not a number"):
            read_csv(write(tmp_path, text), "x", "g")


def test_labels_that_mean_the_same_number_or_word_are_told(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "g,x\n1,2\n1.0,3\n01,4\nFP32,5\nfp32,6\n"), "x", "g")
    assert list(table.subjects[0].groups) == ["1", "1.0", "01", "FP32", "fp32"]
    assert table.notes == (
        "groups '1' and '1.0' are written differently, so they count as two",
        "groups '1' and '01' are written differently, so they count as two",
        "groups 'FP32' and 'fp32' are written differently, so they count as two",
    )


def test_rows_of_another_length_are_named(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "g,x\na,1\nb\nb,3\n"), "x", "g")
    assert table.notes == ("1 row with fewer cells than the first line (line 3)",)
    with pytest.raises(InputError, match="line 3: 3 cells where the first line has 2"):
        read_csv(write(tmp_path, "g,x\na,1\nb,0,25\n"), "x", "g")


@given(
    st.binary(max_size=100)
    | st.lists(
        st.sampled_from(
            ["g", "x", ",", ";", "\n", "\r", '"', "1", "0,5", "nan", "inf", "1e400", "sep=", "\0", "é", "a"]
        )
    ).map(lambda pieces: ("g,x\n" + "".join(pieces)).encode())
)
def test_any_content_is_a_table_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        table = read_csv(path, "x", "g")
    except InputError as error:
        assert error.hint
        return
    values = [v for subject in table.subjects for of_group in subject.groups.values() for v in of_group]
    assert values and not any(math.isinf(value) for value in values)


def test_a_column_of_blocks(tmp_path: Path) -> None:
    path = write(tmp_path, "conf,day,j\nb,mon,1\na,mon,2\nb,tue,3\na,,4\n")
    table = read_csv(path, "j", "conf", block="day")
    (only,) = table.subjects
    assert only.groups == {"b": (1.0, 3.0), "a": (2.0,)}
    assert only.blocks == {"b": ("mon", "tue"), "a": ("mon",)}
    assert table.notes == ("1 row without a group or block left out (line 5)",)

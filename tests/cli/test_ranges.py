"""The numbers that may be asked for: bounded everywhere, and documented as they are."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest

from servewatt.cli.ranges import Finite
from servewatt.errors import InputError
from servewatt.experiment.ranges import RANGES
from servewatt.experiment.study_file import StudyFile, validate
from tools.site.pages import with_tables

ROOT = Path(__file__).parents[2]


def numbers() -> list[tuple[str, str]]:
    """Part and name of every field of a study file that is a number, or several."""
    found = []
    for part, of_part in StudyFile.model_fields.items():
        hints = typing.get_type_hints(of_part.annotation)
        found += [(part, name) for name, hint in hints.items() if "int" in str(hint) or "float" in str(hint)]
    return found


def test_every_number_of_a_study_file_has_a_range_and_is_documented_with_it() -> None:
    assert set(numbers()) == set(RANGES)
    documented = with_tables((ROOT / "docs" / "reference" / "inputs.md").read_text(encoding="utf-8"))
    for (part, field), allowed in RANGES.items():
        assert f"| {part} | `{field}` | {allowed} |" in documented


@pytest.mark.parametrize("place", RANGES, ids=".".join)
def test_numbers_beyond_the_range_are_refused_and_its_ends_are_taken(place: tuple[str, str]) -> None:
    part, field = place
    allowed = RANGES[place]
    wrongs: tuple[Any, ...] = (
        allowed.least - 1,
        allowed.most * 2,
        "nan",
        "inf",
        "-inf",
        "1e400",
        "",
        "many",
        None,
        [[]],
    )
    for wrong in wrongs:
        if wrong is None and field in ("limit", "threads", "cpu_watts"):
            continue
        value = [wrong, wrong] if field == "cpu_watts" else wrong
        with pytest.raises(InputError, match=rf"^here: {part}\.{field}"):
            validate({part: {field: value}}, "here")
    least = allowed.most / 2 if allowed.above else allowed.least
    several = field in ("batches", "cpu_watts")
    ends = [str(least), str(allowed.most)] if several else str(allowed.most)
    assert validate({part: {field: ends}}, "here")


def test_a_number_that_compares_with_nothing_is_in_no_range() -> None:
    import click

    for text in ("nan", "inf", "-inf", "1e400", "-0.1", "1.1"):
        with pytest.raises(click.BadParameter, match="not in the range 0<=x<=1"):
            Finite(0, 1).convert(text, None, None)
    assert Finite(0, 1).convert("0.5", None, None) == 0.5

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.cli.quantities import parse_limit_bytes, parse_size_bytes, parse_time_s
from servewatt.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("80ms", 0.08),
        ("1.5 s", 1.5),
        ("2min", 120),
        (".5s", 0.5),
        ("250us", 0.00025),
        ("250 µs", 0.00025),
        ("250 μS", 0.00025),
        ("1h", 3600),
        ("80MS", 0.08),
        ("3 seconds", 3),
        ("1.s", 1),
        ("1e2ms", 0.1),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time_s(text, "--x") == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2e9), ("512MiB", 2**29), ("1 kB", 1000), ("77B", 77), ("2gb", 2e9), ("4GIB", 2**32), ("0", 0), ("0GB", 0)],
)
def test_sizes(text: str, size: float) -> None:
    assert parse_size_bytes(text, "--x") == size


@pytest.mark.parametrize(
    "text",
    ["", "soon", "5 parsecs", "-1s", "0ms", "1s2", "1,5s", "inf s", "nan", "8d", "1e400h", "9" * 400 + "s", "²s"],
)
def test_what_is_no_time_names_the_option(text: str) -> None:
    with pytest.raises(InputError, match="--max-ttft"):
        parse_time_s(text, "--max-ttft")


@pytest.mark.parametrize(
    "text", ["", "big", "5 boxes", "-1GB", "0", "1,5GB", "1e30GB", "9" * 400 + "GB", "inf", "nan", "2000TiB"]
)
def test_what_is_no_size_names_the_option(text: str) -> None:
    with pytest.raises(InputError, match="--max-memory"):
        parse_limit_bytes(text, "--max-memory")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("300", "--max-ttft: '300' has no unit", "write 300ms or 300s"),
        (" 0.5 ", "--max-ttft: ' 0.5 ' has no unit", "write 0.5ms or 0.5s"),
        ("5m", "--max-ttft: '5m' may be minutes or milliseconds", "write 5min or 5ms"),
        ("2000h", "--max-ttft must be more than zero and at most a week, not '2000h'", "80ms"),
    ],
)
def test_a_time_that_may_mean_several_things_is_refused_with_these(text: str, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_time_s(text, "--max-ttft")
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_a_size_without_a_unit_is_refused_with_likely_ones() -> None:
    with pytest.raises(InputError) as caught:
        parse_limit_bytes("4", "--max-memory")
    assert caught.value.message == "--max-memory: '4' has no unit"
    assert caught.value.hint == "write 4GB or 4MiB, for example"


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{1,6} ?[a-zA-Zµ]{0,3}", fullmatch=True))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    for parse in (parse_time_s, parse_size_bytes, parse_limit_bytes):
        with suppress(InputError):
            assert 0 <= parse(text, "--x") <= 2**50

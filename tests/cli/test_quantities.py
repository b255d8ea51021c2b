from __future__ import annotations

import pytest

from servewatt.cli.quantities import parse_size_bytes, parse_time_s
from servewatt.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"), [("80ms", 0.08), ("1.5 s", 1.5), ("2min", 120), ("3", 3), (".5s", 0.5), ("250us", 0.00025)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time_s(text, "--x") == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "size"), [("2GB", 2e9), ("512MiB", 2**29), ("1 kB", 1000), ("77", 77)])
def test_sizes(text: str, size: float) -> None:
    assert parse_size_bytes(text, "--x") == size


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-1s", "0ms", "1s2"])
def test_what_is_no_time_names_the_option(text: str) -> None:
    with pytest.raises(InputError, match="--max-ttft"):
        parse_time_s(text, "--max-ttft")


@pytest.mark.parametrize("text", ["", "big", "5 boxes", "-1GB", "0"])
def test_what_is_no_size_names_the_option(text: str) -> None:
    with pytest.raises(InputError, match="--max-memory"):
        parse_size_bytes(text, "--max-memory")

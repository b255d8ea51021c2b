"""Shared libraries out of NVIDIA's wheels, which the loader does not look into."""

from __future__ import annotations

import _ctypes
import shutil
import sys
from pathlib import Path

import pytest

from servewatt.engines.shared.cuda_libraries import load_libraries
from servewatt.errors import UnavailableError

MAPS = Path("/proc/self/maps")


@pytest.mark.parametrize("part", ["cublas", "cu13"])
def test_a_library_is_taken_from_a_wheel(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nvidia" / part / "lib"
    folder.mkdir(parents=True)
    # Any shared library will do; this one is at hand wherever ctypes is.
    library = Path(shutil.copy(_ctypes.__file__, folder / "libofnobody.so.13"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing here"), str(tmp_path)])
    load_libraries(["libofnobody.so.13"], "an engine", "install it")
    assert str(library) in MAPS.read_text()


def test_one_that_is_nowhere_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"an engine needs libofnobody\.so\.12: .*No such file") as caught:
        load_libraries(["libofnobody.so.12"], "an engine", "pip install it")
    assert caught.value.hint == "pip install it"

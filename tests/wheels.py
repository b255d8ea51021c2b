"""Wheels made by hand: what pip can install without a network and without a build."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import servewatt

PACKAGE = Path(servewatt.__file__).parent


def wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    """A wheel of pure Python with these files."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for place, text in content.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
            lines.append(f"{place},sha256={digest},{len(text)}")
            file.writestr(place, text)
        file.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]) + "\n")
    return path


def servewatt_wheel(folder: Path, version: str, *, step_factor: float = 1.0) -> Path:
    """servewatt as it is here, its fake engine's steps so many times as long."""
    files = {
        f"servewatt/{path.relative_to(PACKAGE)}": path.read_bytes()
        for path in PACKAGE.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    engine = "servewatt/engines/fake/engine.py"
    before = b'float(options.get("step_ms", "1")) / 1e3'
    assert before in files[engine]
    files[engine] = files[engine].replace(before, f"{step_factor} * ".encode() + before)
    return wheel(folder, "servewatt", version, files)


def spec(path: Path) -> str:
    """What pip needs to install it without a network."""
    return f"--no-index --no-deps {path}"

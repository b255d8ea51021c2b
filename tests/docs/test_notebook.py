"""The notebook in examples/ runs from its first cell to its last, and shows what it says."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples/api.ipynb"


def shown(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Source of each cell of code -> all that it printed and shows."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {
        cell.source: "".join(
            output["text"] if output.output_type == "stream" else "".join(map(str, output["data"].values()))
            for output in cell.outputs
        )
        for cell in cells
    }


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = shown(notebook)
    assert "8 of 8 trials ok" in next(text for source, text in outputs.items() if "servewatt.measure" in source)
    choice = next(text for source, text in outputs.items() if "servewatt.recommend" in source)
    assert choice.startswith("Serve with fake/cpu/fp32/b1/step_ms=4")
    metered = next(text for source, text in outputs.items() if "EnergyMeter" in source)
    assert re.findall(r"^(\w+):", metered, re.MULTILINE) == ["sum", "sort", "all"]
    assert metered.count("20 W") == 3
    assert any("<svg" in text for text in outputs.values())


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)

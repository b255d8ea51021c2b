"""What a reader of `servewatt study compare` sees."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from servewatt.records import Grade
from servewatt.study.data.cells import By
from servewatt.study.data.results_file import Results
from servewatt.study.published.beside import BesidePublished, set_beside
from servewatt.study.tables.beside import tables
from servewatt.study.tables.document import render_terminal, to_markdown
from tests.study.builders import observation

ENERGIES = {"<CPU, TORCH>": 4.0, "<CPU, ONNX>": 3.0, "<CPU, OV>": 2.0, "<CPU, OV, bf16>": 1.0}


def ours(grade: Grade = Grade.ESTIMATED) -> Results:
    made = (
        observation("tinyllama", label, block, campaign="cpu", energy_j_per_token=energy, grade=grade)
        for label, energy in ENERGIES.items()
        for block in range(2)
    )
    return Results(tuple(made), ())


def terminal(shown: BesidePublished, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    render_terminal(console, shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("by", By)
def test_the_published_check_cites_the_study_and_says_whose_boundary(by: By) -> None:
    for text in (terminal(set_beside(by=by)), to_markdown(set_beside(by=by))):
        assert "arXiv 2412.15441" in text
        assert "10.5281/zenodo.15258679" in text
        assert "the idle GPU left out" in squeezed(text)


def test_each_claim_shows_its_verdict_and_rows() -> None:
    text = squeezed(terminal(set_beside()))
    assert "saves at least 37.99 % energy against the other configurations: supported" in text
    assert "saves up to 89.16 % energy against the other configurations: supported only under another" in text
    assert "save at least 8.98 % energy among the CPU configurations: not in the table" in text
    assert "the nearest figure published 8.91 stablecode-3b-completion: ONNX against TORCH on CPU" in text
    assert "within-cpu published 72.04 12 stablecode-3b: OV against TORCH on CPU" in text
    assert "cuda-cpu published -88.59 11 of 12 bloomz-1b1: <CUDA, ONNX> against <CPU, TORCH>" in text


def test_every_definition_that_is_shown_is_explained() -> None:
    shown = set_beside()
    last = tables(shown)[-1]
    explained = {row[0].value for row in last.rows}
    assert explained == {s.definition.name for s in shown.savings}


def test_by_time_requests_are_counted_in_steps() -> None:
    text = squeezed(terminal(set_beside(by=By.TIME)))
    assert "Within 2% of a whole number: 8 of 12." in text


def test_ours_are_shown_beside_with_random_weights_and_estimates_marked() -> None:
    text = squeezed(terminal(set_beside(ours())))
    assert "weights: random" in text
    assert "~ marks figures that contain an estimated energy" in text
    assert "without a published counterpart: <CPU, OV, bf16>" in text
    # 1 - 2/4 of OV against TORCH.
    assert "within-cpu cpu ~50.00 1 tinyllama: OV against TORCH on CPU" in text
    assert "only orders and ratios within one source compare" in text
    # Published ONNX < TORCH < OV, ours OV < ONNX < TORCH: one pair of three agrees.
    assert "tinyllama ONNX < TORCH < OV OV < ONNX < TORCH 3 -0.33" in text
    assert "with 3 configurations p is at least 0.33" in text


def test_what_was_not_measured_is_a_dash_and_says_so() -> None:
    text = squeezed(terminal(set_beside(ours())))
    assert "within-cuda ours — not measured" in text


def test_counted_energies_carry_no_mark_and_times_never_do() -> None:
    assert "~" not in terminal(set_beside(ours(Grade.COUNTER)))
    text = terminal(set_beside(ours(), By.TIME))
    assert "~" not in text.replace("~ marks", "")


def test_the_same_order_is_told_in_words() -> None:
    made = ours().observations
    swapped = tuple(
        replace(o, energy_j_per_token={"<CPU, ONNX>": 1.0, "<CPU, TORCH>": 2.0}.get(o.configuration, 3.0)) for o in made
    )
    text = squeezed(terminal(set_beside(Results(swapped, ()))))
    assert "tinyllama ONNX < TORCH < OV the same 3 +1.00" in text
    assert "without JIT: the same order in 1 of 1 model, median tau +1.00 over 1" in text


def test_markdown_escapes_labels_and_gives_units() -> None:
    text = to_markdown(set_beside(ours(), models=["tinyllama"]))
    assert "&lt;CPU, ONNX&gt;" in text
    assert "<CPU" not in text
    assert "| published, a pass, kJ |" in text
    assert "| saves, % |" in text
    assert "## Headline" not in text

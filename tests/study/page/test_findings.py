"""The sentences that a page of the study opens with."""

from __future__ import annotations

import random

import pytest

from servewatt.records import Status
from servewatt.study.outputs import make_table
from servewatt.study.page.findings import Findings, findings
from servewatt.study.page.folder import study_page
from servewatt.study.page.parts import render_page
from servewatt.study.view import StudyView, observed, published_alone
from tests.study.builders import failed, observation

MODELS = ("pythia-410m", "tinyllama", "phi2", "codegemma-2b", "bloomz-1b1")


@pytest.fixture(scope="module")
def view() -> StudyView:
    """Five models on CUDA: TORCH needs twice ONNX's energy in all; JIT failed once."""
    chance = random.Random(2)
    made = [
        observation(model, label, block, energy_j_per_token=level * size * chance.gauss(1, 0.01))
        for size, model in enumerate(MODELS, 1)
        for label, level in (("<CUDA, TORCH>", 2.0), ("<CUDA, ONNX>", 1.0))
        for block in range(5)
    ]
    return observed([*made, failed("phi2", "<CUDA, JIT>", 0, Status.FAILED, "out of memory")], tested=True)


def told(found: tuple[Findings, ...], heading: str) -> str:
    return " ".join(next(one.sentences for one in found if one.heading == heading))


def test_over_the_models_and_beside_the_published_figures(view: StudyView) -> None:
    text = told(findings(view), "Over the models")
    assert "Over 5 models, <CUDA, ONNX> needs the least energy on CUDA; the next, <CUDA, TORCH>, needs 2.0" in text
    assert "<CUDA, TORCH> needs 2.0" in text and "more in 5 of 5 models. The published figures say the reverse" in text


def test_model_by_model(view: StudyView) -> None:
    text = told(findings(view), "Model by model")
    assert text.startswith("Paired within blocks, 5 of 5 models are decided.")
    assert "phi2: <CUDA, ONNX> has the least global energy: 49.8 % [48.0, 51.5] less" in text
    assert "remain" not in text


def test_what_to_bear_in_mind(view: StudyView) -> None:
    text = told(findings(view), "Bear in mind")
    assert text.startswith("All weights are random")
    assert "5 pairs of model and configuration have no result; the reasons are below." in text


def test_the_published_figures_by_themselves() -> None:
    found = findings(published_alone())
    assert [one.heading for one in found] == ["Over the models", "The published figures", "Bear in mind"]
    assert "JIT" not in told(found, "Over the models")
    assert "optimised engines like ONNX save at least 8.98 % energy" in told(found, "The published figures")


def test_the_page_opens_with_them(view: StudyView) -> None:
    page = render_page(study_page(view), [make_table(view, "energy")], [])
    assert page.index("What was found") < page.index("needs the least energy") < page.index("What was measured")
    assert page.index("What was measured") < page.index("<table")


def test_a_published_forward_pass_is_no_generation() -> None:
    made = [
        observation(model, label, block, energy_j_per_token=level + 0.01 * block)
        for model in MODELS
        for label, level in (("<CUDA, TORCH>", 2.0), ("<CUDA, JIT>", 1.0))
        for block in range(2)
    ]
    text = told(findings(observed(made)), "Over the models")
    assert "times the energy of <CUDA, JIT>, more in 5 of 5 models. The published " in text
    assert "compares a generation with one forward pass." in text

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from servewatt.errors import InputError
from servewatt.report.figures import Figure, save
from servewatt.report.figures.canvas import CHARACTER, NARROW
from servewatt.study.data.names import CONFIGURATIONS
from servewatt.study.outputs import FIGURES, draw
from servewatt.study.page.folder import write_folder
from servewatt.study.published.medians import models
from servewatt.study.view import StudyView, observed, published_alone
from tests.report import drawing
from tests.study.builders import BF16, observation, small, study

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def view() -> StudyView:
    return observed(small(), tested=True)


@pytest.fixture(scope="module")
def drawn(view: StudyView) -> dict[str, Figure]:
    return {name: draw(view, name) for name in FIGURES}


def texts(figure: Figure) -> list[str]:
    return [text for text, _ in drawing.read(figure.svg).texts]


def test_each_figure_has_a_title_words_and_its_caution(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        assert figure.name == name
        root = ElementTree.fromstring(figure.svg)
        assert root.findtext(f"{SVG}desc") == figure.alt
        shown = " ".join(texts(figure))
        assert "weights: random" in shown, name
        # The GPU's joules are counted, times are no joules.
        assert ("estimated" in shown) is (name not in {"gpu-energy-boxes", "time-boxes", "tests-time"}), name


@pytest.mark.parametrize("name", ["energy-boxes", "time-boxes"])
def test_boxes_name_models_and_configurations_and_why_a_row_is_empty(drawn: dict[str, Figure], name: str) -> None:
    shown = texts(drawn[name])
    assert {"pythia-410m", "codegemma-2b", "<CPU, TORCH>", "<CUDA, ONNX>"} <= set(shown)
    assert "out of memory" in shown and "not measured" in shown
    # Once a row of panels, not once a panel.
    assert shown.count("<CUDA, TORCH>") == 1


def test_every_observation_is_a_point(drawn: dict[str, Figure]) -> None:
    # Three blocks twice and two blocks for pythia-410m, three blocks for codegemma-2b.
    alt = drawn["energy-boxes"].alt
    assert "pythia-410m: <CPU, TORCH> 5.00, <CUDA, TORCH> 2.00, <CUDA, ONNX> 1.25" in alt
    found = drawing.read(drawn["energy-boxes"].svg)
    dots = [said for said, _ in found.marks if "median" not in said]
    assert len(dots) == 11
    assert sum(said.startswith("pythia-410m <CPU, TORCH> · TORCH · CPU · ~") for said in dots) == 3


def test_energy_against_time_counts_what_is_missing(drawn: dict[str, Figure]) -> None:
    shown = texts(drawn["energy-time"])
    assert "2 without result" in shown
    assert {"TORCH", "ONNX", "CPU", "CUDA"} <= set(shown)


def test_bars_of_size_groups_carry_their_numbers(drawn: dict[str, Figure]) -> None:
    shown = texts(drawn["size-groups"])
    assert "~5.00" in shown and "8.00" in shown
    assert any(t.startswith("< 1 B") for t in shown) and any(t.startswith(">= 2 B") for t in shown)
    assert "no result" in shown


def test_the_published_ratios_are_beside_ours(drawn: dict[str, Figure]) -> None:
    # Ours: 5, 2 and 1.25; published: 112852.8, 26693.6 and 55228.0 J, of which the least is TORCH on CUDA.
    assert "pythia-410m <CPU, TORCH> 4, published 4.23" in drawn["published"].alt
    assert "pythia-410m <CUDA, TORCH> 1.6, published 1;" in drawn["published"].alt
    assert "pythia-410m <CUDA, ONNX> 1, published 2.07" in drawn["published"].alt
    assert any("2412.15441" in t for t in texts(drawn["published"]))


def test_the_grid_says_which_test_tells_pairs_apart(drawn: dict[str, Figure]) -> None:
    shown = texts(drawn["tests-energy"])
    assert {"told apart by neither", "by Games-Howell only", "by both", "not computed"} <= set(shown)
    assert "pythia-410m: pairs 3" in drawn["tests-energy"].alt


def test_campaigns_share_a_panel_but_are_not_tested_against_each_other() -> None:
    here = [observation(configuration="<CPU, OV>", block=b, campaign="cpu", machine="a") for b in range(3)]
    there = [
        observation(configuration=c, block=b, campaign="gpu", machine="b", energy_j_per_token=1.0 + b + i)
        for i, c in enumerate(("<CUDA, TORCH>", "<CUDA, ONNX>"))
        for b in range(3)
    ]
    both = observed([*here, *there], tested=True)
    figure = draw(both, "tests-energy")
    assert "pythia-410m (gpu): pairs 1" in figure.alt
    shown = texts(draw(both, "energy-boxes"))
    assert shown.count("pythia-410m") == 1 and {"<CPU, OV>", "<CUDA, ONNX>"} <= set(shown)
    assert "2 machines" in " ".join(shown).replace("\n", " ")


def test_names_with_markup_are_text() -> None:
    evil = observed([observation("<b>&$x$", "<CUDA, TORCH>", block=b, energy_j_per_token=1.0 + b) for b in range(3)])
    assert "<b>&$x$" in texts(draw(evil, "energy-boxes"))


@pytest.mark.parametrize("labels", [2, 7, 11])
def test_one_model_alone_fits_its_page(labels: int) -> None:
    alone = observed(study(models=1, configurations=(*CONFIGURATIONS, *BF16)[:labels], blocks=3), tested=True)
    for name in ("tests-energy", "energy-boxes", "energy-time", "size-groups", "published"):
        figure = draw(alone, name)
        for width in (figure.wide, NARROW):
            found = drawing.read(figure.inline(width))
            assert found.width <= width, name
            ends = [at[0] + CHARACTER * len(text) for text, at in found.texts if text in found.legend]
            assert all(end <= width + 2 for end in ends), name


def test_equal_values_and_single_blocks_are_drawn() -> None:
    flat = observed([observation(block=0), observation("phi2", "<CPU, OV>", 0)])
    for name in ("energy-boxes", "energy-time", "size-groups"):
        assert draw(flat, name).svg


def test_a_figure_without_data_says_so(view: StudyView) -> None:
    bare = observed([observation(gpu_energy_j_per_token=None)])
    with pytest.raises(InputError, match="gpu-energy-boxes is empty"):
        draw(bare, "gpu-energy-boxes")
    with pytest.raises(InputError, match="needs single observations"):
        draw(published_alone(), "energy-boxes")
    with pytest.raises(InputError, match="enrgy") as unknown:
        draw(view, "enrgy-boxes")
    assert "energy-boxes" in unknown.value.hint


def test_the_same_data_give_the_same_bytes(view: StudyView, drawn: dict[str, Figure], tmp_path: Path) -> None:
    assert draw(view, "published").svg == drawn["published"].svg
    for kind in ("svg", "png"):
        (path,) = save(drawn["energy-time"], tmp_path, (kind,))
        assert path.stat().st_size > 5000


def test_the_folder_holds_everything_and_the_page_needs_no_network(view: StudyView, tmp_path: Path) -> None:
    written = write_folder(view, tmp_path / "study", "servewatt study tables x.parquet --folder study")
    names = {str(p.relative_to(tmp_path / "study")) for p in written}
    assert {"index.html", "tables/energy.tex", "tables/savings.csv", "tables/tests.html", "tables/energy.txt"} <= names
    assert {"figures/energy-boxes.svg", "figures/published.png"} <= names
    page = (tmp_path / "study" / "index.html").read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "url(http" not in page
    for name in re.findall(r'href="((?:tables|figures)/[^"]+)"', page):
        assert name in names
    assert "codegemma-2b &lt;CPU, TORCH&gt;" in page and "needs 10.0 GB &amp; more" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_published_page_shows_all_models(tmp_path: Path) -> None:
    write_folder(published_alone(), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert all(m.name in page for m in models())
    assert "2412.15441" in page
    assert not (tmp_path / "figures" / "energy-boxes.svg").exists()


def test_a_whole_study_draws_without_labels_on_each_other() -> None:
    whole = observed(study(blocks=3))
    figure = draw(whole, "energy-boxes")
    for width in (figure.wide, NARROW):
        found = drawing.read(figure.inline(width))
        levels: dict[float, list[tuple[float, float]]] = {}
        for text, at in found.texts:
            if re.fullmatch(r"[\d.,]+", text):
                half = CHARACTER * len(text) / 2
                levels.setdefault(round(at[1]), []).append((at[0] - half, at[0] + half))
        assert levels
        for boxes in levels.values():
            assert all(a[1] < b[0] for a, b in pairwise(sorted(boxes)))


def test_each_precision_has_a_mark_of_its_own_that_the_legend_names() -> None:
    kinds = ("", ", bf16", ", fp16", ", int8", ", int4", ", w8a8")
    made = observed(
        [
            observation(configuration=f"<CUDA, TORCH{kind}>", block=b, energy_j_per_token=1.0 + i)
            for i, kind in enumerate(kinds)
            for b in range(3)
        ]
    )
    figure = draw(made, "energy-time")
    paths = [e for e in ElementTree.fromstring(figure.svg).iter(f"{SVG}path") if "TORCH" in e.get("aria-label", "")]
    shapes = {re.sub(r"[\d.]+", lambda m: f"{float(m[0]):.1f}", e.get("d", "")) for e in paths}
    assert len(paths) == len(shapes) == len(kinds)
    assert {"bf16", "fp16", "int8", "int4", "w8a8"} <= set(texts(figure))

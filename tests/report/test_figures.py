from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from servewatt.errors import InputError
from servewatt.report.figures import Figure, figures, save
from servewatt.report.figures.canvas import NARROW, WIDE
from servewatt.stats.records import Analysis, Comparison, Interval, Verdict
from tests.report import drawing, synthetic

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    return {f.name: f for f in figures(synthetic.analysis(), synthetic.results())}


def texts(figure: Figure) -> str:
    root = ElementTree.fromstring(figure.svg)
    return "\n".join("".join(t.itertext()).strip() for t in root.iter(f"{SVG}text"))


def one(analysis: Analysis, name: str) -> Figure:
    return next(f for f in figures(analysis) if f.name == name)


def test_each_figure_is_an_xml_document_with_title_and_description(drawn: dict[str, Figure]) -> None:
    assert list(drawn) == ["energy", "latency", "ratios", "blocks", "power", "utilisation"]
    for figure in drawn.values():
        root = ElementTree.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert root.findtext(f"{SVG}title") == figure.title
        assert root.findtext(f"{SVG}desc") == figure.alt


def test_text_stays_text_and_shows_the_numbers_given(drawn: dict[str, Figure]) -> None:
    assert "~527" in texts(drawn["energy"])
    assert "mJ per generated token" in texts(drawn["energy"])
    # 0.527 / 0.412 is 1.279; the interval of the ratio is 7 % either way.
    assert "1.28 [1.20, 1.38]" in texts(drawn["ratios"])
    assert "torch cuda bf16" in texts(drawn["latency"])
    assert "generate" in texts(drawn["power"])


def test_figures_say_estimated_and_random_and_their_boundary(drawn: dict[str, Figure]) -> None:
    for figure in drawn.values():
        assert "machine boundary" in texts(figure)
        assert "estimated" in texts(figure)
        assert "random" not in texts(figure)
    for figure in figures(synthetic.random_weights(synthetic.analysis()), synthetic.results()):
        assert "weights: random" in texts(figure)


def test_the_same_data_give_the_same_bytes(drawn: dict[str, Figure]) -> None:
    again = {f.name: f for f in figures(synthetic.analysis(), synthetic.results())}
    for name, figure in drawn.items():
        assert again[name].svg == figure.svg
        assert "dc:date" not in figure.svg


def test_ids_of_several_figures_do_not_collide(drawn: dict[str, Figure]) -> None:
    ids = [i for f in drawn.values() for i in re.findall(r'\bid="([^"]+)"', f.svg)]
    assert len(ids) == len(set(ids))
    for figure in drawn.values():
        own = set(re.findall(r'\bid="([^"]+)"', figure.svg))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', figure.svg)) <= own


def test_names_with_markup_or_dollars_are_text() -> None:
    case = synthetic.CASES[0]
    evil = (replace(case[0], options=(("x", "<b>&$\\frac{$"),)), *case[1:])
    analysis = synthetic.analysis(summaries=(synthetic.summary(evil), synthetic.summary(synthetic.CASES[1])))
    assert "x=<b>&$\\frac{$" in texts(one(analysis, "energy")).replace("\n", " ")


def test_save_writes_each_format_the_same_twice(drawn: dict[str, Figure], tmp_path: Path) -> None:
    paths = save(drawn["energy"], tmp_path / "new" / "folder", ("svg", "png", "pdf"))
    assert [p.name for p in paths] == ["energy.svg", "energy.png", "energy.pdf"]
    assert paths[0].read_text() == drawn["energy"].svg
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert paths[2].read_bytes().startswith(b"%PDF")
    first = paths[1].read_bytes()
    save(drawn["energy"], tmp_path / "new" / "folder", ("png",))
    assert paths[1].read_bytes() == first


def test_save_names_an_unknown_format_and_an_unwritable_folder(drawn: dict[str, Figure], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bmp") as unknown:
        save(drawn["energy"], tmp_path, ("bmp",))
    assert "png" in unknown.value.hint
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        save(drawn["energy"], tmp_path / "file" / "below")


def test_what_was_not_measured_is_not_drawn() -> None:
    assert figures(synthetic.analysis(summaries=(), comparisons=())) == ()
    bare = tuple(replace(synthetic.summary(c), energy_j_per_token=None, phases=()) for c in synthetic.CASES)
    assert figures(synthetic.analysis(summaries=bare, comparisons=())) == ()


def test_missing_and_infinite_bounds_are_drawn_without_whiskers() -> None:
    case, other = synthetic.CASES[:2]
    single = replace(synthetic.summary(case), energy_j_per_token=Interval(0.4, None, None, 1), phases=())
    open_ = Comparison(case[0], other[0], Interval(0.9, 0.0, float("inf"), 2), Verdict.UNDECIDED, None)
    analysis = synthetic.analysis(summaries=(single, synthetic.summary(other)), comparisons=(open_,))
    shown = texts(one(analysis, "ratios"))
    assert "too few blocks to tell, undecided" in shown and "∞" not in shown
    assert "~400" in texts(one(analysis, "energy"))


def test_an_interval_that_is_open_at_one_end_is_told_and_not_drawn() -> None:
    case, other = synthetic.CASES[:2]
    open_ = Comparison(case[0], other[0], Interval(0.5, 0.0, 0.8, 5), Verdict.LOWER, 0)
    figure = one(synthetic.analysis(comparisons=(open_,)), "ratios")
    found = drawing.read(figure.svg)
    assert [said.split(" · ")[0] for said, _ in found.marks] == ["torch cuda fp32"]
    assert found.marks[0][0].split(" · ")[1].startswith("2")  # 1 over 0.5


def test_forty_configurations_over_five_orders_of_magnitude() -> None:
    analysis = synthetic.many()
    for figure in figures(analysis):
        ElementTree.fromstring(figure.svg)
    assert texts(one(analysis, "energy")).count("a_long_option=") == 40


def test_the_drawing_libraries_are_loaded_once_a_figure_is_drawn() -> None:
    script = (
        "import sys; from servewatt.report.figures import figures; from tests.report import synthetic; "
        "found = figures(synthetic.analysis(), synthetic.results()); "
        "print([m for m in ('altair', 'vl_convert', 'matplotlib') if m in sys.modules]); found[0].svg; "
        "print([m for m in ('altair', 'vl_convert', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["[]", "['altair', 'vl_convert']"]


def test_a_page_holds_each_figure_for_wide_and_for_narrow_windows_in_its_own_colours(drawn: dict[str, Figure]) -> None:
    for figure in drawn.values():
        wide, narrow = (ElementTree.fromstring(figure.inline(width)) for width in (WIDE, NARROW))
        assert float(narrow.get("viewBox", "").split()[2]) <= NARROW < float(wide.get("viewBox", "").split()[2]) <= WIDE
        assert not re.findall(r"#[0-9a-f]{6}", figure.inline(WIDE)), "a colour that dark mode cannot change"


def test_every_mark_that_the_legend_tells_apart_says_its_entry(drawn: dict[str, Figure]) -> None:
    for name in ("energy", "latency", "power", "utilisation"):
        found = drawing.read(drawn[name].svg)
        assert found.legend
        for entry in found.legend:
            assert any(entry in said.split(" · ") for said, _ in found.marks), (name, entry)


def test_an_interval_that_says_nothing_does_not_stretch_the_axis() -> None:
    wide = [
        replace(synthetic.summary(c), energy_j_per_token=Interval(c[1], 0.001, 1e6, 3), phases=())
        for c in synthetic.CASES[:2]
    ]
    analysis = synthetic.analysis(summaries=tuple(wide), comparisons=())
    # 412 and 527 mJ.
    for name in ("energy", "latency"):
        ends = [
            float(end)
            for end in re.findall(
                r"axis titled 'mJ[^']*' for a \w+ scale with values from .*? to ([\d.]+)", one(analysis, name).svg
            )
        ]
        assert ends and max(ends) < 1000

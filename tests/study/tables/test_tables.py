from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from servewatt.errors import InputError
from servewatt.records import Status, Weights
from servewatt.report.html_table import to_html
from servewatt.report.latex import escape, to_latex
from servewatt.report.table import Column, Entry, Form, Table, letters
from servewatt.report.table_forms import FORMS, to_csv, to_text
from servewatt.study.outputs import TABLES, make_table, possible
from servewatt.study.view import StudyView, caption, observed, published_alone, select
from tests.study.builders import observation, small, study


@pytest.fixture(scope="module")
def view() -> StudyView:
    return observed(small(), tested=True)


@pytest.fixture(scope="module")
def published() -> StudyView:
    return published_alone()


def rows(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(table))))


def test_csv_holds_plain_numbers_in_si_units_with_grade_and_reason(view: StudyView) -> None:
    found = rows(make_table(view, "energy"))
    assert len(found) == 6
    cpu, cuda, onnx, lost, _, never = found
    assert (float(cpu["energy_j_per_token"]), cpu["energy_j_per_token_grade"]) == (5.0, "estimated")
    assert (cpu["gpu_energy_j_per_token"], cpu["gpu_energy_j_per_token_grade"]) == ("", "")
    assert float(cuda["s_per_token"]) == 0.014
    # Student's t with 2 degrees of freedom, 4.3027, on the logarithms of 1.9, 2.0 and 2.2.
    logs = [math.log(v) for v in (1.9, 2.0, 2.2)]
    mean = sum(logs) / 3
    half = 4.302653 * math.sqrt(sum((v - mean) ** 2 for v in logs) / 2 / 3)
    assert float(cuda["energy_j_per_token_low"]) == pytest.approx(math.exp(mean - half), rel=1e-5)
    assert float(cuda["energy_j_per_token_high"]) == pytest.approx(math.exp(mean + half), rel=1e-5)
    assert (onnx["blocks_ok"], onnx["blocks"], onnx["energy_j_per_token_low"]) == ("2", "3", "")
    assert onnx["notes"] == "1 of 3 blocks: timed out (no answer in 600 s)"
    assert (lost["blocks_ok"], lost["energy_j_per_token"]) == ("0", "")
    assert lost["notes"] == "out of memory (needs 10.0 GB & more)"
    assert (never["blocks"], never["notes"]) == ("0", "not measured")


def test_text_marks_estimates_and_explains_every_dash(view: StudyView) -> None:
    text = to_text(make_table(view, "energy"))
    line = next(one for one in text.splitlines() if "<CPU, TORCH>" in one)
    assert "~5000" in line and "—" in line
    lost = text.splitlines()
    start = next(i for i, one in enumerate(lost) if one.startswith("codegemma-2b"))
    assert re.search(r"0 +3 +—b", lost[start])
    assert "a  1 of 3 blocks: timed out (no answer in 600 s)" in text
    assert "b  out of memory (needs 10.0 GB & more)" in text
    assert "c  not measured" in text
    assert "weights: random" in text


def test_one_unit_serves_all_energies(view: StudyView) -> None:
    heads = {c.name: c.scale.unit for c in make_table(view, "energy").columns}
    assert (
        heads["energy_j_per_token"] == heads["cpu_energy_j_per_token"] == heads["gpu_energy_j_per_token"] == "mJ/token"
    )
    assert heads["s_per_token"] == "ms/token"


def test_size_groups_are_means_of_medians(view: StudyView) -> None:
    found = rows(make_table(view, "size-groups"))
    cell = next(r for r in found if r["size_group"] == ">= 2 B" and r["configuration"] == "<CUDA, TORCH>")
    assert (cell["models"], float(cell["energy_j_per_token"])) == ("1", 8.0)
    lost = next(r for r in found if r["size_group"] == ">= 2 B" and r["configuration"] == "<CPU, TORCH>")
    assert (lost["models"], lost["energy_j_per_token"], lost["notes"]) == ("0", "", "without codegemma-2b")


def test_utilisation_in_base_units(view: StudyView) -> None:
    cpu, cuda = rows(make_table(view, "utilisation"))[:2]
    assert (float(cpu["cpu_percent"]), float(cpu["rss_bytes"]), cpu["gpu_percent"]) == (196.0, 2e9, "")
    assert (float(cuda["gpu_percent"]), float(cuda["gpu_memory_bytes"])) == (60.0, 4e9)
    assert "2.00" in to_text(make_table(view, "utilisation"))


def test_the_published_range_of_savings_is_the_headline_s(published: StudyView) -> None:
    found = rows(make_table(published, "savings"))
    own = next(r for r in found if r["definition"] == "within-cuda" and r["of"] == "energy")
    # stablecode-3b: 1 - 53840.238614 / 86823.784125; bloomz-1b1: 1 - 12388.138642 / 114327.170499
    assert float(own["least_share"]) == pytest.approx(0.379891, abs=1e-5)
    assert float(own["most_share"]) == pytest.approx(0.891643, abs=1e-5)
    assert own["most_of"] == "bloomz-1b1: <CUDA, TORCH> against <CUDA, ONNX>"


def test_savings_say_which_models_they_leave_out(view: StudyView) -> None:
    found = rows(make_table(view, "savings"))
    ours = next(r for r in found if r["definition"] == "cuda-torch-onnx" and r["source"] == "synthetic")
    # pythia-410m alone has both: 1 - 2 / 1.25.
    assert ours["models"] == "1"
    assert float(ours["most_share"]) == pytest.approx(-0.6)
    assert "codegemma-2b lacks <CUDA, ONNX>" in ours["notes"]


def test_published_tables_say_whose_they_are_and_are_of_a_pass(published: StudyView) -> None:
    table = make_table(published, "energy")
    found = rows(table)
    assert len(found) == 84
    assert (found[0]["model"], float(found[0]["energy_j_per_pass"])) == ("codeparrot-small", 38922.89164)
    assert "2412.15441" in to_text(table)
    assert "kJ/pass" in {c.scale.unit for c in table.columns}
    assert "2412.15441" in to_text(make_table(published, "utilisation"))


@pytest.mark.parametrize("name", ["tests", "pairs-energy", "pairs-time"])
def test_a_table_of_tests_says_that_it_needs_observations(published: StudyView, name: str) -> None:
    with pytest.raises(InputError, match="needs single observations") as refused:
        make_table(published, name)
    assert "collect" in refused.value.hint


def test_an_unknown_table_is_answered_with_the_nearest(view: StudyView) -> None:
    with pytest.raises(InputError, match="enrgy") as unknown:
        make_table(view, "enrgy")
    assert "energy" in unknown.value.hint


def test_pairs_carry_both_tests_and_the_effect(view: StudyView) -> None:
    found = rows(make_table(view, "pairs-energy"))
    pair = next(
        r
        for r in found
        if (r["model"], {r["first"], r["second"]}) == ("pythia-410m", {"<CPU, TORCH>", "<CUDA, TORCH>"})
    )
    # Every joule of the first is above every joule of the second, or the reverse.
    assert abs(float(pair["cliffs_delta"])) == 1.0
    assert pair["magnitude"] == "large"
    assert 0 < float(pair["dunn_p"]) <= float(pair["dunn_p_family"]) <= 1
    lost = next(r for r in found if r["model"] == "codegemma-2b")
    assert "has no observations" in lost["notes"]


def test_pairs_of_what_nothing_measured_are_refused() -> None:
    on_cpu = observed([replace(o, gpu_energy_j_per_token=None) for o in study(models=1, blocks=3)], tested=True)
    assert "pairs-gpu-energy" not in possible(on_cpu)[0]
    assert "pairs-energy" in possible(on_cpu)[0]
    with pytest.raises(InputError, match="no valid trial tells GPU energy"):
        make_table(on_cpu, "pairs-gpu-energy")


def test_the_caption_counts_blocks_that_count() -> None:
    made = study(models=1, blocks=3)
    lost = replace(made[0], block=3, status=Status.INVALID, reason="other load")
    assert "3 blocks" in caption(observed([*made, lost]))


def test_tests_over_all_configurations_refuse_with_a_reason(view: StudyView) -> None:
    found = rows(make_table(view, "tests"))
    pythia = next(r for r in found if (r["model"], r["variable"]) == ("pythia-410m", "global energy"))
    assert (pythia["groups"], pythia["n_least"]) == ("3", "2")
    assert 0 < float(pythia["kruskal_p"]) < 1
    gemma = next(r for r in found if (r["model"], r["variable"]) == ("codegemma-2b", "global energy"))
    assert gemma["welch_p"] == ""
    assert "welch-anova" in gemma["notes"]


def test_latex_is_balanced_booktabs_with_everything_escaped(view: StudyView) -> None:
    text = to_latex(make_table(view, "energy"))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert text.count(r"\begin{") == text.count(r"\end{")
    plain = re.sub(r"\\[{}$&#%_]", "", text)
    assert plain.count("{") == plain.count("}")
    assert r"\textless{}CPU, TORCH\textgreater{}" in text
    assert r"needs 10.0 GB \& more" in text
    assert r"$\sim$5" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    layout = re.search(r"\\begin\{tabular\}\{(.*)\}\n", text)
    assert layout is not None
    count = len(re.sub(r"@\{[^}]*\}", "", layout.group(1)))
    lines = [one for one in body.splitlines() if one.endswith(r"\\")]
    assert len(lines) == 6
    assert all(len(re.findall(r"(?<!\\)&", one)) == count - 1 for one in lines)


def test_a_long_table_runs_over_pages_with_its_heads(published: StudyView) -> None:
    text = to_latex(make_table(published, "energy"))
    assert r"\begin{longtable}" in text and r"\endfirsthead" in text and r"\endhead" in text
    assert "usepackage{booktabs,longtable}" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b & 50 % #1", r"a\_b \& 50 \% \#1"),
        ("{x}^2 ~3 $", r"\{x\}\textasciicircum{}2 $\sim$3 \$"),
        ("C:\\dir", r"C:\textbackslash{}dir"),
        ("<CUDA, ONNX>", r"\textless{}CUDA, ONNX\textgreater{}"),
        ("[0.9, 1.1] µJ", r"{[}0.9, 1.1] $\mu$J"),
        ("—", "---"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_html_escapes_and_names_its_parts(view: StudyView) -> None:
    class Cells(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(tag)

    text = to_html(make_table(view, "energy"), sortable=True)
    parser = Cells()
    parser.feed(text)
    assert parser.tags.count("tr") == 7
    assert "&lt;CPU, TORCH&gt;" in text and "<CPU" not in text
    assert "GB &amp; more" in text
    # The model's name stands in every row, so that sorting keeps it, but quietly where it repeats.
    assert text.count(">pythia-410m<") == 3
    assert text.count('class="same"') == 4
    page = FORMS["html"](make_table(view, "energy"))
    assert page.startswith("<!DOCTYPE html>") and "</html>" in page


def test_estimates_line_up_at_their_points_in_text(published: StudyView) -> None:
    lines = [one for one in to_text(make_table(published, "size-groups")).splitlines() if "<CPU" in one]
    ends = {one.rindex(".") for one in lines if "." in one.split()[-1]}
    assert len(ends) == 1


def test_two_campaigns_are_kept_apart() -> None:
    pair = [observation(campaign=c, energy_j_per_token=e) for c, e in (("h200", 1.0), ("laptop", 2.0))]
    found = rows(make_table(observed(pair), "energy"))
    assert [(r["campaign"], float(r["energy_j_per_token"])) for r in found] == [("h200", 1.0), ("laptop", 2.0)]


def test_weights_that_differ_between_campaigns_are_marked_where_they_differ() -> None:
    mixed = [observation(campaign="a", weights=Weights.TRAINED), observation(campaign="b")]
    text = to_text(make_table(observed(mixed), "energy"))
    assert "b a" in next(one for one in text.splitlines() if " b a " in one)
    assert "a  weights: random" in text


def test_savings_that_no_model_allows_are_told_once() -> None:
    cuda = [
        observation(m, c, campaign="h200") for m in ("phi2", "tinyllama") for c in ("<CUDA, TORCH>", "<CUDA, ONNX>")
    ]
    table = make_table(observed(cuda), "savings")
    assert not any(r["source"] == "h200" and r["definition"] == "within-cpu" for r in rows(table))
    told = next(n for n in table.notes if n.startswith("h200: no model has all"))
    assert "within-cpu" in told and "within-cuda," not in told


def test_some_random_weights_are_marked_one_by_one() -> None:
    mixed = [observation("phi2", weights=Weights.TRAINED), observation("tinyllama")]
    found = rows(make_table(observed(mixed), "energy"))
    assert {r["model"]: r["notes"] for r in found} == {"tinyllama": "weights: random", "phi2": ""}


def test_every_table_in_every_form_of_a_whole_study() -> None:
    whole = observed(study(models=3, blocks=4), tested=True)
    names = possible(whole)[0]
    assert set(TABLES) - set(names) == {"http"}  # nothing of it was measured both ways
    for name in names:
        table = make_table(whole, name)
        assert table.name == name and table.rows
        for render in FORMS.values():
            assert render(table).strip()


def test_selecting_an_unknown_model_names_the_known() -> None:
    assert {o.model for o in select(small(), ["codegemma-2b"])} == {"codegemma-2b"}
    with pytest.raises(InputError, match="phi3") as unknown:
        select(small(), ["phi3"])
    assert "codegemma-2b" in unknown.value.hint


def test_no_observations_are_no_study() -> None:
    with pytest.raises(InputError, match="no observations"):
        observed(())


def test_p_values_effects_and_letters() -> None:
    columns = (Column("p", "p", Form.P_VALUE), Column("d", "d", Form.EFFECT))
    table = Table("t", "t", columns, ((Entry(0.0004), Entry(-0.5)), (Entry(0.04), Entry(1.0))), grouped=0)
    text = to_text(table)
    assert "<0.001" in text and "-0.50" in text and "0.040" in text and "+1.00" in text
    assert [letters(i) for i in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]

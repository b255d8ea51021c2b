"""The page's scripts: the data they work with, and in a headless browser what they make of it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from servewatt.experiment.deciding import Decided, decide
from servewatt.recommendation.records import Constraints
from servewatt.report.html import render_html
from servewatt.report.page_data import page_data
from servewatt.report.run.race import race_table
from servewatt.report.run.ranking import ranking_table
from servewatt.report.view import view
from servewatt.stats.race.pairs import compare_costs
from servewatt.stats.race.rules import error_of_each
from tests.report.races import ONNX, OPENVINO, SLOW, TORCH, race
from tests.report.test_html import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")


@pytest.fixture(scope="module")
def decided() -> Decided:
    """int4 needs 1 J and 0.43 s a request, onnx 1.05 J, torch 2 J, torchscript 9 J."""
    return decide(race())


@pytest.fixture(scope="module")
def html(decided: Decided) -> str:
    return render_html(decided.analysis, decided.recommendation, decided.results)


@pytest.fixture(scope="module")
def opened(html: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Page]:
    """The page as the browser shows it with this state in its address, after `script` has run."""
    folder = tmp_path_factory.mktemp("page")

    def open_(script: str = "", **state: object) -> Page:
        path = folder / "report.html"
        path.write_text(html.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
        address = f"{path.as_uri()}#{urlencode(state)}"
        return Page(_visible(_dumped(address, folder)))

    return open_


def _dumped(address: str, folder: Path) -> str:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [str(BROWSER), *options, "--virtual-time-budget=5000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def _visible(dom: str) -> str:
    """Without scripts, rows that are hidden, and what HTML lets be left out."""
    dom = re.sub(r"<script.*?</script>", "", dom, flags=re.S)
    dom = re.sub(r'<tr[^>]* hidden="".*?</tr>', "", dom, flags=re.S)
    return re.sub(r"<svg.*?</svg>", "", dom, flags=re.S)


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_holds_what_its_scripts_need(decided: Decided, html: str) -> None:
    data = embedded(html)
    assert [c["key"] for c in data["configurations"]] == [c.key for c in (OPENVINO, ONNX, TORCH, SLOW)]
    assert data["choice"] == OPENVINO.key
    energy = data["configurations"][0]["energy"]
    assert energy[1] < energy[0] < energy[2]
    error = error_of_each(0.95, 4)
    told = compare_costs(decided.analysis.all_costs, OPENVINO, ONNX, error=error)
    first, second, difference, half, upper = data["pairs"][0]
    assert (first, second) == (OPENVINO.key, ONNX.key)
    assert told is not None and told.ratio.low is not None
    assert difference - half == pytest.approx(math.log(told.ratio.low))
    assert 0 < upper < half


def test_every_table_of_the_page_can_be_taken_as_csv(decided: Decided, html: str) -> None:
    tables = embedded(html)["tables"]
    assert {"ranking", "race", "details", "comparisons", "trials", "facts"} <= set(tables)
    rows = list(csv.DictReader(io.StringIO(tables["race"])))
    assert [row["episodes"] for row in rows] == ["4", "4", "2", "1"]
    assert set(re.findall(r'data-name="(\w+)"', html)) <= set(tables)


def test_what_the_recommendation_excludes_is_no_choice_of_the_page() -> None:
    made = decide(race(), limits=Constraints(max_memory_bytes=1))
    shown = view(made.analysis, made.recommendation)
    ranked = ranking_table(shown, made.analysis)
    data = json.loads(
        page_data(made.analysis, made.recommendation, ranked, (race_table(made.analysis, made.recommendation),))
    )
    assert (data["choice"], [c["able"] for c in data["configurations"]], data["pairs"]) == (None, [False] * 4, [])


def test_a_name_cannot_end_the_script(decided: Decided) -> None:
    ranked = ranking_table(view(decided.analysis, decided.recommendation), decided.analysis)
    evil = race_table(decided.analysis, decided.recommendation)
    evil = type(evil)("x", "t", evil.columns[:1], tuple((type(r[0])("</script><b>"),) for r in evil.rows))
    text = page_data(decided.analysis, decided.recommendation, ranked, (evil,))
    assert "<" not in text
    assert "</script><b>" in json.loads(text)["tables"]["x"]


@in_a_browser
def test_without_limits_the_page_chooses_what_the_report_does(opened: Callable[..., Page]) -> None:
    text = opened().text
    assert "Serve with openvino/cpu/int4/b1: nothing else within these limits saves more than 3" in text
    assert text.count("no limit") == 2


@in_a_browser
def test_a_link_restores_limits_filter_and_the_two_side_by_side(opened: Callable[..., Page]) -> None:
    """Only the int4 configuration needs no more than 1.02 J; torch costs twice as much."""
    text = opened(energy=1.02, filter="torch fp32", a=OPENVINO.key, b=TORCH.key).text
    assert "at most 1020 mJ/token" in text
    assert "Serve with openvino/cpu/int4/b1: it is the only one shown to meet these limits." in text
    ranking = text[text.index("By energy per generated token") : text.index("Within limits of yours")]
    assert "torchscript" in ranking and "onnx" not in ranking.split("More measures")[0]
    assert re.search(r"openvino int4 needs (49\.\d|50|50\.\d) % less \[4\d(\.\d)?, 5\d(\.\d)?\]", text)


@in_a_browser
def test_limits_that_nothing_meets_say_so(opened: Callable[..., Page]) -> None:
    text = opened(energy=0.5).text
    assert "None is shown to meet these limits." in text
    # After two blocks there is no interval by which they could fail.
    assert "Not shown to meet them yet: torch/cpu/fp32/b1, torchscript/cpu/fp32/b1." in text


@in_a_browser
def test_moving_a_slider_changes_the_choice_and_the_address(opened: Callable[..., Page]) -> None:
    move = (
        "const s = document.getElementById('limit-latency'); s.value = 0; s.dispatchEvent(new Event('input'));"
        "document.title = location.hash;"
    )
    page = opened(move)
    assert "None is shown to meet these limits." in page.text
    assert re.search(r"#latency=0\.\d+", page.text)


@in_a_browser
def test_tables_and_figures_are_saved_as_csv_and_png(opened: Callable[..., Page]) -> None:
    """What the buttons hand to the browser is written into the page instead of a file."""
    watch = """
      const made = [];
      URL.createObjectURL = (content) => { made.push(content); return "#"; };
      HTMLAnchorElement.prototype.click = function () {
        const content = made.at(-1);
        content.arrayBuffer().then((bytes) => {
          const head = String.fromCharCode(...new Uint8Array(bytes).slice(0, 24)).replace(/[^ -~]/g, "?");
          document.body.append(Object.assign(document.createElement("p"),
            { textContent: `saved ${this.download} ${content.type} ${bytes.byteLength > 2000} ${head}` }));
        });
      };
      for (const name of ["race.csv", "race.png", "ranking.png"])
        for (const button of document.querySelectorAll(`button[title="${name}"]`)) button.click();
    """
    text = opened(watch).text
    assert "saved race.csv text/csv" in text and "configuration,episodes,m" in text
    assert text.count("saved race.png image/png true ?PNG") == 2  # the figure's and the table's
    assert "saved ranking.png image/png true ?PNG" in text

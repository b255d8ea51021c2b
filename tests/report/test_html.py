from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from servewatt.recommendation.choose import choose
from servewatt.recommendation.records import Constraints
from servewatt.records import Provider, Status
from servewatt.report.html import render_html
from servewatt.stats.analyse import analyse
from servewatt.stats.records import ConfigurationSummary, StatusCount
from tests.report import synthetic

VOID = {"meta", "link", "br", "img", "input", "hr", "col"}
SVG_EMPTY = {"path", "use", "rect", "line", "circle"}


class Page(HTMLParser):
    """Collects elements and text, and insists that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html() -> str:
    return render_html(
        synthetic.analysis(), synthetic.recommendation(), synthetic.results(), command="servewatt run study.yaml"
    )


def test_it_needs_no_other_file_and_no_network(html: str) -> None:
    assert "://" not in html
    assert "@import" not in html
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "img", "object", "embed"}
        for name in ("src", "href", "xlink:href", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, value)
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]+)\)", html))


def test_the_answer_and_the_numbers_given_are_shown(html: str) -> None:
    text = Page(html).text
    assert synthetic.recommendation().sentence in text
    assert text.index("Serve torch/cuda/bf16/b1") < text.index("Ranking")
    for shown in ("~527 [511, 543]", "22 [16, 27]", "mJ/token", "446", "2.29/2.40", "87.1", "4/5"):
        assert shown in text
    assert "servewatt run study.yaml" in text
    assert synthetic.MODEL.revision in text


def test_every_section_of_the_report_is_there(html: str) -> None:
    ids = [a.get("id") for t, a in Page(html).elements if t == "h2"]
    expected = [
        "answer",
        "ranking",
        "limits-of-yours",
        "figures",
        "comparisons",
        "excluded",
        "trials",
        "proof",
        "environment",
        "method",
        "reproduce",
    ]
    assert ids == expected


def test_it_is_accessible(html: str) -> None:
    page = Page(html)
    tags = [t for t, _ in page.elements]
    assert tags.count("caption") == tags.count("table") > 3
    assert tags.count("h1") == 1
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("role") == "img"
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for target in (attributes.get("aria-labelledby") or "").split():
            assert target in ids


def test_estimates_are_marked_in_their_own_row(html: str) -> None:
    row = next(r for r in re.findall(r"<tr.*?</tr>", html, re.S) if "~412" in r)
    assert "estimated" in row


def test_random_weights_are_stated_with_answer_tables_and_figures(html: str) -> None:
    assert "random" not in Page(html).text.replace("seeded random order", "")
    page = render_html(synthetic.random_weights(synthetic.analysis()), synthetic.recommendation(), synthetic.results())
    assert page.count("weights: random") > 8


def test_a_malicious_option_is_text_everywhere() -> None:
    case = synthetic.CASES[0]
    attack = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    evil = replace(case[0], options=(("o", attack),))
    summary = synthetic.summary((evil, *case[1:]))
    crashed = ConfigurationSummary(synthetic.FAILED, (StatusCount(Status.CRASHED, 1, attack),), 0)
    result = replace(synthetic.result(evil, 0, 0, 0.4, 500.0), reason=attack, hint=attack)
    page = render_html(
        synthetic.analysis(summaries=(summary, crashed), comparisons=(), rankings=(), warnings=(attack,)),
        synthetic.recommendation(choice=evil, candidates=(evil,), sentence=attack, exclusions=()),
        [result],
        command=attack,
    )
    assert "<script>alert" not in page
    parsed = Page(page)
    assert not [t for t, _ in parsed.elements if t == "img"]
    assert [t for t, _ in parsed.elements].count("script") == 2  # the data, and what works with them
    assert attack in parsed.text


def test_every_trial_is_listed_with_its_reason(html: str) -> None:
    text = Page(html).text
    assert "30 trials, of which 24 count" in text
    assert "other processes used 9 % of the CPU time (close them)" in text
    assert "~cpu:estimate 536 J estimated, gpu:0 1.61 kJ" in text


def test_nothing_measured_is_still_a_page() -> None:
    nothing = synthetic.recommendation(choice=None, candidates=(), runner_up=None, exclusions=(), sentence="No trial.")
    empty = synthetic.analysis(summaries=(), comparisons=(), rankings=(), warnings=(), reference=None)
    assert "No configuration has been measured yet." in Page(render_html(empty, nothing)).text
    crashed = ConfigurationSummary(synthetic.FAILED, (StatusCount(Status.CRASHED, 3, "signal 11"),), 0)
    failed = replace(empty, summaries=(crashed,))
    assert "no valid trial: 3 crashed: signal 11" in Page(render_html(failed, nothing)).text


def test_limits_are_named_beside_the_answer() -> None:
    limits = Constraints(max_latency_p95_s=2.0, max_ttft_s=0.05, max_memory_bytes=4 * 2**30, provider=Provider.CPU)
    page = render_html(synthetic.analysis(), synthetic.recommendation(constraints=limits))
    expected = "request p95 at most 2.00 s, TTFT p95 at most 50.0 ms, memory at most 4.00 GiB, provider cpu"
    assert expected in Page(page).text


def test_a_computed_analysis_is_shown_as_computed() -> None:
    results = synthetic.results()
    analysis = analyse(synthetic.run(), results)
    recommendation = choose(analysis, Constraints(max_latency_p95_s=1.0))
    page = Page(render_html(analysis, recommendation, results))
    assert recommendation.sentence in page.text
    assert "~412" in page.text and "~2310" in page.text
    # At 42 and 61 tokens/s, 64 tokens take more than a second.
    assert page.text.count("excluded") >= 3


def test_forty_configurations() -> None:
    page = Page(render_html(synthetic.many(), synthetic.recommendation()))
    assert "a_long_option=39" in page.text

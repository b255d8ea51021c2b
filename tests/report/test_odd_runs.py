"""Whatever a run holds, every form of the report can be made of it and reads as text for people."""

from __future__ import annotations

import io
import json
import math
import random
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from servewatt.recommendation import choose
from servewatt.recommendation.order import in_order_of_choice
from servewatt.recommendation.records import Constraints, Recommendation
from servewatt.records import Configuration, Precision, Provider, Result, Run, Section, Status
from servewatt.report.export import configurations_csv, to_json, trials_csv
from servewatt.report.figures import figures
from servewatt.report.html import render_html
from servewatt.report.markdown import to_markdown
from servewatt.report.plain_text import MOST_CHARACTERS, cleaned, plain
from servewatt.report.terminal import render_terminal
from servewatt.stats import analyse
from servewatt.stats.records import Analysis
from tests.report import synthetic

ODD = (
    "",
    "<script>alert(1)</script>",
    "a|b\\c`d*e_f[g](h)#$%&{}~^",
    "two\nlines\tand a tab",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J",
    "\u202eright to left\u202c \u2066isolated\u2069",
    "\x00\x07\x9b",
    "\ud800 lone surrogate",
    "[bold]markup[/bold] :smile:",
    "é漢字🙂",
)
OPTIONS = tuple((("name", text),) for text in ODD if text)
CONFIGURATIONS = tuple(
    Configuration(engine, provider, Precision.FP32, batch=batch, options=options)
    for engine, provider, batch in (("torch", Provider.CUDA, 1), ("onnx", Provider.CPU, 4), ("torch", Provider.CPU, 1))
    for options in ((), *OPTIONS)
)
BAD = re.compile(r"\b(nan|NaN|inf|Infinity|None)\b|\b1 (configurations|blocks|prompts|trials|tokens|rows|CPUs|files)\b")
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def trial(draw: random.Random, configuration: Configuration, block: int) -> Result:
    joules = draw.choice([1e-9, 0.4, 0.4, 0.41, 2.0, 1e9])
    made = synthetic.result(replace(configuration, options=()), block, 0, joules, 50.0)
    made = replace(made, trial=replace(made.trial, configuration=configuration))
    status = draw.choice([Status.OK] * 10 + list(Status))
    if status is not Status.OK:
        return Result(made.trial, status, draw.choice(ODD), draw.choice(ODD))

    def changed(section: Section) -> Section:
        factor = draw.choice([1.0, 1.0, 1.0, 0.0, 50.0, -1.0, math.nan, math.inf])
        energy = tuple(replace(e, energy_j=e.energy_j * factor) for e in section.energy)
        kept = draw.choice([energy, energy, energy, energy[:1], ()])
        tokens = section.tokens_out * draw.choice([1, 1, 1, 0])
        return replace(section, energy=kept, tokens_out=tokens)

    sections = tuple(changed(s) for s in made.sections if draw.random() < 0.9)
    made = replace(made, sections=sections)
    return draw.choice([made, made, replace(made, generations=()), replace(made, facts=None, power=())])


def odd_run(seed: int) -> tuple[Run, list[Result]]:
    """Few configurations with odd names, few blocks; failed trials, missing sections, no tokens, negative joules."""
    draw = random.Random(seed)
    chosen = draw.sample(CONFIGURATIONS, draw.randint(1, 4))
    blocks = draw.randint(1, 4)
    results = [trial(draw, c, block) for c in chosen for block in range(blocks) if draw.random() < 0.85]
    made = synthetic.run(blocks=blocks)
    name, prompts = draw.choice(ODD), draw.choice([1, 40])
    workload = replace(made.plan.workload, name=name, prompts=made.plan.workload.prompts[:prompts], new_tokens=prompts)
    plan = replace(made.plan, configurations=tuple(chosen), workload=workload)
    environment = replace(made.environment, cpu=name, cpu_count=prompts, governor=None, gpus=())
    return replace(made, plan=plan, environment=environment), results


def shown(run: Run, results: list[Result], limits: Constraints | None = None) -> tuple[Analysis, Recommendation]:
    analysis = analyse(run, results)
    answer = choose(analysis, limits or Constraints())
    return in_order_of_choice(analysis, answer), answer


def terminal(analysis: Analysis, answer: Recommendation, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        render_terminal(console, analysis, answer)
    return captured.get()


def text_of(page: str) -> str:
    """The words of a page, without styles and scripts."""
    found: list[str] = []

    class Reader(HTMLParser):
        silent = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.silent = tag in {"style", "script"}

        def handle_endtag(self, tag: str) -> None:
            self.silent = False

        def handle_data(self, data: str) -> None:
            if not self.silent:
                found.append(data)

    Reader().feed(page)
    return "\n".join(found)


def check(text: str) -> None:
    """Nothing in it that only programs say, and nothing that moves the cursor or turns the direction of writing."""
    assert not (found := BAD.search(text)), text[max(0, found.start() - 60) : found.end() + 60]
    assert not (unsafe := UNSAFE.search(text)), repr(text[max(0, unsafe.start() - 60) : unsafe.end() + 60])


SEEDS = st.integers(0, 2**32)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([Constraints(), Constraints(max_ttft_s=0.1), Constraints(max_memory_bytes=10**9)]))
def test_every_text_form_of_any_run(seed: int, limits: Constraints) -> None:
    run, results = odd_run(seed)
    analysis, answer = shown(run, results, limits)
    for width in (80, 120):
        page = terminal(analysis, answer, width)
        check(page)
        assert all(cell_len(line) <= width for line in page.splitlines())
    check(to_markdown(analysis, answer))
    json.loads(to_json(cleaned(analysis), cleaned(answer)))
    assert not re.search(r"\b(nan|inf|None)\b", trials_csv(results) + configurations_csv(analysis))


@settings(max_examples=3, deadline=None)
@given(SEEDS)
def test_page_and_figures_of_any_run(seed: int) -> None:
    run, results = odd_run(seed)
    analysis, answer = shown(run, results)
    page = render_html(analysis, answer, results)
    check(text_of(page))
    assert "<script>alert" not in page


def test_json_of_an_odd_run_can_be_read_back() -> None:
    results = [replace(synthetic.result(c, 0, 0, 0.4, 50.0), reason=ODD[4]) for c in CONFIGURATIONS[:3]]
    analysis, answer = shown(replace(synthetic.run()), results)
    found = json.loads(to_json(analysis, answer, results))
    assert found["trials"][0]["reason"] == ODD[4], "other programs get what was stored"


def test_a_reason_of_100_kilobytes_is_cut_in_what_people_read() -> None:
    configuration, other = CONFIGURATIONS[0], CONFIGURATIONS[1]
    ok = [synthetic.result(other, b, 0, 0.4, 50.0) for b in range(3)]
    failed = [Result(synthetic.result(configuration, 0, 1, 0.4, 50.0).trial, Status.FAILED, "word " * 20_000)]
    analysis, answer = shown(replace(synthetic.run()), ok + failed)
    assert len(terminal(analysis, answer)) < 12_000
    assert len(to_markdown(analysis, answer)) < 12_000
    assert re.search("(word )+…|word w…|wo…", to_markdown(analysis, answer)) or "…" in to_markdown(analysis, answer)
    assert len(to_json(analysis, answer, ok + failed)) > 100_000


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("as it is, with two  spaces", "as it is, with two  spaces"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\nb\r\n\tc", "a b c"),
        ("\u202eevil\u202c", "evil"),
        ("bell\x07 and \x9bC1", "bell\ufffd and \ufffdC1"),
        ("\ud800", "\ufffd"),
        ("no\xa0break é漢🙂", "no break é漢🙂"),
    ],
)
def test_plain_text(text: str, shown_as: str) -> None:
    assert plain(text) == shown_as


def test_plain_text_is_cut_once_it_is_too_long() -> None:
    assert plain("x" * 400, MOST_CHARACTERS) == "x" * 400
    assert plain("x" * 401, MOST_CHARACTERS) == "x" * 399 + "…"
    assert plain("\x1b[0m" * 500 + "end", MOST_CHARACTERS) == "…"


def test_what_needs_no_cleaning_is_the_same_record() -> None:
    analysis = synthetic.analysis()
    assert cleaned(analysis) is analysis


def test_two_hundred_configurations_are_shown_whole_in_the_tables() -> None:
    analysis = synthetic.many(200)
    answer = choose(analysis, Constraints())
    page = terminal(analysis, answer, 120)
    assert page.count("a_long_opt") >= 200
    assert re.search(r"^\W*200 ", page, re.MULTILINE)
    drawn = {f.name: f for f in figures(analysis)}
    assert "60 of 200 configurations shown" in drawn["energy"].note
    assert "60 of 199 configurations shown" in drawn["ratios"].note
    assert "20 of 200 configurations shown" in drawn["blocks"].note

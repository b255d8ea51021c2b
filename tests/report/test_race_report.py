"""The first screen and the race, in every form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.experiment.deciding import Decided, decide
from servewatt.quality import Agreement, Assessment, Perplexity, Quality
from servewatt.recommendation.records import Constraints
from servewatt.records import Grade, Interval, Status
from servewatt.report.figures import figures
from servewatt.report.html import render_html
from servewatt.report.markdown import to_markdown
from servewatt.report.next_steps import next_steps
from servewatt.report.run.answer import answer_facts, headline
from servewatt.report.run.race import race_table
from servewatt.report.run.tables import run_latex, run_tables
from servewatt.report.table import Mark
from servewatt.report.table_forms import to_csv, to_text
from tests.report.races import ONNX, OPENVINO, SLOW, TORCH, race
from tests.report.test_html import Page


@pytest.fixture(scope="module")
def decided() -> Decided:
    return decide(race())


def facts(made: Decided) -> dict[str, str]:
    return dict(answer_facts(made.analysis, made.recommendation))


def commands(made: Decided) -> list[str]:
    return [step.command for step in next_steps(made.analysis, made.recommendation)]


def assessed(made: Decided) -> Decided:
    """The same with the quality of the int4 configuration."""
    ratio = Interval(1.031, 1.022, 1.04, 24)
    own = Assessment(
        OPENVINO, Status.OK, agreement=Agreement(2, 0.5, 0.62, 9.0), perplexity=Perplexity(3.1, 0.9, ratio)
    )
    reference = Assessment(TORCH, Status.OK)
    model = made.run.plan.model
    quality = Quality(model, TORCH, "two", "0", 4, (reference, own), None, "0.1.0")
    return replace(made, analysis=replace(made.analysis, quality=quality))


def test_the_first_screen_says_what_it_saves_what_is_promised_and_what_is_not_known(decided: Decided) -> None:
    """int4 needs half of what torch does; onnx might save a little."""
    shown = facts(decided)
    assert shown["saves"].startswith("50 % [")
    assert shown["saves"].endswith(
        "of the energy that torch/cpu/fp32/b1 (torch in fp32, which most people run today) needs"
    )
    assert shown["promise"].startswith("nothing else measured saves more than ")
    assert shown["outputs"].startswith("nothing is known of what int4 costs in quality")
    assert shown["costs"].startswith("998 mJ/token [")
    assert "in doubt" not in shown
    assert any(c == "servewatt quality --model bundled --configuration openvino/cpu/int4/b1" for c in commands(decided))


def test_what_is_known_of_the_outputs_is_said_and_no_longer_asked_for(decided: Decided) -> None:
    known = assessed(decided)
    assert facts(known)["outputs"].startswith("perplexity ratio 1.0310 [1.0220, 1.0400], same beginning 62")
    assert not any(c.startswith("servewatt quality") for c in commands(known))
    assert commands(known)  # there is always something to type


def test_what_could_overturn_the_choice_is_on_the_first_screen() -> None:
    doubtful = decide(race(grade=Grade.ESTIMATED))
    assert facts(doubtful)["in doubt"] == "a warning below could overturn the choice"
    page = Page(render_html(doubtful.analysis, doubtful.recommendation, doubtful.results)).text
    assert page.index("could overturn the choice") < page.index("The race")
    assert "; this could overturn the choice" in to_markdown(doubtful.analysis, doubtful.recommendation)


def test_a_race_that_is_not_decided_is_to_go_on() -> None:
    """Two episodes of 120 s do not tell 1.05 from 1; the command names a budget of whole minutes."""
    short = decide(race(episodes=2, noise=0.05))
    assert not short.recommendation.decided
    (command,) = [c for c in commands(short) if "--budget" in c]
    assert command.startswith("servewatt run … --budget ") and command.endswith("min")
    assert "wanted are 3 %" in facts(short)["promise"]


def test_the_saving_is_told_as_it_is() -> None:
    """Of torch itself nothing; of a dearer baseline its ratio; of none that it is not known."""
    assert facts(decide(race({TORCH: 1.0, ONNX: 2.0})))["saves"].startswith("nothing: it is torch in fp32")
    assert facts(decide(race({OPENVINO: 1.0, ONNX: 2.0})))["saves"].startswith("not known: torch in fp32")
    close = facts(decide(race(), against="onnx"))["saves"]
    assert close.startswith("not told yet: it needs 0.9") and close.endswith("times the energy of onnx/cpu/fp32/b1")


def test_a_limit_to_drop_is_named() -> None:
    """int4 and onnx need a fifth of the others' time too; only torchscript is on the CPU within no limit."""
    found = race()
    results = [replace(r, peak_rss_bytes=10**9) if r.trial.configuration == OPENVINO else r for r in found.results]
    limited = decide(replace(found, results=results), limits=Constraints(max_memory_bytes=10**6))
    assert limited.recommendation.choice == ONNX
    assert facts(limited)["promise"].startswith("nothing else within the limits saves more than")
    freed = decide(replace(found, results=results), limits=Constraints(max_memory_bytes=10**6), against="openvino")
    assert "openvino/cpu/int4/b1" in facts(freed)["saves"]
    dearer = [r for r in results if r.trial.configuration != ONNX]
    step = next_steps(*_parts(decide(replace(found, results=dearer), limits=Constraints(max_memory_bytes=10**6))))
    assert [s.command for s in step if "without --max-memory, openvino/cpu/int4/b1 would need 50 %" in s.why] == [
        "servewatt recommend run-1"
    ]


def _parts(made: Decided) -> tuple:  # type: ignore[type-arg]
    return made.analysis, made.recommendation


def test_the_table_of_the_race(decided: Decided) -> None:
    """Torch costs twice as much, torchscript nine times."""
    table = race_table(decided.analysis, decided.recommendation)
    assert [e.value for e in table.column("configuration")] == [c.key for c in (OPENVINO, ONNX, TORCH, SLOW)]
    assert table.marks[:2] == (Mark.CHOICE, Mark.CANDIDATE)
    assert [e.value for e in table.column("episodes")] == [4, 4, 2, 1]
    out = [e.value for e in table.column("out_after")]
    assert out[:2] == [None, None]
    # What is far behind is out after one start.
    assert out[2:] == [2, 1]
    least = table.column("costs_at_least")[3].value
    assert isinstance(least, float) and 2 < least < 9
    assert table.column("could_save")[1].number == pytest.approx(0.03, abs=0.015)
    lines = to_csv(table).splitlines()
    assert lines[0].startswith("configuration,episodes,measured_s,out_after,beaten_by,costs_at_least,could_save")
    assert "nothing" in to_text(table)


def test_every_form_holds_the_race(decided: Decided) -> None:
    analysis, answer = decided.analysis, decided.recommendation
    assert {"answer", "race"} <= {table.name for table in run_tables(analysis, answer)}
    assert "label{tab:race}" in run_latex(analysis, answer)
    assert "## The race" in to_markdown(analysis, answer)
    page = render_html(analysis, answer, decided.results)
    assert '<figure class="drawn race">' in page
    assert Page(page).text.index("The race") < Page(page).text.index("Ranking")


def test_the_picture_of_the_race_ends_where_each_was_dropped(decided: Decided) -> None:
    drawn = {f.name: f for f in figures(decided.analysis, (), decided.recommendation)}["race"]
    svg = drawn.svg
    assert "torchscript fp32 · after 1 episode · " in svg and "out after episode 1" in svg
    assert "torchscript fp32 · after 2 episodes" not in svg
    assert "out after episode 2" in svg
    assert "onnx fp32 · after 4 episodes · " in svg
    assert "times the energy" in str(drawn.specification(350))
    assert "race" not in {f.name for f in figures(decided.analysis)}


def test_one_configuration_is_no_race() -> None:
    alone = decide(race({OPENVINO: 1.0}))
    assert race_table(alone.analysis, alone.recommendation).rows == ()
    assert facts(alone)["promise"] == "none: there is nothing to compare it with"
    assert "The race" not in Page(render_html(alone.analysis, alone.recommendation)).text


def test_the_headline_is_what_to_serve() -> None:
    assert headline("Serve with a/b: it needs 3 % less.") == ("Serve with a/b:", "it needs 3 % less.")
    assert headline("No configuration has a valid trial yet.") == ("No configuration has a valid trial yet.", "")

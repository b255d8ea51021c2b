"""`import servewatt`: what is offered, and the pipeline through it over the fake engine."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import servewatt
from servewatt import Configuration, Procedure, ServewattError, Work
from servewatt.cli.main import run as command
from servewatt.experiment.events import Event, Planned, TrialEnded

EXAMPLE = Path(__file__).parents[2] / "examples" / "h200-bundled.json.gz"
QUICK = Procedure(blocks=3, settle_s=0, idle_s=0.1, window_s=0.3, warmup_s=0.05, foreign_limit=1.0, meters=("fake",))
WORK = Work(prompts="bundled:2", new_tokens=4)
TWO = (Configuration("fake"), Configuration("fake", batch=2))


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notice(self, event: Event, /) -> None:
        self.events.append(event)


def measure(observer: Kept | None = None, configurations: Sequence[Configuration | str] = TWO) -> servewatt.Measurement:
    return servewatt.measure("bundled", configurations, work=WORK, procedure=QUICK, observer=observer)


def test_the_surface_is_this_and_documented() -> None:
    functions = {"measure", "load", "analyse", "recommend", "assess_quality", "write_report"}
    assert functions | {"Configuration", "Procedure", "EnergyMeter", "__version__"} <= set(servewatt.__all__)
    assert set(servewatt.__all__) <= set(dir(servewatt))
    for name in servewatt.__all__:
        offered = getattr(servewatt, name)
        if name != "__version__":
            assert inspect.getdoc(offered), name
    for name in functions:
        assert inspect.signature(getattr(servewatt, name)).return_annotation, name
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        _ = servewatt.mesure


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, servewatt; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(eval(done.stdout))
    assert not imported & {"numpy", "torch", "sqlalchemy", "pydantic", "click", "rich", "matplotlib", "transformers"}


def test_a_model_is_measured_analysed_and_reported(tmp_path: Path) -> None:
    observer = Kept()
    found = measure(observer)
    assert found.succeeded
    assert [type(e) for e in observer.events].count(TrialEnded) == len(found.results) == 6
    assert next(e for e in observer.events if isinstance(e, Planned)).view.blocks == 3
    assert found.run.plan.procedure == QUICK
    # Two prompts a batch take as many steps as one, so at constant power half the energy.
    analysis = servewatt.analyse(found)
    assert str(analysis) == analysis.recommendation.sentence
    assert servewatt.recommend(found).choice == TWO[1]
    one_at_a_time = servewatt.Constraints(concurrency=1)
    assert servewatt.recommend(found, one_at_a_time).choice == TWO[0]
    table = analysis.to_dataframe()
    assert list(table["configuration"]) == ["fake/cpu/fp32/b2", "fake/cpu/fp32/b1"]
    ratio = table["energy_j_per_token"][0] / table["energy_j_per_token"][1]
    assert ratio == pytest.approx(0.5, rel=0.15)
    assert set(found.to_dataframe()["status"]) == {"ok"}
    html = analysis._repr_html_()
    assert analysis.recommendation.sentence.split()[0] in html and "<table" in html
    for name in ("page.html", "report.md", "report.json", "trials.csv", "run.json.gz", "folder"):
        assert servewatt.write_report(analysis, tmp_path / name).exists()
    assert json.loads((tmp_path / "report.json").read_text())["recommendation"]["choice"]["batch"] == 2
    assert (tmp_path / "folder" / "report.html").is_file()
    with pytest.raises(ServewattError, match=r"cannot write a report as .*report\.doc"):
        servewatt.write_report(found, tmp_path / "report.doc")


def test_the_same_call_goes_on_and_the_store_and_files_are_opened(tmp_path: Path) -> None:
    first = measure()
    observer = Kept()
    again = measure(observer)
    assert again.run == first.run
    assert not any(isinstance(e, TrialEnded) for e in observer.events)
    assert servewatt.load().run == first.run
    assert servewatt.load(first.run.id, samples=False).results[0].power == ()
    first.save(tmp_path / "run.json.gz")
    opened = servewatt.load(tmp_path / "run.json.gz")
    assert (opened.run.id, len(opened.results)) == (first.run.id, 6)
    with pytest.raises(ServewattError, match="there is no file"):
        servewatt.load(tmp_path / "other.json.gz")


def test_the_command_and_the_function_share_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    found = measure()
    assert command(["report", "latest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["analysis"]["run"]["id"] == found.run.id


def test_names_are_configurations_with_the_defaults() -> None:
    found = measure(configurations=["fake", "fake/int8/b2"])
    assert [c.key for c in found.run.plan.configurations] == ["fake/cpu/fp32/b1", "fake/cpu/int8/b2"]


def test_what_is_wrong_is_told_in_the_terms_of_python() -> None:
    with pytest.raises(ServewattError, match=r"procedure\.blocks: must be at least 1, not 0"):
        servewatt.measure(procedure=replace(QUICK, blocks=0))
    with pytest.raises(ServewattError, match=r"workload\.new_tokens: must be at least 1, not 0"):
        servewatt.measure(work=Work(new_tokens=0), procedure=QUICK)
    with pytest.raises(ServewattError, match="unknown engine 'fakke'"):
        measure(configurations=["fakke"])


@pytest.mark.parametrize(("fail", "status"), [("generate", "failed"), ("no such way", "refused")])
def test_a_configuration_that_cannot_run_is_a_result(fail: str, status: str) -> None:
    found = measure(configurations=[Configuration("fake", options=(("fail", fail),))])
    assert not found.succeeded
    assert {r.status.value for r in found.results} == {status}
    assert found.results[0].reason


def test_quality_is_kept_and_limits_on_it_are_met() -> None:
    found = measure()
    wanted = servewatt.QualityLimits(max_perplexity_ratio=1.01)
    with pytest.raises(ServewattError, match="limits on quality need measured quality") as error:
        servewatt.recommend(found, quality=wanted)
    assert "servewatt.assess_quality" in error.value.hint
    questions = servewatt.Questions(reference="fake/cpu/fp32", documents=4, text_tokens=16)
    quality = servewatt.assess_quality("bundled", TWO, work=WORK, questions=questions)
    assert [a.configuration for a in quality.assessments] == list(TWO)
    assert servewatt.recommend(servewatt.load(), quality=wanted).choice == TWO[1]


def test_figures_are_found_by_name(tmp_path: Path) -> None:
    analysis = servewatt.analyse(servewatt.load(EXAMPLE))
    plot = analysis.plot()
    assert "<svg" in plot._repr_svg_()
    plot.save(tmp_path / "energy.svg")
    assert (tmp_path / "energy.svg").read_text().count("<svg") == 1
    with pytest.raises(ServewattError, match="there is no figure 'energie' of this run") as error:
        analysis.plot("energie")
    assert "did you mean energy" in error.value.hint
    with pytest.raises(ServewattError, match="cannot write a figure as"):
        plot.save(tmp_path / "energy.bmp")

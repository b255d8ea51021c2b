from __future__ import annotations

import gc
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from servewatt.engines.fake.engine import FakeSession
from servewatt.experiment import naming
from servewatt.harness import child, worker
from servewatt.harness.child import Ended
from servewatt.harness.runner import prepare, run_trials
from servewatt.harness.schedule import preparation
from servewatt.meters.fake import FakeMeter
from servewatt.records import Facts, Grade, Result, Status, Via, Weights
from tests.harness.builders import QUICK, fake, run


def outcomes(results: list[Result]) -> list[tuple[int, str, Status]]:
    return [(r.trial.block, r.trial.configuration.key, r.status) for r in results]


def one(folder: Path, timeout_s: float = 60.0, **options: object) -> Result:
    procedure = replace(QUICK, blocks=1, timeout_s=timeout_s)
    (result,) = run_trials(run(folder, [fake(**options)], procedure), [])
    return result


def test_a_trial_measures_load_idle_prefill_and_generation(tmp_path: Path) -> None:
    result = one(tmp_path, step_ms=2)
    assert result.status is Status.OK, result.reason + result.log
    assert [s.name for s in result.sections] == ["load", "idle", "prefill", "generate"]
    generate = result.section("generate")
    assert generate is not None
    assert generate.duration_s >= 0.3
    # Three prompts of five tokens a pass, six prompt tokens a pass.
    assert generate.tokens_out == 15 * generate.passes
    assert generate.tokens_in == 6 * generate.passes
    assert len(result.generations) == 3 * generate.passes
    for generation in result.generations:
        assert len(generation.inter_token_s) == 4
        assert generation.ttft_s >= 0.002
        assert min(generation.inter_token_s) >= 0.002


def test_the_fake_meter_s_constant_power_comes_out_of_every_section(tmp_path: Path) -> None:
    for section in one(tmp_path).sections:
        powers = {e.domain: e.energy_j / section.duration_s for e in section.energy}
        assert powers == {"cpu:package-0": pytest.approx(20, rel=0.02), "gpu:0": pytest.approx(100, rel=0.02)}


def test_a_batch_larger_than_the_workload_is_full(tmp_path: Path) -> None:
    plan = run(tmp_path, [replace(fake(step_ms=2), batch=8)], replace(QUICK, blocks=1))
    (result,) = run_trials(plan, [])
    assert result.status is Status.OK, result.reason + result.log
    generate, prefill = result.section("generate"), result.section("prefill")
    assert generate is not None and prefill is not None
    # Prompts of 2, 1 and 3 tokens: twice all three, then the first two again.
    assert generate.tokens_in == (2 * 6 + 3) * generate.passes
    assert generate.tokens_out == 8 * 5 * generate.passes
    assert prefill.tokens_out == 8 * prefill.passes
    assert {g.rows for g in result.generations} == {8}
    assert result.repeated_rows == 5
    assert len(result.outputs) == 3


def test_outputs_are_kept_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    # The fake engine counts upwards from the sum of the prompt.
    assert one(tmp_path).outputs == ((3, 4, 5, 6, 7), (3, 4, 5, 6, 7), (15, 16, 17, 18, 19))


def test_utilisation_and_power_are_sampled_outside_the_worker(tmp_path: Path) -> None:
    result = one(tmp_path)
    assert len(result.utilisation) >= 5
    assert {p.domain for p in result.power} == {"cpu:package-0", "gpu:0"}
    assert result.sampler_cpu_s is not None
    assert any(sample.rss_bytes for sample in result.utilisation)


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        ("load", Status.REFUSED, "asked to refuse"),
        ("generate", Status.FAILED, "RuntimeError: the fake engine was asked to fail"),
        ("segv", Status.CRASHED, "SIGSEGV"),
        ("kill", Status.CRASHED, "SIGKILL"),
        ("exit", Status.FAILED, "exit code 7"),
        ("memory", Status.OUT_OF_MEMORY, "MemoryError"),
        ("claim", Status.REFUSED, "not what is claimed"),
    ],
)
def test_a_dying_engine_is_a_result_with_its_reason(tmp_path: Path, failure: str, status: Status, words: str) -> None:
    result = one(tmp_path, fail=failure)
    assert result.status is status
    assert words in result.reason
    assert result.hint


def test_a_failure_s_log_holds_what_its_reason_leaves_out(tmp_path: Path) -> None:
    result = one(tmp_path, fail="generate")
    assert "in _misbehave" in result.log and result.log.endswith("RuntimeError: the fake engine was asked to fail\n")
    assert result.hint == "the JSON of the run's report has its log (servewatt report r1 --json)"
    # What the engine itself explains needs no traceback.
    assert "Traceback" not in one(tmp_path, fail="load").log


@pytest.mark.parametrize(("log", "points"), [("libgomp: Thread creation failed\n", True), ("", False), (" \n", False)])
def test_a_crash_says_how_to_try_the_same_alone_and_where_its_log_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, points: bool
) -> None:
    monkeypatch.setattr(child, "run_module", lambda *_args, **_named: Ended(-11, False, b"", log, 0.0))
    configuration = replace(fake(step_ms=2, fail="a b"), batch=4, threads=3, via=Via.HTTP)
    plan = run(tmp_path, [configuration])
    model = replace(plan.plan.model, weights=Weights.RANDOM)
    (result, *_) = run_trials(replace(plan, plan=replace(plan.plan, model=model)), [])
    assert (result.status, result.log) == (Status.CRASHED, log)
    alone, _, where = result.hint.removeprefix("try it alone: ").partition("; ")
    assert where == ("the JSON of the run's report has its log (servewatt report r1 --json)" if points else "")
    words = shlex.split(alone)
    assert words[:6] == ["servewatt", "run", "--model", str(tmp_path), "--weights", "random"]
    assert words[6] == "--configuration" and naming.configuration(words[7]) == configuration
    assert words[8:] == ["--blocks", "1"]


def facts_that_change(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """From the end of the window on, the fake engine's facts have these fields."""
    read = FakeSession.facts
    at_first: list[Facts] = []

    def facts(session: FakeSession) -> Facts:
        found = read(session)
        if not at_first:
            at_first.append(found)
            return found
        return replace(found, **changes)

    monkeypatch.setattr(FakeSession, "facts", facts)


def measured_here(folder: Path) -> Result:
    """A trial in this process, which collects garbage again afterwards."""
    plan = run(folder, [fake()])
    try:
        return worker.run_trial(replace(preparation(plan, fake()), block=0), prepare=False)
    finally:
        gc.unfreeze()
        gc.enable()


def test_what_changed_in_the_window_is_among_the_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts_that_change(monkeypatch, detail=(("given_again", "3"),))
    result = measured_here(tmp_path)
    assert result.status is Status.OK, result.reason
    assert result.facts is not None
    assert result.facts.detail == (("given_again", "3"),)


def test_a_claim_that_was_broken_in_the_window_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts_that_change(monkeypatch, compute_dtype="bf16", kv_cache_dtype="bf16")
    result = measured_here(tmp_path)
    assert result.status is Status.REFUSED
    assert "matrix products are computed in bf16, the configuration says fp32" in result.reason
    assert result.facts is not None and result.facts.compute_dtype == "bf16"
    # What had been measured by then is kept beside it.
    assert [s.name for s in result.sections] == ["load", "idle", "prefill", "generate"]


def test_a_hanging_engine_is_timed_out(tmp_path: Path) -> None:
    result = one(tmp_path, timeout_s=3.0, fail="hang")
    assert result.status is Status.TIMED_OUT
    assert "3 s" in result.reason


def test_the_run_goes_on_after_a_crash_and_results_come_one_by_one(tmp_path: Path) -> None:
    good, bad = fake(), fake(fail="segv")
    stream = run_trials(run(tmp_path, [good, bad]), [])
    results = list(stream)
    assert sorted(outcomes(results)) == [
        (0, good.key, Status.OK),
        (0, bad.key, Status.CRASHED),
        (1, good.key, Status.OK),
        (1, bad.key, Status.CRASHED),
    ]


def test_a_second_start_runs_only_what_is_missing(tmp_path: Path) -> None:
    plan = run(tmp_path, [fake(), fake(step_ms=2)])
    first = next(run_trials(plan, []))
    rest = list(run_trials(plan, [first]))
    assert len(rest) == 3
    assert first.trial.id not in {r.trial.id for r in rest}


def test_preparation_tells_the_pace_without_measuring(tmp_path: Path) -> None:
    configuration = fake(step_ms=3)
    result = prepare(run(tmp_path, [configuration]), configuration)
    assert result.status is Status.OK
    assert [s.name for s in result.sections] == ["load"]
    (generation,) = result.generations
    assert min(generation.inter_token_s) >= 0.003


def test_a_machine_used_by_others_makes_the_trial_invalid_and_repeats_it(tmp_path: Path) -> None:
    procedure = replace(QUICK, blocks=1, foreign_limit=0.05, retries=1)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        results = list(run_trials(run(tmp_path, [fake()], procedure), []))
        other.kill()
    assert [(r.status, r.trial.attempt) for r in results] == [(Status.INVALID, 0), (Status.INVALID, 1)]
    assert "other processes" in results[0].reason


@pytest.mark.parametrize("failure", ["", "generate"])
def test_power_without_samples_hides_no_other_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """Where power must be integrated, a preparation takes no samples and a failing trial gets none back."""
    meter = FakeMeter({"gpu:0": 100.0}, grade=Grade.INTEGRATED)
    monkeypatch.setattr(worker, "open_meters", lambda _names, _watts: (meter,))
    configuration = fake(fail=failure) if failure else fake()
    outcome = worker.run_trial(preparation(run(tmp_path, [configuration]), configuration), prepare=True)
    assert outcome.status is (Status.FAILED if failure else Status.OK), outcome.reason
    load = outcome.section("load")
    assert load is not None
    assert load.energy == ()

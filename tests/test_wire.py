from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servewatt import wire
from servewatt.errors import InputError, RefusedError, ServewattError, counted, nearest
from servewatt.experiment.planning import expand
from servewatt.experiment.ranges import RANGES
from servewatt.experiment.study_file import validate
from servewatt.records import (
    Component,
    Configuration,
    Domain,
    DomainEnergy,
    Facts,
    Generation,
    Grade,
    Plan,
    PowerSample,
    Procedure,
    Provider,
    Result,
    Section,
    Status,
    Trial,
    UtilisationSample,
)
from tests.harness.builders import fake, run


def example(folder: Path) -> Result:
    configuration = Configuration("torch", Provider.CUDA, batch=4, threads=2, options=(("a", "b"),))
    plan = run(folder, [configuration]).plan
    trial = Trial("r1", 1, 2, 0, plan.model, plan.workload, configuration, plan.procedure)
    energy = DomainEnergy("gpu:0", Component.GPU, 12.5, 0.1, Grade.COUNTER, True)
    return Result(
        trial,
        Status.OK,
        facts=Facts("2.0", devices=(("cuda", 3),), kv_cache=True),
        sections=(Section("generate", 1.0, 2.0, (energy,), tokens_out=7),),
        generations=(Generation(0, 1, 1.0, 0.25, (0.125, 0.5), 3),),
        outputs=((1, 2, 3),),
        power=(PowerSample("gpu:0", 1.5, 80.0),),
        utilisation=(UtilisationSample(1.5, cpu_percent=99.0, gpu_throttled=False),),
    )


def test_a_result_comes_back_equal(tmp_path: Path) -> None:
    result = example(tmp_path)
    assert wire.load(Result, wire.dump(result)) == result


def test_text_that_is_no_record_is_refused_with_the_place() -> None:
    with pytest.raises(InputError, match="Configuration record: provider"):
        wire.load(Configuration, '{"engine": "torch", "provider": "tpu"}')
    with pytest.raises(InputError, match="Configuration record"):
        wire.load(Configuration, "not json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"timeout_s": NaN}', "Procedure record: timeout_s: Input should be a finite number"),
        ('{"cpu_watts": [1, Infinity]}', r"cpu_watts\.1: Input should be a finite number"),
        ('{"idle_s": 1e400}', "idle_s: Input should be a finite number"),
        ('{"idle_s": "inf"}', "idle_s: Input should be a finite number"),
        ('{"idle_s": null}', "idle_s: Input should be a valid number"),
        ('{"seed": ' + "9" * 5000 + "}", "the document: Invalid JSON"),
        ('{"meters": ["\\ud83d"]}', "the document: Invalid JSON"),
        ('{"meters": ["\ud83d"]}', "the document: Invalid JSON"),
        (b'{"meters": ["\xff"]}', "the document: Invalid JSON"),
        ("[" * 100_000, "the document: Invalid JSON"),
        ("null", "the document: is null"),
        ("", "the document: Invalid JSON"),
    ],
)
def test_what_could_not_have_been_written_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        wire.load(Procedure, text)
    assert len(caught.value.message) < 300


def test_what_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(InputError, match="Procedure record: timeout_s is inf"):
        wire.dump(Procedure(timeout_s=math.inf))
    with pytest.raises(InputError, match=r"Procedure record: cpu_watts\.0 is nan"):
        wire.dump(Procedure(cpu_watts=(math.nan, 1.0)))
    with pytest.raises(InputError, match=r"Procedure record: meters\.1 is no Unicode text: caf\\udce9"):
        wire.dump(Procedure(meters=("fake", os.fsdecode(b"caf\xe9"))))
    named = Procedure(meters=("NaN", "-Infinity"))
    assert wire.load(Procedure, wire.dump(named)) == named


def test_a_document_for_other_programs_has_null_for_what_is_no_number() -> None:
    text = wire.document(Procedure(timeout_s=math.inf, cpu_watts=(math.nan, 1.0)))
    assert json.loads(text, parse_constant=pytest.fail)["timeout_s"] is None
    assert '"cpu_watts":[null,1.0]' in text
    with pytest.raises(InputError, match="no Unicode text"):
        wire.document(Procedure(meters=("\ud83d",)))


def test_fields_are_built_as_they_are_read() -> None:
    assert wire.build(Domain, {"name": "x", "component": "cpu", "grade": "counter", "quantum_s": 1}) == (
        Domain("x", Component.CPU, Grade.COUNTER, 1.0)
    )
    for values in ({"name": "x"}, {"name": "x", "component": "cpu", "grade": "counter", "quantum_s": math.nan}):
        with pytest.raises(InputError, match="not a Domain record"):
            wire.build(Domain, values)


def number(part: str, field: str) -> st.SearchStrategy[object]:
    """Numbers within the range, mostly; others, and what is no number."""
    allowed = RANGES[part, field]
    within: st.SearchStrategy[object] = st.integers(math.ceil(allowed.least) + allowed.above, int(allowed.most))
    if field.endswith("_s") or field in ("foreign_limit", "cpu_watts"):
        within = st.floats(allowed.least, allowed.most, exclude_min=allowed.above)
    within = within | within.map(str)
    beyond = st.floats() | st.integers() | st.sampled_from(["nan", "1e400", "true", None, "1_0", "0x1"])
    return st.integers(0, 19).flatmap(lambda one_of_twenty: within if one_of_twenty else beyond)


TEXTS = st.text(max_size=6) | st.text(st.characters(categories=("Cs", "Cc", "L")), max_size=6)
CONFIGURATIONS = {
    "precisions": st.just(["fp32", "bf16"]),
    "batches": st.lists(number("configurations", "batches"), max_size=2),
    "threads": number("configurations", "threads"),
    "options": st.dictionaries(TEXTS, TEXTS, max_size=2),
}
PROCEDURES = {field: number(part, field) for part, field in RANGES if part == "procedure" and field != "cpu_watts"}
WATTS = st.tuples(number("procedure", "cpu_watts"), number("procedure", "cpu_watts"))


@settings(max_examples=300)
@given(
    st.fixed_dictionaries({}, optional=PROCEDURES | {"cpu_watts": WATTS, "meters": st.lists(TEXTS, max_size=2)}),
    st.fixed_dictionaries({"engines": st.just(["fake"])}, optional=CONFIGURATIONS),
)
def test_any_plan_that_is_accepted_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, procedure: dict[str, object], configurations: dict[str, object]
) -> None:
    try:
        asked = validate({"procedure": procedure, "configurations": configurations}, "here")
        wanted, _ = expand(asked.configurations, has_gpu=False)
    except ServewattError:
        return
    whole = run(tmp_path_factory.getbasetemp(), list(wanted)).plan
    plan = Plan(whole.model, whole.workload, wanted, asked.procedure.procedure())
    assert wire.load(Plan, wire.dump(plan)) == plan
    assert plan.digest


def test_a_configuration_s_key_tells_everything_that_differs() -> None:
    assert fake().key == "fake/cpu/fp32/b1"
    assert Configuration("onnx", Provider.CUDA, batch=8, threads=3).key == "onnx/cuda/fp32/b8/t3"
    assert fake(b=2, a=1).key == "fake/cpu/fp32/b1/a=1/b=2"


def test_the_plan_s_digest_ignores_where_the_model_lies_and_the_order_of_configurations(tmp_path: Path) -> None:
    one = run(tmp_path, [fake(), fake(a=1)]).plan
    other = run(tmp_path / "elsewhere", [fake(a=1), fake()]).plan
    assert one.digest == other.digest
    assert run(tmp_path, [fake()]).plan.digest != one.digest


def test_the_environment_s_fingerprint_is_that_of_the_hardware(tmp_path: Path) -> None:
    from dataclasses import replace

    machine = run(tmp_path, [fake()]).environment
    assert replace(machine, kernel="7", python="3.13", memory_bytes=(machine.memory_bytes or 0) + 4096).fingerprint == (
        machine.fingerprint
    )
    assert replace(machine, cpu="another").fingerprint != machine.fingerprint


def test_errors_survive_a_pickle_and_name_the_nearest_words() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(RefusedError("what", "next")))
    assert isinstance(error, ServewattError)
    assert (error.message, error.hint) == ("what", "next")
    assert nearest("onx", ["onnx", "torch"]) == "did you mean onnx?"
    assert nearest("zzz", ["onnx", "torch"]) == "known: onnx, torch"
    assert nearest("nosuch", ["torch", "onnx"]) == "known: onnx, torch"  # three letters of six in common
    assert [counted(n, "trial") for n in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]

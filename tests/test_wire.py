from __future__ import annotations

from pathlib import Path

import pytest

from servewatt import wire
from servewatt.errors import InputError, RefusedError, ServewattError, counted, nearest
from servewatt.records import (
    Component,
    Configuration,
    DomainEnergy,
    Facts,
    Generation,
    Grade,
    PowerSample,
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

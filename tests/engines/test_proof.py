from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.engines.fake.engine import FakeEngine
from servewatt.engines.proof import violations
from servewatt.records import Configuration, Facts, Precision, Provider
from tests.engines.tiny import FolderArtefacts
from tests.harness.builders import model

CPU = Configuration("torch", threads=4)
CUDA = Configuration("onnx", Provider.CUDA)
HONEST_CPU = Facts(
    engine_version="1",
    devices=(("cpu", 148),),
    weight_dtypes=(("fp32", 1000),),
    compute_dtype="fp32",
    kv_cache=True,
    kv_cache_dtype="fp32",
    threads=4,
)
HONEST_CUDA = replace(
    HONEST_CPU, devices=(("cpu-shapes", 9), ("cuda", 700)), detail=(("matmul_tf32", "false"), ("use_tf32", "0"))
)


def test_honest_facts_have_no_violations() -> None:
    assert violations(CPU, HONEST_CPU) == ()
    assert violations(CUDA, HONEST_CUDA) == ()
    assert violations(replace(CPU, threads=None), replace(HONEST_CPU, threads=2)) == ()


def test_a_cache_that_nothing_tells_of_is_no_violation_but_its_type_is() -> None:
    undecided = replace(HONEST_CPU, kv_cache=None)
    assert violations(CPU, undecided) == ()
    (found,) = violations(CPU, replace(undecided, kv_cache_dtype="int8"))
    assert "KV cache is int8" in found


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        ({"devices": (("cuda", 148),)}, "148 operators or weights are on cuda, the configuration says cpu"),
        ({"devices": ()}, "does not tell which device"),
        ({"weight_dtypes": (("bf16", 500),)}, "500 bytes are bf16"),
        ({"weight_dtypes": (("bf16", 8), ("fp32", 992))}, "8 bytes are bf16"),
        ({"weight_dtypes": ()}, "does not tell which weights"),
        ({"compute_dtype": "bf16"}, "computed in bf16, the configuration says fp32"),
        ({"compute_dtype": ""}, "computed in an unknown type"),
        ({"kv_cache": False}, "does not reuse a KV cache"),
        ({"kv_cache_dtype": "int8"}, "KV cache is int8"),
        ({"kv_cache_dtype": ""}, "KV cache is of unknown type"),
        ({"threads": 2}, "2 CPU threads compute, the configuration says 4"),
        ({"threads": None}, "an unknown number of CPU threads"),
    ],
)
def test_each_lie_on_the_cpu_is_one_violation(lie: dict[str, object], sentence: str) -> None:
    (found,) = violations(CPU, replace(HONEST_CPU, **lie))  # type: ignore[arg-type]
    assert sentence in found


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        ({"devices": (("cpu", 1), ("cuda", 700))}, "1 operators or weights are on cpu, the configuration says cuda"),
        ({"devices": (("cpu-shapes", 9),)}, "nothing is on cuda"),
        ({"tf32": ("use_tf32",)}, "TF32 is on (use_tf32)"),
        ({"tf32": ("matmul_tf32",)}, "TF32 is on (matmul_tf32)"),
        ({"weight_dtypes": (("fp16", 500),)}, "500 bytes are fp16"),
    ],
)
def test_each_lie_on_cuda_is_one_violation(lie: dict[str, object], sentence: str) -> None:
    (found,) = violations(CUDA, replace(HONEST_CUDA, **lie))  # type: ignore[arg-type]
    assert sentence in found


@pytest.mark.parametrize("precision", Precision)
def test_the_fake_engine_does_what_it_claims(precision: Precision, tmp_path: Path) -> None:
    configuration = Configuration("fake", precision=precision, threads=1)
    session = FakeEngine().load(model(tmp_path), configuration, FolderArtefacts(tmp_path))
    assert violations(configuration, session.facts()) == ()


def test_half_precision_allows_a_few_wider_weights() -> None:
    bf16 = replace(CPU, precision=Precision.BF16)
    facts = replace(HONEST_CPU, compute_dtype="bf16", kv_cache_dtype="bf16")
    (wide,) = violations(bf16, replace(facts, weight_dtypes=(("bf16", 1000),), kv_cache_dtype="fp32"))
    assert wide == "the KV cache is fp32, the configuration says bf16"
    assert violations(bf16, replace(facts, weight_dtypes=(("bf16", 960), ("fp32", 40)))) == ()
    (found,) = violations(bf16, replace(facts, weight_dtypes=(("bf16", 900), ("fp32", 100))))
    assert found == "only 900 of 1000 bytes of weights are bf16"


def test_a_table_that_is_only_looked_up_in_may_be_wider() -> None:
    """OpenVINO keeps embeddings in fp32 on CPUs that have AVX-512 BF16 and no AMX."""
    bf16 = replace(CPU, precision=Precision.BF16)
    facts = replace(
        HONEST_CPU,
        compute_dtype="bf16",
        kv_cache_dtype="bf16",
        weight_dtypes=(("bf16", 600), ("fp32", 400)),
        lookup_dtypes=(("fp32", 400),),
    )
    assert violations(bf16, facts) == ()
    (found,) = violations(bf16, replace(facts, lookup_dtypes=(("fp32", 300),)))
    assert found == "only 600 of 700 bytes of weights are bf16"
    (found,) = violations(bf16, replace(facts, weight_dtypes=facts.lookup_dtypes))
    assert found == "only 0 of 0 bytes of weights are bf16"


def test_quantised_weights_may_be_multiplied_as_floats() -> None:
    int8 = replace(CPU, precision=Precision.INT8)
    facts = replace(HONEST_CPU, weight_dtypes=(("int8", 900), ("fp32", 100)))
    assert violations(int8, facts) == ()
    for rounded in ("fp64", "int8"):
        assert violations(int8, replace(facts, compute_dtype=rounded)) != ()


def test_several_lies_are_all_told() -> None:
    assert len(violations(CPU, Facts(engine_version="1"))) == 5


def test_narrow_weights_are_counted_not_weighed() -> None:
    """1000 bytes of int4 are 2000 weights, 4000 bytes of fp32 only 1000."""
    int4 = replace(CPU, precision=Precision.INT4)
    facts = replace(HONEST_CPU, weight_dtypes=(("fp32", 4000), ("int4", 1000)))
    assert violations(int4, facts) == ()
    (found,) = violations(int4, replace(facts, weight_dtypes=(("fp32", 12000), ("int4", 1000))))
    assert found == "only 2000 of 5000 weights are int4"
    w8a8 = replace(CPU, precision=Precision.W8A8)
    assert violations(w8a8, replace(HONEST_CPU, weight_dtypes=(("int8", 9),), compute_dtype="int8")) == ()
    assert "w8a8" in violations(w8a8, replace(HONEST_CPU, weight_dtypes=(("int8", 9),)))[0]


def test_options_are_claims_too() -> None:
    facts = replace(HONEST_CPU, weight_dtypes=(("int4", 9),))
    rounding = Configuration("onnx", precision=Precision.INT4, threads=4, options=(("activations", "int8"),))
    floating = replace(rounding, options=(("activations", "float"),))
    assert violations(floating, facts) == ()
    assert violations(rounding, replace(facts, compute_dtype="int8")) == ()
    (found,) = violations(rounding, facts)
    assert found == "matrix products are computed in fp32, the configuration says int4 in int8"
    assert len(violations(floating, replace(facts, compute_dtype="int8"))) == 1
    unsaid = replace(rounding, options=())
    assert violations(unsaid, facts) == (), "float unless asked"
    assert len(violations(unsaid, replace(facts, compute_dtype="int8"))) == 1
    always = replace(unsaid, engine="llama-cpp")
    assert violations(always, replace(facts, compute_dtype="int8")) == (), "it has no other"
    assert len(violations(always, facts)) == 1
    in_bf16 = replace(rounding, options=(("cache", "int8"), ("compute", "bf16")))
    assert violations(in_bf16, replace(facts, compute_dtype="bf16", kv_cache_dtype="int8")) == ()
    assert violations(in_bf16, facts) == (
        "matrix products are computed in fp32, the configuration says int4 in bf16",
        "the KV cache is fp32, the configuration says int8",
    )


@pytest.mark.parametrize(
    ("option", "shown", "sentence"),
    [
        (("group", "128"), {"group": 32}, "group is 32, the configuration says 128"),
        (("batching", "static"), {"options": (("batching", "continuous"),)}, "batching is continuous"),
        (("attention", "flash"), {"options": (("attention", "plain"),)}, "attention is plain"),
        (("graphs", "on"), {"cuda_graphs": "none"}, "CUDA graphs are none, the configuration says on"),
        (("graphs", "off"), {"cuda_graphs": "full_and_piecewise"}, "CUDA graphs are full_and_piecewise"),
        (("graphs", "on"), {"prefix_caching": True}, "prefix cache"),
    ],
)
def test_an_option_that_the_engine_shows_otherwise_is_a_violation(
    option: tuple[str, str], shown: dict[str, object], sentence: str
) -> None:
    facts = replace(HONEST_CPU, **shown)  # type: ignore[arg-type]
    (found,) = violations(replace(CPU, options=(option,)), facts)
    assert sentence in found


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        (("group", "32"), {"group": 32}),
        (("batching", "continuous"), {"options": (("batching", "continuous"),)}),
        (("attention", "flash"), {}),
        (("graphs", "on"), {"cuda_graphs": "full_and_piecewise"}),
        (("graphs", "off"), {"cuda_graphs": "none"}),
        (("steps", "4"), {"detail": (("steps", "8"),)}),
    ],
)
def test_an_option_shown_as_asked_or_not_at_all_is_none(option: tuple[str, str], shown: dict[str, object]) -> None:
    facts = replace(HONEST_CPU, **shown)  # type: ignore[arg-type]
    assert violations(replace(CPU, options=(option,)), facts) == ()

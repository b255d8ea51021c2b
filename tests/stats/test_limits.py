"""Bytes and operations of a decode step against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from servewatt.models.catalogue import CATALOGUE
from servewatt.models.shape import shape_of
from servewatt.records import (
    Configuration,
    Environment,
    Facts,
    Generation,
    Gpu,
    Precision,
    Result,
    Shape,
)
from servewatt.stats import analyse
from servewatt.stats.limits import (
    cache_bytes_per_token,
    decode_flops,
    decode_work,
    limit_of,
    matrix_elements,
    prefill_flops,
    step_bytes,
    weight_bytes,
)
from tests.stats.builders import ENVIRONMENT, TORCH, TORCH_CUDA, result, run


def shape(config: dict[str, Any]) -> Shape:
    found = shape_of(config)
    assert found is not None
    return found


PYTHIA_410M = shape(dict(CATALOGUE["pythia-410m"].config))
LLAMA = shape(
    {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 10,
    }
)


def test_pythia_410m_by_hand() -> None:
    # A layer: 1024 x 3072 for q, k and v, 1024 x 1024 after attention, two of 1024 x 4096: 12 582 912 numbers.
    # 24 layers: 301 989 888; output projection 50304 x 1024: 51 511 296; together 353 501 184 numbers of 4 bytes.
    assert step_bytes(PYTHIA_410M, Precision.FP32, 1, 0) == (1_414_004_736, 0)
    # A token's keys and values: 24 layers x 2 x 1024 numbers of 4 bytes = 196 608 bytes; 2 rows x 100 tokens of them.
    assert step_bytes(PYTHIA_410M, Precision.FP32, 2, 100) == (1_414_004_736, 39_321_600)
    assert step_bytes(PYTHIA_410M, Precision.BF16, 2, 100) == (707_002_368, 19_660_800)
    # Two operations for each number, and 24 layers x 4 x 1024 for each token looked back on.
    assert decode_flops(PYTHIA_410M, 0) == 707_002_368
    assert decode_flops(PYTHIA_410M, 100) == 707_002_368 + 9_830_400
    # Of 10 tokens all go through the layers, one through the output projection; 55 pairs of tokens.
    assert prefill_flops(PYTHIA_410M, 10) == 2 * (3_019_898_880 + 51_511_296) + 24 * 4 * 1024 * 55


def test_scales_of_narrow_weights() -> None:
    # q and o: 2 x 8x8 = 128; k and v: 2 x 8x4 = 64; three of 8x16 = 384; two layers 1152; output 80; together 1232.
    assert weight_bytes(LLAMA, Precision.FP32) == 4928
    # A scale for each output channel: q 8, k 4, v 4, o 8, gate 16, up 16, down 8 = 64; two layers 128; output 10.
    assert weight_bytes(LLAMA, Precision.INT8) == 1232 + 138 * 2
    assert weight_bytes(LLAMA, Precision.W8A8) == 1232 + 138 * 2
    # Groups of 8 numbers: 154 scales.
    assert weight_bytes(LLAMA, Precision.INT4, group=8) == 616 + 154 * 2
    # 2 layers x 2 x 2 heads x 2 = 16 numbers a token, in 8 bits beside integer weights.
    assert cache_bytes_per_token(LLAMA, Precision.INT4) == 16
    assert cache_bytes_per_token(LLAMA, Precision.FP16) == 32


def test_one_key_value_head_under_the_old_names() -> None:
    bigcode = {"model_type": "gpt_bigcode", "n_layer": 1, "n_embd": 8, "n_head": 4, "n_inner": None, "vocab_size": 5}
    # q and o 128, k and v 2 x 8x2 = 32, two of 8x32 = 512, output 40: 712 numbers; cache 2 x 2 = 4 a token.
    for config in (bigcode, {**bigcode, "multi_query": True}):
        assert step_bytes(shape(config), Precision.FP16, 3, 2) == (1424, 3 * 2 * 4 * 2)
    # With a key-value head for each query head k and v have 128 numbers, 96 more.
    assert matrix_elements(shape({**bigcode, "multi_query": False})) == 808


def test_an_explicit_head_size() -> None:
    gemma = {
        "model_type": "gemma",
        "num_hidden_layers": 1,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 4,
        "vocab_size": 3,
    }
    # q and o: 2 x 8x32 = 512; k and v: 2 x 8x16 = 256; three of 8x4 = 96; output 24.
    assert step_bytes(shape(gemma), Precision.FP32, 1, 1) == (4 * 888, 4 * 32)


def test_attention_looks_back_no_further_than_its_window() -> None:
    narrow = replace(LLAMA, window=4)
    assert step_bytes(narrow, Precision.FP32, 1, 100)[1] == 4 * cache_bytes_per_token(LLAMA, Precision.FP32)
    # Of 6 tokens the first four see 1 + 2 + 3 + 4, the others 4 each: 18 pairs instead of 21.
    assert prefill_flops(LLAMA, 6) - prefill_flops(narrow, 6) == 4 * 2 * 4 * 2 * 3


def beside_matrices(c: dict[str, Any]) -> int:
    """Parameters that are no matrix a token is multiplied with: embeddings that are looked up, norms, biases."""
    hidden = int(c.get("n_embd") or c["hidden_size"])
    layers = int(c.get("n_layer") or c["num_hidden_layers"])
    inner = int(c.get("n_inner") or c.get("intermediate_size") or 4 * hidden)
    vocabulary, positions = int(c["vocab_size"]), int(c.get("n_positions") or 0)
    norm = 2 * hidden  # weight and bias
    feed_forward = inner + hidden  # its biases
    attention = 3 * hidden + hidden  # its biases
    single = 2 * hidden // int(c.get("n_head") or 1)  # key and value of one head
    counts = {
        # Positions; two norms a layer and one at the end.
        "gpt2": positions * hidden + layers * (2 * norm + attention + feed_forward) + norm,
        "gpt_bigcode": positions * hidden + layers * (2 * norm + hidden + single + hidden + feed_forward) + norm,
        # The input embedding is another matrix than the output projection.
        "gpt_neox": vocabulary * hidden + layers * (2 * norm + attention + feed_forward) + norm,
        # A norm after the embedding.
        "bloom": norm + layers * (2 * norm + attention + feed_forward) + norm,
        # Norms without bias, no other biases.
        "llama": vocabulary * hidden + layers * 2 * hidden + hidden,
        "gemma": layers * 2 * hidden + hidden,
        # One norm a layer; the output projection has a bias.
        "phi": vocabulary * hidden + vocabulary + layers * (norm + attention + feed_forward) + norm,
    }
    return counts[c["model_type"]]


@pytest.mark.parametrize("name", CATALOGUE)
def test_matrices_and_the_rest_are_all_parameters_of_the_twelve_models(name: str) -> None:
    config = dict(CATALOGUE[name].config)
    elements = matrix_elements(shape(config))
    assert elements + beside_matrices(config) == CATALOGUE[name].parameters


def test_the_twelve_models_have_all_seven_architectures() -> None:
    assert len({e.config["model_type"] for e in CATALOGUE.values()}) == 7


def test_a_config_that_lacks_something_has_no_shape() -> None:
    assert shape_of({"model_type": "llama", "hidden_size": 8}) is None


def trial(configuration: Configuration, step_s: float, rows: int = 1, block: int = 0) -> Result:
    """One batch of prompts of 3 and 2 tokens, and a smaller one that must not count."""
    full = Generation(0, rows, 100.0, 0.1, (0.0, 2 * step_s), 3 * rows)
    smaller = Generation(0, 1, 101.0, 0.1, (9.0, 9.0), 3)
    return result(configuration, block, generations=(full, smaller) if rows > 1 else (full,))


def test_the_steps_of_a_trial() -> None:
    # Tokens handed over two steps at a time: 0 and 2 x 10 ms are 10 ms a step. Prompts 3, 2, 3 and, after the first
    # step, 1 token each; after the second, 2.
    work = decode_work(trial(TORCH, 0.010, rows=3))
    assert work is not None
    assert work.rows == 3
    assert work.step_s == pytest.approx(0.010)
    assert work.prompt_tokens == pytest.approx(8 / 3)
    assert work.context_tokens == pytest.approx(8 / 3 + 1.5)


MACHINE = replace(ENVIRONMENT, memory_bandwidth_bytes_s=20e9, cache_bytes=2**20)


def test_how_far_a_configuration_is_from_the_floor() -> None:
    # 1 414 004 736 bytes of weights and 4.5 tokens of 196 608 bytes, less a cache of 1 MiB: 1 413 840 896 at 20 GB/s
    # take 70.69 ms.
    found = limit_of(PYTHIA_410M, TORCH, [trial(TORCH, 0.0849), trial(TORCH, 0.0849, block=1)], MACHINE, 0.95)
    assert found is not None
    assert found.floor_s_per_token == pytest.approx(0.07069204, rel=1e-6)
    assert found.times_floor is not None and found.times_floor.estimate == pytest.approx(1.2001, rel=1e-3)
    assert found.bandwidth_share is not None and found.bandwidth_share.estimate == pytest.approx(0.8333, rel=1e-3)
    assert (found.bound_by, found.source, found.no_floor) == ("memory", "measured", "")


def gpu(name: str) -> Environment:
    return replace(MACHINE, gpus=(Gpu(0, name, 2**36, "580"),))


def test_a_known_gpu_has_the_bandwidth_of_its_data_sheet() -> None:
    found = limit_of(PYTHIA_410M, TORCH_CUDA, [trial(TORCH_CUDA, 0.01)], gpu("NVIDIA H200"), 0.95)
    assert found is not None
    # Its L2 cache has 60 MiB.
    assert found.floor_s_per_token == pytest.approx((1_414_889_472 - 62_914_560) / 4.8e12)
    # At batch 512 in fp32 the products take longer than the bytes: 707 MFLOP x 512 at 67 TFLOP/s are 5.4 ms.
    many = limit_of(PYTHIA_410M, TORCH_CUDA, [trial(TORCH_CUDA, 0.01, rows=512)], gpu("NVIDIA H200"), 0.95)
    assert many is not None and many.floor_s_per_token is not None
    assert many.bound_by == "compute"
    assert many.floor_s_per_token == pytest.approx((707_002_368 + 98_304 * 4) / 67e12, rel=1e-3)


def test_four_bit_weights_may_be_multiplied_in_8_bits() -> None:
    """Batch 512 is bound by products: 990 TFLOP/s in half precision, 1979 TOP/s in integers."""
    # A layer: q and o 2 x 2048 x 2048, k and v 2 x 2048 x 256, three of 2048 x 5632: 44 040 192 numbers; 22 of them
    # and 32000 x 2048 are 1 034 420 224. Four tokens to look back on: 4 x 22 x 4 x 2048 operations.
    shape_1b = shape(dict(CATALOGUE["tinyllama"].config))
    int4 = replace(TORCH_CUDA, precision=Precision.INT4)
    floors = []
    for dtype in ("bf16", "int8"):
        done = replace(trial(int4, 0.01, rows=512), facts=Facts(engine_version="1", compute_dtype=dtype))
        found = limit_of(shape_1b, int4, [done], gpu("NVIDIA H200"), 0.95)
        assert found is not None and found.floor_s_per_token is not None
        assert found.bound_by == "compute"
        floors.append(found.floor_s_per_token)
    assert floors[0] == pytest.approx((2 * 1_034_420_224 + 720_896) / 990e12)
    assert floors[1] == pytest.approx((2 * 1_034_420_224 + 720_896) / 1979e12)


def test_a_group_that_only_the_engine_tells_has_its_scales() -> None:
    int4 = replace(TORCH, precision=Precision.INT4)
    shown = Facts(engine_version="1", group=64)
    of_an_older_version = Facts(engine_version="1", detail=(("group", "64"),))
    # 353 501 184 numbers of half a byte, and one scale of 2 bytes for 64 of them; without a group 271 488 channels:
    # 24 x (3072 + 1024 + 4096 + 1024) and 50304.
    for facts, scales in (
        (shown, 5_523_456),
        (of_an_older_version, 5_523_456),
        (Facts(engine_version="1"), 271_488),
    ):
        found = limit_of(PYTHIA_410M, int4, [replace(trial(int4, 0.01), facts=facts)], MACHINE, 0.95)
        assert found is not None
        assert found.weight_bytes_per_step == 176_750_592 + 2 * scales
    asked = replace(int4, options=(("group", "32"),))
    found = limit_of(PYTHIA_410M, asked, [replace(trial(asked, 0.01), facts=shown)], MACHINE, 0.95)
    assert found is not None and found.weight_bytes_per_step == 176_750_592 + 2 * 11_046_912


def test_an_unknown_gpu_has_bytes_and_operations_but_no_floor() -> None:
    found = limit_of(PYTHIA_410M, TORCH_CUDA, [trial(TORCH_CUDA, 0.01)], gpu("Example GPU"), 0.95)
    assert found is not None
    assert (found.weight_bytes_per_step, found.floor_s_per_token, found.times_floor) == (1_414_004_736, None, None)
    assert "not known" in found.no_floor


def test_weights_that_may_stay_in_the_cache_have_no_floor() -> None:
    # A cache of half of them leaves the other half: 341 147 648 bytes at 20 GB/s.
    half = limit_of(PYTHIA_410M, TORCH, [trial(TORCH, 0.08)], replace(MACHINE, cache_bytes=2**30), 0.95)
    assert half is not None and half.floor_s_per_token == pytest.approx(341_147_648 / 20e9)
    roomy = replace(MACHINE, cache_bytes=2**31)
    found = limit_of(PYTHIA_410M, TORCH, [trial(TORCH, 0.08)], roomy, 0.95)
    assert found is not None and found.floor_s_per_token is None
    assert "cache" in found.no_floor


def test_the_analysis_takes_the_shape_from_the_model() -> None:
    made = run((TORCH,), environment=MACHINE)
    shaped = replace(made, plan=replace(made.plan, model=replace(made.plan.model, shape=PYTHIA_410M)))
    (summary,) = analyse(shaped, [trial(TORCH, 0.08)]).summaries
    assert summary.limit is not None and summary.limit.floor_s_per_token is not None
    (bare,) = analyse(made, [trial(TORCH, 0.08)]).summaries
    assert bare.limit is None

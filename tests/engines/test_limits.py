from __future__ import annotations

from typing import Any

from servewatt.engines.limits import least_bytes_per_step
from servewatt.records import Precision

PYTHIA_410M: dict[str, Any] = {
    "model_type": "gpt_neox",
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 50304,
}


def test_pythia_410m_by_hand() -> None:
    # A layer: 1024 x 3072 for q, k and v, 1024 x 1024 after attention, two of 1024 x 4096: 12 582 912 numbers.
    # 24 layers: 301 989 888; output projection 50304 x 1024: 51 511 296; together 353 501 184 numbers of 4 bytes.
    assert least_bytes_per_step(PYTHIA_410M, Precision.FP32, batch=1, context_tokens=0) == 1_414_004_736
    # A token's keys and values: 24 layers x 2 x 1024 numbers of 4 bytes = 196 608 bytes; 2 rows x 100 tokens of them.
    assert least_bytes_per_step(PYTHIA_410M, Precision.FP32, batch=2, context_tokens=100) == 1_453_326_336
    assert least_bytes_per_step(PYTHIA_410M, Precision.BF16, batch=2, context_tokens=100) == 726_663_168


def test_grouped_query_heads_and_a_gated_layer() -> None:
    llama = {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 10,
    }
    # q and o: 2 x 8x8 = 128; k and v: 2 x 8x4 = 64; three of 8x16 = 384; two layers 1152; output 80; in int8 1232.
    # Cache of 3 tokens: 2 layers x 2 x 2 heads x 2 = 16 a token.
    assert least_bytes_per_step(llama, Precision.INT8, batch=1, context_tokens=3) == 1232 + 48
    # int4 weights take half; their cache is counted at 8 bits.
    assert least_bytes_per_step(llama, Precision.INT4, batch=1, context_tokens=3) == 616 + 48


def test_one_key_value_head_under_the_old_names() -> None:
    bigcode = {
        "model_type": "gpt_bigcode",
        "n_layer": 1,
        "n_embd": 8,
        "n_head": 4,
        "multi_query": True,
        "n_inner": None,
        "vocab_size": 5,
    }
    # q and o 128, k and v 2 x 8x2 = 32, two of 8x32 = 512, output 40: 712 numbers; cache 2 x 2 = 4 a token.
    assert least_bytes_per_step(bigcode, Precision.FP16, batch=3, context_tokens=2) == 1424 + 3 * 2 * 4 * 2


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
    assert least_bytes_per_step(gemma, Precision.FP32, batch=1, context_tokens=1) == 4 * 888 + 4 * 32

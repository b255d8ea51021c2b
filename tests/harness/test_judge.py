from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from servewatt.harness.judge import judge
from servewatt.harness.schedule import Progress
from servewatt.records import Configuration, Generation, Result, Section, Status
from tests.harness.builders import ENVIRONMENT, QUICK, run

# A Llama of 2 layers, hidden 1024, vocabulary 8192: about 8192*1024 + 2*(4*1024^2 + 3*1024*4096) weights = 42 M.
SHAPE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 8192,
    "tie_word_embeddings": True,
    "max_position_embeddings": 512,
}


def result_with(folder: Path, step_s: float, foreign_cpu_s: float = 0.0) -> Result:
    (folder / "config.json").write_text(json.dumps(SHAPE))
    plan = run(folder, [Configuration("torch")], replace(QUICK, foreign_limit=0.05))
    (trial,) = Progress(plan, []).missing(0)
    section = Section("generate", 0.0, 10.0, foreign_cpu_s=foreign_cpu_s)
    return Result(
        trial, Status.OK, sections=(section,), generations=(Generation(0, 1, 0.0, step_s, (step_s,) * 9, 10),)
    )


def test_foreign_load_above_the_limit_is_invalid(tmp_path: Path) -> None:
    # 0.9 s of 2 CPUs x 10 s are 4.5 %, 1.2 s are 6 %.
    assert judge(result_with(tmp_path, 0.1, 0.9), ENVIRONMENT).status is Status.OK
    loaded = judge(result_with(tmp_path, 0.1, 1.2), ENVIRONMENT)
    assert loaded.status is Status.INVALID
    assert "6.0%" in loaded.reason


def test_decoding_faster_than_memory_is_a_fault_and_not_a_record(tmp_path: Path) -> None:
    # About 168 MB a step; at 20 GB/s that takes 8.4 ms.
    machine = replace(ENVIRONMENT, memory_bandwidth_bytes_s=20e9)
    assert judge(result_with(tmp_path, 0.009), machine).status is Status.OK
    beyond = judge(result_with(tmp_path, 0.003), machine)
    assert beyond.status is Status.INVALID
    assert "GB/s" in beyond.reason


def test_bandwidth_is_measured_again_before_a_result_is_called_impossible(tmp_path: Path) -> None:
    machine = replace(ENVIRONMENT, memory_bandwidth_bytes_s=20e9)
    assert judge(result_with(tmp_path, 0.003), machine, lambda: 70e9).status is Status.OK
    assert judge(result_with(tmp_path, 0.003), machine, lambda: 30e9).status is Status.INVALID


def test_weights_that_fit_the_cache_have_no_memory_limit(tmp_path: Path) -> None:
    machine = replace(ENVIRONMENT, memory_bandwidth_bytes_s=20e9, cache_bytes=2**28)
    assert judge(result_with(tmp_path, 0.003), machine).status is Status.OK

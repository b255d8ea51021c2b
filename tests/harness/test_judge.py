from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from servewatt.harness.judge import judge
from servewatt.harness.schedule import Progress
from servewatt.records import Configuration, Generation, Gpu, Provider, Result, Section, Shape, Status
from tests.harness.builders import ENVIRONMENT, QUICK, run

# 8192*1024 + 2*(4*1024^2 + 3*1024*4096) numbers = 42 M, in fp32 168 MB.
SHAPE = Shape(
    layers=2,
    hidden_size=1024,
    query_heads=16,
    key_value_heads=16,
    head_size=64,
    feed_forward_size=4096,
    feed_forward_matrices=3,
    vocabulary_size=8192,
)


def result_with(
    folder: Path, step_s: float, foreign_cpu_s: float = 0.0, provider: Provider = Provider.CPU, rows: int = 1
) -> Result:
    plan = run(folder, [Configuration("torch", provider)], replace(QUICK, foreign_limit=0.05))
    plan = replace(plan, plan=replace(plan.plan, model=replace(plan.plan.model, shape=SHAPE)))
    (trial,) = Progress(plan, []).missing(0)
    section = Section("generate", 0.0, 10.0, foreign_cpu_s=foreign_cpu_s)
    return Result(
        trial, Status.OK, sections=(section,), generations=(Generation(0, rows, 0.0, step_s, (step_s,) * 9, 10),)
    )


def test_foreign_load_above_the_limit_is_invalid(tmp_path: Path) -> None:
    # 0.9 s of 2 CPUs x 10 s are 4.5 %, 1.2 s are 6 %.
    assert judge(result_with(tmp_path, 0.1, 0.9), ENVIRONMENT).status is Status.OK
    loaded = judge(result_with(tmp_path, 0.1, 1.2), ENVIRONMENT)
    assert loaded.status is Status.INVALID
    assert "6.0 %" in loaded.reason


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


def test_a_cache_spares_a_step_what_it_holds_and_no_more(tmp_path: Path) -> None:
    # Of about 168 MB 128 MiB may stay in the cache; the other 33 MB take 1.7 ms at 20 GB/s.
    machine = replace(ENVIRONMENT, memory_bandwidth_bytes_s=20e9, cache_bytes=2**27)
    assert judge(result_with(tmp_path, 0.002), machine).status is Status.OK
    assert judge(result_with(tmp_path, 0.001), machine).status is Status.INVALID


def test_several_tokens_handed_over_at_once_are_no_fault(tmp_path: Path) -> None:
    machine = replace(ENVIRONMENT, memory_bandwidth_bytes_s=20e9)
    slow = result_with(tmp_path, 0.0)
    bursts = Generation(0, 1, 0.0, 0.1, (0.0, 0.0, 0.03) * 3, 10)  # 10 ms a token
    assert judge(replace(slow, generations=(bursts,)), machine).status is Status.OK


def test_a_gpu_of_known_bandwidth_has_a_limit_too(tmp_path: Path) -> None:
    # 168 MB less a cache of 4 MiB take 0.51 ms at 320 GB/s. The L4 reads 300 GB/s, and its cache holds 48 MiB:
    # the other 118 MB take 0.39 ms.
    small = replace(ENVIRONMENT, gpus=(Gpu(0, "Tesla T4", 2**34, "580"),))
    assert judge(result_with(tmp_path, 0.0006, provider=Provider.CUDA), small).status is Status.OK
    beyond = judge(result_with(tmp_path, 0.0003, provider=Provider.CUDA), small, lambda: 1e15)
    assert beyond.status is Status.INVALID
    assert "Tesla T4" in beyond.reason
    cached = replace(ENVIRONMENT, gpus=(Gpu(0, "NVIDIA L4", 2**34, "580"),))
    assert judge(result_with(tmp_path, 0.0004, provider=Provider.CUDA), cached).status is Status.OK
    assert judge(result_with(tmp_path, 0.0003, provider=Provider.CUDA), cached).status is Status.INVALID
    unknown = replace(ENVIRONMENT, gpus=(Gpu(0, "Example GPU", 2**34, "580"),))
    assert judge(result_with(tmp_path, 0.0003, provider=Provider.CUDA), unknown).status is Status.OK


def test_more_operations_than_the_board_can_do_are_a_fault(tmp_path: Path) -> None:
    # 42 M numbers x 2 x 256 rows are 21.5 GFLOP; at 8.1 TFLOP/s they take 2.65 ms.
    board = replace(ENVIRONMENT, gpus=(Gpu(0, "Tesla T4", 2**34, "580"),))
    assert judge(result_with(tmp_path, 0.003, provider=Provider.CUDA, rows=256), board).status is Status.OK
    beyond = judge(result_with(tmp_path, 0.002, provider=Provider.CUDA, rows=256), board)
    assert (beyond.status, "TFLOP/s" in beyond.reason) == (Status.INVALID, True)

"""A run made up by hand: five configurations, five blocks, one of them failing, one with an outlier."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from servewatt.recommendation.records import Constraints, Exclusion, Recommendation
from servewatt.records import (
    Boundary,
    Component,
    Configuration,
    Domain,
    DomainEnergy,
    Environment,
    Facts,
    Generation,
    Gpu,
    Grade,
    Model,
    ModelSource,
    Plan,
    PowerSample,
    Precision,
    Procedure,
    Provider,
    Result,
    Run,
    Section,
    Status,
    Trial,
    UtilisationSample,
    Weights,
    Workload,
)
from servewatt.stats.records import (
    Analysis,
    BoundaryRanking,
    Comparison,
    ConfigurationSummary,
    Interval,
    PhaseEnergy,
    StatusCount,
    Verdict,
)

CPU_DOMAIN = Domain("cpu:estimate", Component.CPU, Grade.ESTIMATED, 0.01)
GPU_DOMAIN = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1)

MODEL = Model(
    name="EleutherAI/pythia-410m",
    source=ModelSource.HUB,
    folder="/models/pythia-410m",
    revision="9879c9b5f8bea9051dcb0e68dff21493d67e9d4f",
    architecture="GPTNeoXForCausalLM",
    weights=Weights.TRAINED,
    parameters=405_334_016,
    weight_bytes=1_621_336_064,
    vocabulary_size=50304,
    context_length=2048,
)
WORKLOAD = Workload("functions", tuple((1, 2, 3, 4 + i) for i in range(40)), 64)
ENVIRONMENT = Environment(
    cpu="Example Xeon 8481C @ 2.70GHz",
    cpu_count=16,
    memory_bytes=128 * 2**30,
    kernel="6.1.0-28-amd64",
    system="Debian GNU/Linux 12",
    python="3.12.4",
    gpus=(Gpu(0, "NVIDIA H200", 141 * 2**30, "570.86", 700.0),),
    governor="performance",
    virtual_machine="kvm",
    cpu_features=("avx2", "avx512f", "amx_bf16"),
    cache_bytes=105 * 2**20,
    memory_bandwidth_bytes_s=2.7e11,
    packages=(("torch", "2.13.0"), ("onnxruntime", "1.32.0")),
    domains=(CPU_DOMAIN, GPU_DOMAIN),
)

# key, joules a token, share of it on the GPU, tokens/s, TTFT s
CASES = (
    (Configuration("torch", Provider.CUDA, Precision.BF16), 0.412, 0.78, 520.0, 0.011),
    (Configuration("torch", Provider.CUDA, Precision.FP32), 0.527, 0.80, 446.0, 0.012),
    (Configuration("onnx", Provider.CUDA, Precision.FP32, options=(("io_binding", "true"),)), 1.63, 0.74, 93.0, 0.024),
    (Configuration("openvino", Provider.CPU, Precision.INT8), 2.31, 0.62, 42.0, 0.19),
    (Configuration("torchscript", Provider.CUDA, Precision.FP32), 2.35, 0.75, 61.0, 0.031),
)
FAILED = Configuration("onnx", Provider.CPU, Precision.BF16)


def interval(estimate: float, spread: float = 0.03, n: int = 5) -> Interval:
    return Interval(estimate, estimate * (1 - spread), estimate * (1 + spread), n)


def summary(case: tuple[Configuration, float, float, float, float], **changes: object) -> ConfigurationSummary:
    configuration, joules, share, rate, ttft = case
    cuda = configuration.provider is Provider.CUDA
    step = 1 / rate
    gpu, cpu = joules * share, joules * (1 - share)
    parts = (("idle", 0.3), ("prefill", 0.06), ("decode", 0.64))
    phases = tuple(
        PhaseEnergy(phase, component, interval(total * part), grade)
        for phase, part in parts
        for component, total, grade in (
            (Component.CPU, cpu, Grade.ESTIMATED),
            (Component.GPU, gpu, Grade.COUNTER),
        )
    )
    made = ConfigurationSummary(
        configuration=configuration,
        statuses=(StatusCount(Status.OK, 5, ""),),
        blocks=5,
        energy_j_per_token=interval(joules),
        energy_j_per_request=interval(joules * 64),
        active_j_per_token=interval(joules * 0.7),
        energy_grade="counter + estimated",
        energy_error_share=0.004,
        load_energy_j=interval(310.0),
        load_s=interval(4.2),
        idle_power_w=interval(118.0),
        phases=phases,
        tokens_per_s=interval(rate, 0.01),
        ttft_s=interval(ttft, 0.02),
        ttft_p95_s=interval(ttft * 1.1, 0.02),
        inter_token_mean_s=interval(step * 1.02, 0.01),
        inter_token_p50_s=interval(step, 0.01),
        inter_token_p95_s=interval(step * 1.07, 0.01),
        inter_token_p99_s=interval(step * 1.3, 0.02),
        request_p50_s=interval(ttft + 63 * step, 0.01),
        request_p95_s=interval(ttft + 66 * step, 0.01),
        peak_rss_bytes=int(2.1e9 if cuda else 2.9e9),
        peak_gpu_bytes=int(1.9e9) if cuda else None,
        cpu_percent=99.4 if cuda else 1580.0,
        gpu_percent=38.0 if cuda else 0.0,
        output_agreement=1.0 if configuration.precision is Precision.FP32 else 0.871,
        facts=facts(configuration),
        block_energy_j_per_token=tuple((b, joules * (1 + 0.01 * (b - 2))) for b in range(5)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def facts(configuration: Configuration) -> Facts:
    device = configuration.provider.value
    return Facts(
        engine_version="2.13.0",
        libraries=(("torch", "2.13.0"), ("transformers", "5.5.1")),
        devices=((device, 292),),
        weight_dtypes=((configuration.precision.value, 1_621_336_064),),
        compute_dtype=configuration.precision.value,
        kv_cache=True,
        kv_cache_dtype=configuration.precision.value,
        threads=16,
    )


def run(model: Model = MODEL, environment: Environment = ENVIRONMENT, blocks: int = 5) -> Run:
    configurations = (*(c[0] for c in CASES), FAILED)
    plan = Plan(model, WORKLOAD, configurations, Procedure(blocks=blocks))
    return Run("20260503-1412-k7", "2026-05-03T14:12:09Z", plan, environment, "0.1.0")


def analysis(**changes: object) -> Analysis:
    summaries = [summary(case) for case in CASES]
    front = {CASES[0][0]}
    summaries = [replace(s, on_pareto_front=s.configuration in front) for s in summaries]
    summaries[3] = replace(
        summaries[3],
        blocks=4,
        statuses=(
            StatusCount(Status.OK, 4, ""),
            StatusCount(Status.INVALID, 1, "other processes used 9 % of the CPU time"),
        ),
    )
    reason = "the graph computes in fp32, not bf16"
    summaries.append(ConfigurationSummary(FAILED, (StatusCount(Status.REFUSED, 5, reason),), 0))
    best = CASES[0]
    comparisons = tuple(
        Comparison(
            best[0],
            case[0],
            Interval(best[1] / case[1], best[1] / case[1] * 0.93, best[1] / case[1] * 1.07, 5),
            Verdict.LOWER,
            0,
        )
        for case in CASES[1:]
    )
    keys = tuple(c[0].key for c in CASES)
    made = Analysis(
        run=run(),
        boundary=Boundary.MACHINE,
        confidence=0.95,
        reference=CASES[1][0],
        summaries=tuple(summaries),
        comparisons=comparisons,
        rankings=(
            BoundaryRanking(Boundary.MACHINE, keys),
            BoundaryRanking(Boundary.GPU, (*keys[:2], keys[3], keys[2], keys[4])),
        ),
        warnings=(
            "CPU energy is an estimate from utilisation: no CPU counter can be read on this machine.",
            "openvino/cpu/int8/b1: 13 % of the output tokens differ from torch/cuda/fp32/b1.",
        ),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def recommendation(**changes: object) -> Recommendation:
    choice, second = CASES[0][0], CASES[1][0]
    made = Recommendation(
        constraints=Constraints(),
        choice=choice,
        candidates=(choice,),
        runner_up=analysis().comparisons[0],
        exclusions=(Exclusion(FAILED, "no valid trial: the graph computes in fp32, not bf16"),),
        sentence=f"Serve {choice.key}: 0.41 J a token, 22 % [16, 27] less than {second.key}, the next best.",
        more_blocks=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def result(configuration: Configuration, block: int, position: int, joules_per_token: float, rate: float) -> Result:
    """A trial of about 20 s: load 4 s, idle 2 s, prefill 1 s, generate 10 s, with samples every 0.2 s."""
    jitter = random.Random(f"{configuration.key}{block}")
    start = 1000.0 + 100 * block + 20 * position
    tokens = int(rate * 10)
    marks = (("load", 0.0, 4.2), ("idle", 5.0, 2.0), ("prefill", 7.5, 1.0), ("generate", 8.5, 10.0))
    cpu_w, gpu_w = joules_per_token * rate * 0.25, joules_per_token * rate * 0.75
    power, use = [], []
    for step in range(95):
        at = step * 0.2
        busy = at >= 7.5 or at < 4
        wave = 1 + 0.04 * math.sin(at * 3) + jitter.uniform(-0.02, 0.02)
        power.append(PowerSample("gpu:0", start + at, (gpu_w if at >= 7.5 else 62) * wave))
        power.append(PowerSample("cpu:estimate", start + at, (cpu_w if busy else 18) * wave))
        percent = (100.0 / 16 if configuration.provider is Provider.CUDA else 97.0) if busy else 1.5
        gpu_percent = 38.0 * wave if at >= 7.5 and configuration.provider is Provider.CUDA else 0.0
        use.append(UtilisationSample(start + at, percent * 16, percent, 2 * 10**9, gpu_percent=gpu_percent))
    sections = tuple(
        Section(
            name,
            start + begin,
            length,
            (
                DomainEnergy(
                    "cpu:estimate",
                    Component.CPU,
                    (18 if name == "idle" else cpu_w) * length,
                    0.5,
                    Grade.ESTIMATED,
                    True,
                ),
                DomainEnergy(
                    "gpu:0",
                    Component.GPU,
                    (gpu_w if name in {"prefill", "generate"} else 62) * length,
                    3.0,
                    Grade.COUNTER,
                    True,
                ),
            ),
            own_cpu_s=length,
            foreign_cpu_s=0.02,
            passes=4,
            tokens_in=160,
            tokens_out=tokens if name == "generate" else 0,
        )
        for name, begin, length in marks
    )
    trial = Trial("20260503-1412-k7", block, position, 0, MODEL, WORKLOAD, configuration, Procedure())
    return Result(
        trial=trial,
        status=Status.OK,
        started_at=f"2026-05-03T14:{12 + block:02d}:{9 + position:02d}Z",
        facts=facts(configuration),
        sections=sections,
        generations=(Generation(0, 1, start + 8.5, 5 / rate, (1 / rate,) * 63, 64),),
        outputs=((5, 6, 7),),
        power=tuple(power),
        utilisation=tuple(use),
        peak_rss_bytes=int(2.1e9),
        peak_gpu_bytes=int(1.9e9),
    )


def results(blocks: int = 5) -> tuple[Result, ...]:
    made: list[Result] = []
    for block in range(blocks):
        order = list(range(len(CASES)))
        random.Random(block).shuffle(order)
        for position, index in enumerate(order):
            configuration, joules, _, rate, _ = CASES[index]
            made.append(result(configuration, block, position, joules, rate))
        trial = replace(made[-1].trial, configuration=FAILED, position=len(order))
        made.append(
            Result(trial, Status.REFUSED, "the graph computes in fp32, not bf16", "use fp32, or another engine")
        )
    spoiled = next(i for i, r in enumerate(made) if r.trial.configuration == CASES[3][0])
    made[spoiled] = replace(
        made[spoiled], status=Status.INVALID, reason="other processes used 9 % of the CPU time", hint="close them"
    )
    return tuple(made)


def random_weights(made: Analysis) -> Analysis:
    """The same analysis of a model with random weights."""
    model = replace(MODEL, name="pythia-410m", source=ModelSource.RANDOM, weights=Weights.RANDOM, seed=7)
    return replace(made, run=replace(made.run, plan=replace(made.run.plan, model=model)))


def many(count: int = 40) -> Analysis:
    """`count` configurations over five orders of magnitude, with long option keys."""
    cases = [
        (
            Configuration(
                "torch", Provider.CUDA, Precision.BF16, batch=2 ** (i % 9), options=(("a_long_option", str(i)),)
            ),
            0.004 * 1.3**i,
            0.8,
            50000 / 1.3**i,
            0.001 * 1.2**i,
        )
        for i in range(count)
    ]
    best = cases[0]
    summaries = tuple(summary(c, on_pareto_front=i < 3) for i, c in enumerate(cases))
    comparisons = tuple(Comparison(best[0], c[0], interval(best[1] / c[1]), Verdict.LOWER, 0) for c in cases[1:])
    return analysis(summaries=summaries, comparisons=comparisons, rankings=(), warnings=())

"""Observations made up by hand: small ones for sums done on paper, and a whole study as large as the real one."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from servewatt.records import Grade, Precision, Provider, Status, Via, Weights
from servewatt.study.data.names import CONFIGURATIONS
from servewatt.study.data.observations import Observation

MODELS = {
    "codeparrot-small": 110_600_000,
    "tiny-starcoder": 164_200_000,
    "pythia-410m": 405_300_000,
    "bloomz-560m": 559_200_000,
    "bloomz-1b1": 1_065_300_000,
    "tinyllama": 1_100_000_000,
    "starcoderbase-1b": 1_137_200_000,
    "pythia1-4b": 1_414_600_000,
    "codegemma-2b": 2_506_200_000,
    "phi2": 2_779_700_000,
    "stablecode-3b": 3_311_000_000,
    "stablecode-3b-completion": 3_311_200_000,
}
"""The study's models and roughly their number of parameters."""

BF16 = ("<CUDA, TORCH, bf16>", "<CUDA, ONNX, bf16>", "<CUDA, JIT, bf16>", "<CPU, OV, bf16>")

ENGINES = {"TORCH": "torch", "ONNX": "onnx", "OV": "openvino", "JIT": "torchscript"}


def observation(
    model: str = "pythia-410m", configuration: str = "<CUDA, TORCH>", block: int = 0, **fields: Any
) -> Observation:
    """One valid trial; energies in J per token and times in s per token follow `fields`, or are 1."""
    words = configuration.strip("<>").split(", ")
    made = Observation(
        campaign="synthetic",
        run="20260301-1200",
        machine="5a5a5a5a",
        model=model,
        parameters=MODELS.get(model, 405_000_000),
        weights=Weights.RANDOM,
        engine=ENGINES[words[1]],
        provider=Provider(words[0].lower()).value,
        precision=words[2] if len(words) > 2 else Precision.FP32.value,
        batch=1,
        via=Via.PROCESS,
        configuration=configuration,
        block=block,
        position=0,
        attempt=0,
        status=Status.OK,
        grade=Grade.COUNTER,
        cpu_grade=Grade.COUNTER,
        gpu_grade=Grade.COUNTER,
        tokens_in=1968,
        tokens_out=1000,
        requests=10,
        energy_j_per_token=1.0,
        s_per_token=1.0,
    )
    return replace(made, **fields)


def failed(model: str, configuration: str, block: int, status: Status, reason: str) -> Observation:
    """A trial that measured nothing."""
    return observation(
        model, configuration, block, status=status, reason=reason, energy_j_per_token=None, s_per_token=None
    )


def small() -> tuple[Observation, ...]:
    """Two models, three configurations, three blocks, with round numbers.

    | model           | configuration | J/token (CPU + GPU)       | s/token             |                        |
    | --------------- | ------------- | ------------------------- | ------------------- | ---------------------- |
    | pythia-410m     | <CPU, TORCH>  | 4, 5, 6 (~, CPU alone)    | 0.08, 0.08, 0.08    |                        |
    |                 | <CUDA, TORCH> | 1.9, 2, 2.2 (0.5 + rest)  | 0.013, 0.014, 0.015 |                        |
    |                 | <CUDA, ONNX>  | 1, 1.5                    | 0.01, 0.02          | block 1 timed out      |
    | codegemma-2b    | <CPU, TORCH>  |                           |                     | out of memory, thrice  |
    |                 | <CUDA, TORCH> | 8, 8, 8                   | 0.03, 0.03, 0.03    |                        |
    |                 | <CUDA, ONNX>  |                           |                     | never tried            |
    """
    made = [
        observation(
            configuration="<CPU, TORCH>",
            block=block,
            energy_j_per_token=energy,
            cpu_energy_j_per_token=energy,
            s_per_token=0.08,
            grade=Grade.ESTIMATED,
            cpu_grade=Grade.ESTIMATED,
            gpu_grade=Grade.MISSING,
            cpu_percent=195.0 + block,
            rss_bytes=2_000_000_000,
        )
        for block, energy in enumerate((4.0, 5.0, 6.0))
    ]
    gpu = [(0, 1.9, 0.013), (1, 2.0, 0.014), (2, 2.2, 0.015)]
    made += [_on_gpu("pythia-410m", "<CUDA, TORCH>", *row) for row in gpu]
    made += [_on_gpu("pythia-410m", "<CUDA, ONNX>", *row) for row in ((0, 1.0, 0.01), (2, 1.5, 0.02))]
    made.append(failed("pythia-410m", "<CUDA, ONNX>", 1, Status.TIMED_OUT, "no answer in 600 s"))
    made += [failed("codegemma-2b", "<CPU, TORCH>", b, Status.OUT_OF_MEMORY, "needs 10.0 GB & more") for b in range(3)]
    made += [_on_gpu("codegemma-2b", "<CUDA, TORCH>", b, 8.0, 0.03) for b in range(3)]
    return tuple(made)


def study(
    models: int = 12, configurations: tuple[str, ...] = (*CONFIGURATIONS, *BF16), blocks: int = 5, seed: int = 1
) -> tuple[Observation, ...]:
    """A study as large as the real one: plausible sizes, 2 % of scatter, some cells failed, some blocks missing."""
    chance = random.Random(seed)
    made = []
    for model in list(MODELS)[:models]:
        for configuration in configurations:
            level = _level(model, configuration, chance)
            made += [_plausible(model, configuration, block, level, chance) for block in range(blocks)]
    return tuple(made)


def _on_gpu(model: str, configuration: str, block: int, energy: float, time: float) -> Observation:
    return observation(
        model,
        configuration,
        block,
        energy_j_per_token=energy,
        cpu_energy_j_per_token=0.5,
        gpu_energy_j_per_token=energy - 0.5,
        s_per_token=time,
        cpu_percent=100.0,
        rss_bytes=3_000_000_000,
        gpu_percent=60.0,
        gpu_memory_bytes=4_000_000_000,
    )


def _level(model: str, configuration: str, chance: random.Random) -> tuple[float, float]:
    """Typical seconds per token and watts."""
    engine = {"TORCH": 1.0, "ONNX": 0.8, "OV": 0.9, "JIT": 1.1}[configuration.strip("<>").split(", ")[1]]
    precision = 0.6 if "bf16" in configuration else 1.0
    size = MODELS[model] / 1e9
    uneven = chance.uniform(0.85, 1.2) * engine * precision
    if "CUDA" in configuration:
        return (0.006 + 0.004 * size) * uneven, 150 + 25 * size
    return (0.01 + 0.16 * size) * uneven, 40.0


def _plausible(
    model: str, configuration: str, block: int, level: tuple[float, float], chance: random.Random
) -> Observation:
    cuda = "CUDA" in configuration
    if model.startswith("stablecode") and configuration == "<CPU, JIT>":
        return failed(model, configuration, block, Status.OUT_OF_MEMORY, "killed at 23.9 GB of memory")
    if model == "codegemma-2b" and configuration == "<CPU, OV, bf16>":
        reason = "what computes is fp32, not bf16"
        return failed(model, configuration, block, Status.REFUSED, reason)
    if model == "phi2" and configuration == "<CUDA, ONNX>" and block == 3:
        return failed(model, configuration, block, Status.INVALID, "others used 9 % of the CPUs")
    time = level[0] * chance.lognormvariate(0, 0.02)
    power = level[1] * chance.lognormvariate(0, 0.02)
    cpu = 25.0 if cuda else power
    size = MODELS[model] * (2 if "bf16" in configuration else 4)
    return observation(
        model,
        configuration,
        block,
        grade=Grade.ESTIMATED,
        cpu_grade=Grade.ESTIMATED,
        gpu_grade=Grade.COUNTER if cuda else Grade.MISSING,
        s_per_token=time,
        energy_j_per_token=power * time + (cpu * time if cuda else 0.0),
        cpu_energy_j_per_token=cpu * time,
        gpu_energy_j_per_token=power * time if cuda else None,
        cpu_percent=101.0 + chance.uniform(-1, 1) if cuda else 196.0 + chance.uniform(-3, 3),
        rss_bytes=1_200_000_000 if cuda else size + 600_000_000,
        gpu_percent=55.0 + chance.uniform(-8, 8) if cuda else None,
        gpu_memory_bytes=size + 900_000_000 if cuda else None,
    )

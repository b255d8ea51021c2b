"""How close each engine's decoding comes to what main memory allows, and how it compares with transformers' generate.

    python benchmarks/roofline.py
    python benchmarks/roofline.py --engines torch,onnx --rounds 5 --json

At batch 1 every token reads every weight once (but for the input embedding, which is only looked up), so no engine
can be faster than those bytes over the memory's read bandwidth. The model has the shape of pythia-410m (GPTNeoX:
24 layers, hidden 1024) with random fp32 weights, written once. Each measurement runs in a process of its own, and
all of them take turns within each round, so that a machine that changes its mind changes it for all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from servewatt import engines, wire
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Model, Precision, Weights
from servewatt.stats.limits import step_bytes

MODEL = "pythia-410m"
GENERATE = "generate"
"""Stands for transformers' own generate beside the engines' names."""
ENGINES = "torch,torchscript,onnx,openvino"
READ_BYTES = 2**30
"""Size of the array whose reading gives the bandwidth: far above any last-level cache."""
READS = 9
PROMPT_TOKENS = 16


@dataclass(frozen=True)
class Sample:
    """One process's measurement."""

    step_s: float
    """Median time between two tokens."""
    bandwidth_bytes_s: float
    """What memory delivered just before and just after."""


@dataclass(frozen=True)
class Row:
    """One engine's decoding, medians over the rounds."""

    engine: str
    step_ms: float
    bandwidth_gb_s: float
    share_of_bandwidth: float
    """Least time for the bytes a step must read, over the time it took."""
    share_with_embedding: float
    """The same if the input embedding, too, were read each step: all weights over bandwidth."""
    over_generate: float
    """Speed relative to transformers' generate."""
    samples: tuple[Sample, ...]


def read_times() -> list[float]:
    """Seconds that each of several reads of a large array by all threads took."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    numbers = torch.rand(READ_BYTES // 4)
    torch.sum(numbers)
    times = []
    for _ in range(READS):
        begin_s = time.perf_counter()
        torch.sum(numbers)
        times.append(time.perf_counter() - begin_s)
    return times


def prompt(model: Model) -> list[int]:
    """Sixteen token ids."""
    return [(7919 * i) % model.vocabulary_size for i in range(1, PROMPT_TOKENS + 1)]


def engine_step_s(model: Model, engine: str, new_tokens: int) -> float:
    """Median seconds between two tokens of an engine, after generations that warm it up."""
    session = engines.create(engine).load(model, Configuration(engine), ArtefactCache())
    for _ in range(2):
        list(session.generate([prompt(model)], new_tokens))
    marks = [step.time_s for step in session.generate([prompt(model)], new_tokens)]
    session.close()
    return _median_step(marks)


def generate_step_s(model: Model, new_tokens: int) -> float:
    """Median seconds between two tokens of transformers' generate; a streamer notes when each one is known."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.generation.streamers import BaseStreamer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    module = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32).eval()
    marks: list[float] = []

    class Clock(BaseStreamer):  # type: ignore[misc]
        def put(self, value: object) -> None:
            marks.append(time.monotonic())

        def end(self) -> None:
            pass

    ids = torch.tensor([prompt(model)])
    for _ in range(3):
        marks.clear()
        module.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=0,
            streamer=Clock(),
        )
    # The first mark is the prompt's.
    return _median_step(marks[1:])


def _median_step(marks: list[float]) -> float:
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(marks))


def in_a_process(what: str, model: Model, new_tokens: int) -> Sample:
    """The measurement of `child` in a process of its own."""
    command = [sys.executable, __file__, "--child", what, "--new-tokens", str(new_tokens)]
    done = subprocess.run(command, input=wire.dump(model).encode(), stdout=subprocess.PIPE, check=True)
    return Sample(**json.loads(done.stdout.splitlines()[-1]))


def child(what: str, new_tokens: int) -> Sample:
    """One measurement, of the model on standard input.

    Memory bandwidth is read here, before and after, because on a shared machine it may change from one process to
    the next by half.
    """
    model = wire.load(Model, sys.stdin.buffer.read())
    times = read_times()
    step_s = generate_step_s(model, new_tokens) if what == GENERATE else engine_step_s(model, what, new_tokens)
    return Sample(step_s, READ_BYTES / statistics.median(times + read_times()))


def measure(names: list[str], model: Model, new_tokens: int, rounds: int) -> Iterator[Row]:
    """One row for generate and for each engine."""
    samples: dict[str, list[Sample]] = {name: [] for name in (GENERATE, *names)}
    for name in samples:  # exports happen before anything is timed
        in_a_process(name, model, 3)
    for number in range(1, rounds + 1):
        for name, taken in samples.items():
            taken.append(in_a_process(name, model, new_tokens))
            shown = f"{taken[-1].step_s * 1e3:.2f} ms/token at {taken[-1].bandwidth_bytes_s / 1e9:.1f} GB/s"
            print(f"round {number} of {rounds}: {name}: {shown}", file=sys.stderr)
    assert model.shape is not None
    needed = sum(step_bytes(model.shape, Precision.FP32, rows=1, context_tokens=PROMPT_TOKENS))
    for name, taken in samples.items():
        share = statistics.median(needed / (s.bandwidth_bytes_s * s.step_s) for s in taken)
        yield Row(
            engine=name,
            step_ms=statistics.median(s.step_s for s in taken) * 1e3,
            bandwidth_gb_s=statistics.median(s.bandwidth_bytes_s for s in taken) / 1e9,
            share_of_bandwidth=share,
            share_with_embedding=share * model.weight_bytes / needed,
            over_generate=statistics.median(g.step_s / s.step_s for g, s in zip(samples[GENERATE], taken, strict=True)),
            samples=tuple(taken),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--engines", default=ENGINES, help="comma-separated")
    parser.add_argument(
        "--model-folder", help="a folder with config.json and fp32 safetensors instead of random weights"
    )
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(asdict(child(arguments.child, arguments.new_tokens))))
        return
    chosen, weights = (arguments.model_folder, Weights.TRAINED) if arguments.model_folder else (MODEL, Weights.RANDOM)
    model = resolve(chosen, weights=weights, cache=ArtefactCache())
    rows = list(measure(arguments.engines.split(","), model, arguments.new_tokens, arguments.rounds))
    if arguments.json:
        print(json.dumps({"model": model.name, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(f"{model.name}, fp32, batch 1")
    print(f"{'engine':12} {'ms/token':>9} {'GB/s':>6} {'of bandwidth':>13} {'with embedding':>15} {'x generate':>11}")
    for row in rows:
        shares = f"{row.share_of_bandwidth:13.3f} {row.share_with_embedding:15.3f}"
        print(f"{row.engine:12} {row.step_ms:9.2f} {row.bandwidth_gb_s:6.1f} {shares} {row.over_generate:11.3f}")


if __name__ == "__main__":
    main()

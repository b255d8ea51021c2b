"""Decoding speed of engine onnxruntime-genai beside the library's own bare loop, and beside engine onnx.

    python benchmarks/native_onnxruntime_genai.py
    python benchmarks/native_onnxruntime_genai.py --models bundled --configurations fp32,int4:activations=int8 --json

To be run by the Python of the engine's environment, with servewatt importable. The bare loop is that of the library's
benchmark: append the prompt, then generate tokens, and look at none. It uses the same loaded model in the same process
and takes turns with the engine; so does engine onnx in the same configuration, where onnxscript is installed too. A
round is one generation by each. The goal is a ratio to the bare loop of at least 0.97.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.onnxruntime_genai import OnnxRuntimeGenAISession
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Model, Precision, Weights

PROMPT = list(range(3, 19))


@dataclass(frozen=True)
class Row:
    """One model in one configuration, medians over the rounds."""

    model: str
    configuration: str
    engine_step_ms: float
    native_step_ms: float
    onnx_step_ms: float | None
    """Of engine onnx; None where it cannot run."""
    ratio: float
    """Speed of the engine over that of the bare loop: median of the rounds' ratios."""
    ratio_to_onnx: float | None


def native_steps(model: Any, tokens: int) -> list[float]:
    """Seconds of each decode step after a prompt."""
    import onnxruntime_genai

    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(batch_size=1, max_length=len(PROMPT) + tokens, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array(PROMPT, np.int32))
    generator.generate_next_token()
    times = []
    for _ in range(tokens - 1):
        begin_s = time.perf_counter()
        generator.generate_next_token()
        times.append(time.perf_counter() - begin_s)
    return times


def engine_steps(session: Session, tokens: int) -> list[float]:
    """The same from an engine's session."""
    marks = [step.time_s for step in session.generate([PROMPT], tokens)]
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def configured(text: str, threads: int) -> Configuration:
    """`int4:activations=int8` as a configuration."""
    precision, *options = text.split(":")
    pairs = tuple((name, value) for name, _, value in (option.partition("=") for option in options))
    return Configuration("onnxruntime-genai", precision=Precision(precision), threads=threads, options=pairs)


def compare(model: Model, configuration: Configuration, tokens: int, rounds: int, artefacts: ArtefactCache) -> Row:
    """Measure one model in one configuration."""

    def load(engine: str) -> Session:
        asked = Configuration(
            engine, precision=configuration.precision, threads=configuration.threads, options=configuration.options
        )
        return engines.create(engine).load(model, asked, artefacts)

    session = load("onnxruntime-genai")
    assert isinstance(session, OnnxRuntimeGenAISession)
    runs: dict[str, Callable[[int], list[float]]] = {
        "engine": lambda count: engine_steps(session, count),
        "native": lambda count: native_steps(session.model, count),
    }
    other = load("onnx") if importlib.util.find_spec("onnxscript") else None
    if other is not None:
        runs["onnx"] = lambda count: engine_steps(other, count)
    for run in runs.values():
        run(4)
    steps: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            steps[name].append(1e3 * statistics.median(runs[name](tokens)))
    for each in (session, other):
        if each is not None:
            each.close()

    def ratio(name: str) -> float:
        return statistics.median(n / e for n, e in zip(steps[name], steps["engine"], strict=True))

    return Row(
        model.name,
        configuration.key,
        statistics.median(steps["engine"]),
        statistics.median(steps["native"]),
        statistics.median(steps["onnx"]) if other is not None else None,
        ratio("native"),
        ratio("onnx") if other is not None else None,
    )


def text_of(row: Row) -> str:
    """One line."""
    line = (
        f"{row.model:12} {row.configuration:52} engine {row.engine_step_ms:8.3f} ms  "
        f"native {row.native_step_ms:8.3f} ms  ratio {row.ratio:.3f}"
    )
    if row.onnx_step_ms is not None:
        line += f"  onnx {row.onnx_step_ms:8.3f} ms  ratio {row.ratio_to_onnx:.3f}"
    return line


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="bundled,tinyllama")
    parser.add_argument("--configurations", default="fp32,int4,int4:activations=int8")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    rows = []
    with ArtefactCache() as artefacts:
        for name, text in itertools.product(chosen.models.split(","), chosen.configurations.split(",")):
            weights = Weights.TRAINED if name == "bundled" else Weights.RANDOM
            model = resolve(name, weights=weights, cache=artefacts)
            rows.append(compare(model, configured(text, chosen.threads), chosen.tokens, chosen.rounds, artefacts))
            if not chosen.json:
                print(text_of(rows[-1]), flush=True)
    if chosen.json:
        print(json.dumps({"cpus": len(os.sched_getaffinity(0)), "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()

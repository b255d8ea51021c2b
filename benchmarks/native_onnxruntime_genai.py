"""Decoding speed of engine onnxruntime-genai beside the library's own bare loop, and beside engine onnx.

    python benchmarks/native_onnxruntime_genai.py
    python benchmarks/native_onnxruntime_genai.py --models bundled --configurations fp32,int4:activations=int8 --json

To be run by the Python of the engine's environment, with servewatt importable. All run in one process; the loops are
over the very model that the engine has loaded:

engine  `session.generate`. Each step yields its token ids on the host and their time. Its generator is rewound.
native  The library's loop with a new generator: `generate_next_token`, then `get_next_tokens`, as its chat examples do.
        The same comes of it, ids on the host and their time; the goal is a ratio to it of at least 0.97.
bare    The same loop without ids, as in the library's own benchmark, which looks at no token.
onnx    Engine onnx in the same configuration; only where onnxscript is installed too.

A step lasts from one such time to the next, so all that is done in between counts on every side. A round is one
generation by each, in random order, and its figure the median of the steps. Threads of ONNX Runtime go on spinning for
tens of milliseconds after their work, on a CPU that another's threads need, so a turn begins when the process is idle.
The ratios are medians over the rounds with a distribution-free 95 % confidence interval.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.onnxruntime_genai.session import OnnxRuntimeGenAISession
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Model, Precision, Weights
from servewatt.stats.intervals import typical
from servewatt.stats.records import Interval

PROMPT = list(range(3, 19))
_LOOK_S = 0.02
_IDLE_SHARE = 0.1


@dataclass(frozen=True)
class Row:
    """One model in one configuration, medians over the rounds."""

    model: str
    configuration: str
    engine_step_ms: float
    native_step_ms: float
    bare_step_ms: float
    onnx_step_ms: float | None
    """Of engine onnx; None where it cannot run."""
    ratio: Interval
    """Speed of the engine over that of the native loop."""
    bare_ratio: Interval
    """The same to the loop that looks at no token."""
    ratio_to_onnx: Interval | None


def native_steps(model: Any, tokens: int, *, ids: bool) -> list[float]:
    """Seconds of each decode step after a prompt, in the library's loop; with `ids`, the tokens are looked at."""
    import onnxruntime_genai

    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(batch_size=1, max_length=len(PROMPT) + tokens, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array(PROMPT, np.int32))
    marks = []
    for _ in range(tokens):
        generator.generate_next_token()
        if ids:
            generator.get_next_tokens().tolist()
        marks.append(time.monotonic())
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def engine_steps(session: Session, tokens: int) -> list[float]:
    """The same from an engine's session."""
    marks = [step.time_s for step in session.generate([PROMPT], tokens)]
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def wait_until_idle() -> None:
    """Return once the threads of this process have stopped computing."""
    share = 1.0
    while share > _IDLE_SHARE:
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        time.sleep(_LOOK_S)
        share = (time.process_time() - begin_cpu_s) / (time.perf_counter() - begin_s)


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
        "native": lambda count: native_steps(session.model, count, ids=True),
        "bare": lambda count: native_steps(session.model, count, ids=False),
    }
    other = load("onnx") if importlib.util.find_spec("onnxscript") else None
    if other is not None:
        runs["onnx"] = lambda count: engine_steps(other, count)
    for run in runs.values():
        run(4)
    steps: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(runs), len(runs)):
            wait_until_idle()
            steps[name].append(1e3 * statistics.median(runs[name](tokens)))
    for each in (session, other):
        if each is not None:
            each.close()

    def ratio(name: str) -> Interval:
        return typical([n / e for n, e in zip(steps[name], steps["engine"], strict=True)])

    middle = {name: statistics.median(values) for name, values in steps.items()}
    return Row(
        model.name,
        configuration.key,
        middle["engine"],
        middle["native"],
        middle["bare"],
        middle.get("onnx"),
        ratio("native"),
        ratio("bare"),
        ratio("onnx") if other is not None else None,
    )


def text_of(row: Row) -> str:
    """A line for each contender."""
    lines = [f"{row.model} {row.configuration}", f"  engine {row.engine_step_ms:8.3f} ms"]
    others: list[tuple[str, float | None, Interval | None]] = [
        ("native", row.native_step_ms, row.ratio),
        ("bare", row.bare_step_ms, row.bare_ratio),
        ("onnx", row.onnx_step_ms, row.ratio_to_onnx),
    ]
    for name, step_ms, ratio in others:
        if step_ms is not None and ratio is not None:
            bounds = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
            lines.append(f"  {name:6} {step_ms:8.3f} ms  ratio {ratio.estimate:.3f}{bounds}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="bundled,tinyllama")
    parser.add_argument("--configurations", default="fp32,int4,int4:activations=int8")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=21)
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

"""Decode rate of narrow precisions as ratios to ONNX Runtime in fp32.

    python benchmarks/low_precision.py
    python benchmarks/low_precision.py --model pythia-410m --weights random --rounds 5
    python benchmarks/low_precision.py --configuration onnx/fp32 --configuration onnx/int4/activations=int8/group=32

Every configuration, `engine/precision[/option=value...]`, decodes once a round in a process of its own, in random
order. A ratio is the median over rounds of the configuration's rate over that of the first one in the same round, so
that a slow spell of the machine hits both. Steps are timed from token to token; the median step of a round counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass

from servewatt import engines, wire
from servewatt.engines.proof import violations
from servewatt.errors import ServewattError
from servewatt.experiment.naming import configuration as configuration_of
from servewatt.harness.derive import derive
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Model, Weights

DEFAULT = (
    "onnx/fp32",
    "onnx/w8a8",
    "onnx/int4",
    "onnx/int4/activations=int8",
    "openvino/fp32",
    "openvino/bf16",
    "openvino/int8",
    "openvino/w8a8",
    "openvino/int4",
    "openvino/int4/activations=int8",
)


@dataclass(frozen=True)
class Order:
    """What a process is to decode."""

    model: Model
    configuration: Configuration
    prompt_tokens: int
    new_tokens: int


def decode(order: Order) -> float:
    """Mean seconds of a decode step; the first third of the steps warms up.

    No median: an engine may hand over the tokens of several steps at once.
    """
    session = engines.create(order.configuration.engine).load(order.model, order.configuration, ArtefactCache())
    ids = random.Random(0).choices(range(3, order.model.vocabulary_size), k=order.prompt_tokens)
    times = [step.time_s for step in session.generate([ids], order.new_tokens)]
    contradictions = violations(order.configuration, session.facts())
    if contradictions:
        raise SystemExit(f"{order.configuration.key}: {'; '.join(contradictions)}")
    warm = times[len(times) // 3 :]
    return (warm[-1] - warm[0]) / (len(warm) - 1)


def in_process(order: Order) -> float | None:
    """`decode` in a process of its own, in the engine's environment; None, and a line on stderr, if it fails."""
    python, variables = engines.interpreter(order.configuration.engine, os.environ)
    done = subprocess.run(
        [python, __file__, "--decode"],
        input=wire.dump(order).encode(),
        stdout=subprocess.PIPE,
        check=False,
        env=variables,
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


@dataclass(frozen=True)
class Row:
    """One configuration."""

    key: str
    step_ms: float
    """Median over rounds."""
    ratio: float
    """Rate over that of the first configuration, median over rounds."""
    low: float
    """Least ratio of a round."""
    high: float


def measure(arguments: argparse.Namespace) -> list[Row]:
    configurations = [configuration_of(text) for text in arguments.configuration or DEFAULT]
    cache = ArtefactCache()
    model = resolve(arguments.model, weights=Weights(arguments.weights), cache=cache)
    runnable = []
    for configuration in configurations:
        try:
            engines.check(configuration)
            derive(model, configuration)
        except ServewattError as error:
            print(f"{configuration.key}: {error.message} ({error.hint})", file=sys.stderr)
        else:
            runnable.append(configuration)
    rounds: list[dict[Configuration, float]] = []
    for number in range(arguments.rounds):
        seconds = {}
        for configuration in random.Random(number).sample(runnable, k=len(runnable)):
            step_s = in_process(Order(model, configuration, arguments.prompt_tokens, arguments.new_tokens))
            if step_s is not None:
                seconds[configuration] = step_s
        rounds.append(seconds)
    rows = []
    first = configurations[0]
    for configuration in runnable:
        held = [r for r in rounds if configuration in r and first in r]
        if held:
            ratios = [r[first] / r[configuration] for r in held]
            step_ms = 1e3 * statistics.median(r[configuration] for r in held)
            rows.append(Row(configuration.key, step_ms, statistics.median(ratios), min(ratios), max(ratios)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--weights", choices=["trained", "random"], default="trained")
    parser.add_argument("--configuration", action="append", help="engine/precision[/option=value...]; the first is 1")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--decode", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decode:
        print(decode(wire.load(Order, sys.stdin.buffer.read())))
        return
    rows = measure(arguments)
    if arguments.json:
        print(json.dumps({"model": arguments.model, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(f"{'configuration':44} {'ms/token':>9} {'rate':>6}  over rounds")
    for row in rows:
        print(f"{row.key:44} {row.step_ms:9.2f} {row.ratio:6.2f}  {row.low:.2f} to {row.high:.2f}")


if __name__ == "__main__":
    main()

"""What the harness costs: decode rate inside a trial over the same engine in the shortest possible loop.

    python benchmarks/overhead.py --model bundled --rounds 5
    python benchmarks/overhead.py --model pythia-410m --weights random --prompts 2 --new-tokens 32

Trial and bare loop alternate within each round, each in a fresh process; the ratio is the median over rounds. The
waiting parent's CPU time is given as a share of the worker's life.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from servewatt import engines, wire
from servewatt.cli.planning import make_plan
from servewatt.cli.run_file import validate
from servewatt.engines.decode import GraphSession, left_pad
from servewatt.harness import runner
from servewatt.harness.environment import describe
from servewatt.harness.schedule import Progress
from servewatt.models.cache import ArtefactCache
from servewatt.records import Result, Run, Status, Trial


def bare_loop(trial: Trial) -> float:
    """Seconds a decode step, by the shortest loop that still generates, over as long as the trial's window."""
    session = engines.create(trial.configuration.engine).load(trial.model, trial.configuration, ArtefactCache())
    assert isinstance(session, GraphSession)
    prompts = trial.workload.prompts
    steps = trial.workload.new_tokens
    for prompt in prompts:
        for _ in session.generate([prompt], min(steps, 16)):
            pass
    decode_s = 0.0
    counted = 0
    while decode_s < trial.procedure.window_s:
        for prompt in prompts:
            padded, mask = left_pad([prompt])
            ids, state = session.start(padded, mask, steps)
            logits, state = session.step(ids, state)
            ids = session.argmax(logits)
            session.to_host(ids)
            begin_s = time.perf_counter()
            for _ in range(steps - 1):
                logits, state = session.step(ids, state)
                ids = session.argmax(logits)
                session.to_host(ids)
            decode_s += time.perf_counter() - begin_s
            counted += steps - 1
    session.close()
    return decode_s / counted


def step_in_trial_s(result: Result) -> float:
    """Seconds a decode step inside the measured window."""
    steps = [s for g in result.generations for s in g.inter_token_s]
    return sum(steps) / len(steps)


def measure(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """One row per engine."""
    asked = validate(
        {
            "model": {"name": arguments.model, "weights": arguments.weights},
            "workload": {"prompts": f"bundled:{arguments.prompts}", "new_tokens": arguments.new_tokens},
            "configurations": {"engines": arguments.engine.split(",")},
            "procedure": {"window_s": arguments.window, "blocks": arguments.rounds, "foreign_limit": 1.0},
        },
        "options",
    )
    plan, _ = make_plan(asked, ArtefactCache(), has_gpu=False)
    run = Run("overhead", "", plan, describe(()), "")
    for configuration in plan.configurations:
        prepared = runner.prepare(run, configuration)
        if prepared.status is not Status.OK:
            raise SystemExit(f"{configuration.key}: {prepared.reason}\n{prepared.log}")
    ratios: dict[str, list[float]] = {c.engine: [] for c in plan.configurations}
    parent: dict[str, list[float]] = {c.engine: [] for c in plan.configurations}
    for block in range(plan.procedure.blocks):
        for trial in Progress(run, []).missing(block):
            begin_s = time.monotonic()
            result = runner.measure(trial, run.environment)
            lasted_s = time.monotonic() - begin_s
            if result.status is not Status.OK or result.parent_cpu_s is None:
                raise SystemExit(f"{trial.configuration.key}: {result.reason}\n{result.log}")
            bare_s = _bare_in_a_process(replace(trial, block=block))
            engine = trial.configuration.engine
            ratios[engine].append(bare_s / step_in_trial_s(result))
            parent[engine].append(result.parent_cpu_s / lasted_s)
            print(f"round {block + 1} {engine}: {ratios[engine][-1]:.4f}", file=sys.stderr)
    for engine, values in ratios.items():
        yield {
            "engine": engine,
            "rate_in_trial_over_bare_loop": statistics.median(values),
            "rounds": values,
            "parent_cpu_share": max(parent[engine]),
        }


def _bare_in_a_process(trial: Trial) -> float:
    command = [sys.executable, __file__, "--bare"]
    done = subprocess.run(command, input=wire.dump(trial).encode(), stdout=subprocess.PIPE, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--weights", choices=["trained", "random"], default="trained")
    parser.add_argument("--engine", default="torch,torchscript,onnx,openvino")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--window", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(bare_loop(wire.load(Trial, sys.stdin.buffer.read())))
        return
    rows = list(measure(arguments))
    if arguments.json:
        print(json.dumps({"model": arguments.model, "weights": arguments.weights, "rows": rows}, indent=2))
        return
    print(f"{'engine':12} {'in trial / bare loop':>20} {'parent CPU':>11}")
    for row in rows:
        print(f"{row['engine']:12} {row['rate_in_trial_over_bare_loop']:20.4f} {row['parent_cpu_share']:11.4%}")


if __name__ == "__main__":
    main()

"""What the harness costs: decode rate inside a measured window over the same engine in the shortest possible loop.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --model pythia-410m --weights random --prompts 2 --new-tokens 32

The window is the harness's own generation loop, with every step recorded and the sampling process at work. A slice is
the same as a duet episode measures it: a sampling process of its own goes on, two tokens are generated untimed, and
whole batches follow. Window, slice and bare loop, for which both sampling processes rest, take turns of about a second
over one loaded engine in one process, in random order, because the memory of a shared machine changes its speed from
one second to the next. The ratio is the median over rounds with a distribution-free 95 % confidence interval; beside it
stands the same for the bare loop against itself, which tells how much of it is the machine's unrest. One real trial of
each engine tells how much CPU time its waiting parent used.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from servewatt import engines, wire
from servewatt.engines.shared.decode import GraphSession, left_pad
from servewatt.experiment.planning import make_plan
from servewatt.experiment.study_file import validate
from servewatt.harness import runner
from servewatt.harness.environment import describe
from servewatt.harness.residency import SAMPLER_PAUSE_S
from servewatt.harness.sampler import Sampler, SamplerOrder
from servewatt.harness.schedule import Progress
from servewatt.harness.window import Generator
from servewatt.models.cache import ArtefactCache
from servewatt.records import Run, Status, Trial
from servewatt.stats.intervals import typical
from servewatt.stats.records import Interval


def bare_steps_s(session: GraphSession[Any, Any, Any], trial: Trial) -> float:
    """Seconds a decode step in the shortest loop that still generates, over as long as the trial's window."""
    steps = trial.workload.new_tokens
    decode_s = 0.0
    counted = 0
    while decode_s < trial.procedure.window_s:
        for prompt in trial.workload.prompts:
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
    return decode_s / counted


def window_steps_s(generator: Generator, trial: Trial) -> float:
    """Seconds a decode step as the harness generates inside a window."""
    work = generator.generate_for(trial.procedure.window_s)
    steps = [s for g in generator.generations(work) for s in g.inter_token_s]
    return sum(steps) / len(steps)


def slice_steps_s(generator: Generator, sampler: Sampler, trial: Trial) -> float:
    """Seconds a decode step in a slice of a duet episode; `sampler` is paused, before and after."""
    sampler.resume()
    time.sleep(SAMPLER_PAUSE_S)
    generator.touch()
    work = generator.some_for(trial.procedure.window_s, 0)
    sampler.pause()
    steps = [s for g in generator.generations(work) for s in g.inter_token_s]
    return sum(steps) / len(steps)


@dataclass(frozen=True)
class Round:
    """Decode rates of one round."""

    window_over_bare: float
    slice_over_bare: float
    bare_over_bare: float
    """The bare loop against itself: what the machine's own unrest makes of no difference at all."""


def compare(trial: Trial) -> list[Round]:
    """Window and bare loop, in turns over one loaded engine."""
    session = engines.create(trial.configuration.engine).load(trial.model, trial.configuration, ArtefactCache())
    assert isinstance(session, GraphSession)
    generator = Generator(session, trial.workload, 1, trial.model)
    generator.warm_up(2.0, 60.0, 0.05)
    bare_steps_s(session, trial)
    procedure = trial.procedure
    order = SamplerOrder(os.getpid(), procedure.sample_interval_s, procedure.meters, procedure.cpu_watts)
    sampler, pausing = Sampler(order), Sampler(order)
    pausing.pause()
    gc.collect()
    gc.disable()

    def unsampled(turn: Callable[[], float]) -> float:
        os.kill(sampler.pid, signal.SIGSTOP)
        step_s = turn()
        os.kill(sampler.pid, signal.SIGCONT)
        return step_s

    def bare() -> float:
        return unsampled(lambda: bare_steps_s(session, trial))

    turns: dict[str, Callable[[], float]] = {
        "window": lambda: window_steps_s(generator, trial),
        "slice": lambda: unsampled(lambda: slice_steps_s(generator, pausing, trial)),
        "bare": bare,
        "again": bare,
    }
    rounds: list[Round] = []
    for number in range(procedure.blocks):
        step_s = {name: turns[name]() for name in random.Random(number).sample(sorted(turns), k=len(turns))}
        between_s = (step_s["bare"] + step_s["again"]) / 2
        found = (between_s / step_s["window"], between_s / step_s["slice"], step_s["bare"] / step_s["again"])
        rounds.append(Round(*found))
    sampler.stop()
    pausing.stop()
    session.close()
    return rounds


@dataclass(frozen=True)
class Row:
    """One engine's overhead."""

    engine: str
    window_over_bare: Interval
    slice_over_bare: Interval
    bare_over_bare: Interval
    rounds: list[Round]
    parent_cpu_share: float


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
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
    for trial in Progress(run, []).missing(0):
        begin_s = time.monotonic()
        result = runner.measure(trial, run.environment)
        lasted_s = time.monotonic() - begin_s
        if result.status is not Status.OK or result.parent_cpu_s is None:
            raise SystemExit(f"{trial.configuration.key}: {result.reason}\n{result.log}")
        command = [sys.executable, __file__, "--compare"]
        done = subprocess.run(command, input=wire.dump(trial).encode(), stdout=subprocess.PIPE, check=True)
        rounds = wire.load(list[Round], done.stdout.splitlines()[-1])
        window, part = typical([r.window_over_bare for r in rounds]), typical([r.slice_over_bare for r in rounds])
        again = typical([r.bare_over_bare for r in rounds])
        yield Row(trial.configuration.engine, window, part, again, rounds, result.parent_cpu_s / lasted_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--weights", choices=["trained", "random"], default="trained")
    parser.add_argument("--engine", default="torch,torchscript,onnx,openvino")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--window", type=float, default=0.5, help="least seconds of a turn")
    parser.add_argument("--rounds", type=int, default=60, help="at least 2")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--compare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compare:
        print(json.dumps([asdict(each) for each in compare(wire.load(Trial, sys.stdin.buffer.read()))]))
        return
    rows = list(measure(arguments))
    if arguments.json:
        rows_json = [asdict(row) for row in rows]
        print(json.dumps({"model": arguments.model, "weights": arguments.weights, "rows": rows_json}, indent=2))
        return
    print(
        f"{'engine':12} {'window / bare loop':24} {'slice / bare loop':24} {'bare loop / itself':24} {'parent CPU':>10}"
    )
    for row in rows:
        ratios = (row.window_over_bare, row.slice_over_bare, row.bare_over_bare)
        cells = " ".join(f"{_text(ratio):24}" for ratio in ratios)
        print(f"{row.engine:12} {cells} {row.parent_cpu_share:10.4%}")


def _text(ratio: Interval) -> str:
    bounds = f" [{ratio.low:.3f}, {ratio.high:.3f}]" if ratio.low is not None and ratio.high is not None else ""
    return f"{ratio.estimate:.3f}{bounds}"


if __name__ == "__main__":
    main()

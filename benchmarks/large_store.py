"""How long `report`, `recommend` and `report --list` take in a store of many trials, beside a small store.

    python benchmarks/large_store.py
    python benchmarks/large_store.py --trials 20000 --generations 40 --rounds 5

A small store holds one run of 20 trials. The large one holds the same run, and one of `--trials`. Each command runs
several times in turn; the median counts, and ratios are to the same command in the small store.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from servewatt.records import (
    Component,
    Configuration,
    Domain,
    DomainEnergy,
    Environment,
    Facts,
    Generation,
    Grade,
    Model,
    ModelSource,
    Plan,
    Procedure,
    Result,
    Run,
    Section,
    Status,
    Trial,
    Weights,
    Workload,
)
from servewatt.store import Store, write_file

ENGINES = ("torch", "onnx", "openvino", "llama-cpp")
DOMAINS = (
    Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001),
    Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1),
)
PROMPTS = tuple(tuple(range(16 * n, 16 * n + 16)) for n in range(8))
NEW_TOKENS = 32


def made_run(id_: str, trials: int) -> Run:
    """A run of four configurations."""
    model = Model("made-up", ModelSource.BUNDLED, "", "0" * 64, "LlamaForCausalLM", Weights.TRAINED, 10**7, 2 * 10**7,
                  4096, 512)  # fmt: skip
    plan = Plan(
        model,
        Workload("eight", PROMPTS, NEW_TOKENS),
        tuple(map(Configuration, ENGINES)),
        Procedure(blocks=trials // len(ENGINES)),
    )
    environment = Environment("Example CPU", 2, 8 << 30, "6.1", "Linux", "3.12.0", domains=DOMAINS)
    created = "2026-02-01T00:00:00+00:00" if id_ == "small" else "2026-01-01T00:00:00+00:00"
    return Run(id_, created, plan, environment, "made up")


def made_results(run: Run, generations: int, noise: random.Random) -> Iterator[Result]:
    """Results of a run whose energies scatter by 1 %; every trial generated the same tokens."""
    gaps = tuple(0.01 + 1e-4 * step for step in range(NEW_TOKENS - 1))
    outputs = tuple(tuple(range(n, n + NEW_TOKENS)) for n in range(len(PROMPTS)))
    made = tuple(
        Generation(n % len(PROMPTS), 1, 100.0 + n, 0.05 + 1e-3 * n, gaps, NEW_TOKENS) for n in range(generations)
    )
    for block in range(run.plan.procedure.blocks):
        for position, configuration in enumerate(run.plan.configurations):
            share = noise.gauss(1, 0.01) * (1 + position / 20)
            sections = tuple(
                Section(name, 100.0, length_s, _energy(length_s * share), passes=5, tokens_out=5 * 8 * NEW_TOKENS)
                for name, length_s in (("load", 1.5), ("idle", 2.0), ("prefill", 2.0), ("generate", 10.0))
            )
            yield Result(
                Trial(run.id, block, position, 0, run.plan.model, run.plan.workload, configuration, run.plan.procedure),
                Status.OK,
                started_at="2026-01-01T00:00:00+00:00",
                facts=Facts("1.0", devices=(("cpu", 148),), weight_dtypes=(("fp32", 20_000_000),)),
                sections=sections,
                generations=made,
                outputs=outputs,
                peak_rss_bytes=10**9,
            )


def _energy(joules: float) -> tuple[DomainEnergy, ...]:
    return tuple(DomainEnergy(d.name, d.component, 10 * joules, 0.06, d.grade, counted=True) for d in DOMAINS)


def once_s(command: list[str]) -> float:
    """Seconds of one call of the command line."""
    begin_s = time.perf_counter()
    call = [sys.executable, "-m", "servewatt.cli.main", *command]
    subprocess.run(call, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - begin_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--generations", type=int, default=40, help="batches generated in each trial")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the stores here, and use those that are there")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runs = [made_run("small", 20), made_run("large", arguments.trials)]
        for name, held in (("small.db", runs[:1]), ("large.db", runs)):
            if not (folder / name).exists():
                fill(folder / name, held, arguments.generations)
        calls = {
            f"{' '.join(command)} in the {place} store": [*command, "--store", str(folder / f"{place}.db")]
            for command in (["report", "--list"], ["report", "small"], ["recommend", "small"])
            for place in ("small", "large")
        }
        for command in ("report", "recommend"):
            calls[f"{command} large in the large store"] = [command, "large", "--store", str(folder / "large.db")]
        times_s: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(arguments.rounds):
            for name, call in calls.items():
                times_s[name].append(once_s(call))
    tell({name: statistics.median(values) for name, values in times_s.items()}, as_json=arguments.json)


def fill(path: Path, runs: list[Run], generations: int) -> None:
    """Make a store as an import makes it, which takes about 1 ms a trial."""
    with Store.open(path) as store:
        for run in runs:
            exported = path.with_name("run.jsonl")
            write_file(exported, run, tuple(made_results(run, generations, random.Random(0))))
            store.import_run(exported)
            exported.unlink()


def tell(medians_s: dict[str, float], *, as_json: bool) -> None:
    """A line each: seconds, and how many times those of the same command in the small store."""
    rows = []
    for name, median_s in medians_s.items():
        alike = name.replace("large", "small")
        rows.append({"command": name, "median_s": median_s, "times_small": median_s / medians_s[alike]})
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['median_s']:7.3f} s  {row['times_small']:5.1f} x  {row['command']}")


if __name__ == "__main__":
    main()

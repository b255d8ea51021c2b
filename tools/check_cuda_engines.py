"""Check that every architecture runs in every PyTorch and ONNX configuration of an NVIDIA GPU, and says the same.

    python tools/check_cuda_engines.py --out check.json
    python tools/check_cuda_engines.py --engines onnx --precisions bf16 --architectures PhiForCausalLM
    python tools/check_cuda_engines.py --provider cpu --precisions fp32
    python tools/check_cuda_engines.py --engines torch,vllm --seconds 3600
    python tools/check_cuda_engines.py --engines torch,onnx,onnx/graphs=on

For someone with a GPU, after a change to an engine or a new version of a library: tests need none, so they cannot see
this. It wants servewatt importable (installed, or PYTHONPATH=src), torch, transformers, onnx, onnxscript and
onnxruntime-gpu, and the packages of any other engine that is asked for, all in one environment (vllm starts anew for
every case, half a minute each). Nothing is downloaded: models are those of the catalogue cut to two narrow layers, with
random weights wide enough for varied output.

Every engine and precision runs in a process of its own, several at once (vllm afterwards, a process a case and
alone); a crash costs its own case only. A case is `ok` if it loaded, generated, and what ran is what the
configuration claims. The share of tokens equal to torch in the same precision should be 100 % in fp32 and close to it
in half precision, where rounding differs by kernel and one token that differs changes those after it; in int8, w8a8
and int4 only that in fp32 is known, and random weights make it small. What an engine does not offer on the provider
is left out, and a model that it refuses with a reason is no failure, unless it refuses all. Exits with 1 if a case
failed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servewatt import engines
from servewatt.engines.proof import violations
from servewatt.errors import RefusedError, ServewattError
from servewatt.models.cache import ArtefactCache
from servewatt.models.catalogue import CATALOGUE
from servewatt.records import Configuration, Model, ModelSource, Precision, Provider, Weights

ENGINES = "torch,torchscript,onnx"
PRECISIONS = "fp32,bf16,fp16,int8,w8a8,int4"
ARCHITECTURES = ",".join(dict.fromkeys(entry.architecture for entry in CATALOGUE.values()))
BATCHES = (1, 2)
NEW_TOKENS = 32
PROMPT_LENGTHS = (7, 19)
VOCABULARY = 512
POSITIONS = 512
OPTIONS = {"vllm": (("memory", "0.3"),)}
"""Of an engine's every case: vllm would take most of a GPU's memory, whoever else uses it."""
ALONE = frozenset(OPTIONS)
"""Engines that size their memory by what is free as they start, so that others must not come and go meanwhile."""
THREADLESS = frozenset({"onnxruntime-genai"})
"""Engines that refuse a number of CPU threads beside a GPU."""
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
LAYERS = 2
HEADS = 4
DEVIATION = 0.3
"""Of weights at width 64; wider layers get smaller ones."""


Case = tuple[str, str, str, int]
"""Engine (and its options, `onnx/graphs=on`), precision, architecture, batch."""


@dataclass(frozen=True)
class Outcome:
    """One architecture in one engine, precision and batch."""

    engine: str
    precision: str
    architecture: str
    batch: int
    error: str = ""
    """Empty if all went well, else the first line of what went wrong."""
    refused: bool = False
    """Whether `error` is why the engine does not run such a model."""
    tokens: tuple[tuple[int, ...], ...] = ()
    """New ids of each prompt."""
    step_ms: float | None = None
    """Mean time between two tokens."""
    devices: tuple[tuple[str, int], ...] = ()
    weight_dtypes: tuple[tuple[str, int], ...] = ()
    compute_dtype: str = ""
    kv_cache_dtype: str = ""
    detail: tuple[tuple[str, str], ...] = ()
    equal_to_torch: float | None = None
    """Share of tokens equal to those of torch in the same precision."""
    equal_to_fp32: float | None = None
    """Share of tokens equal to those of torch in fp32."""

    @property
    def case(self) -> Case:
        return (self.engine, self.precision, self.architecture, self.batch)


def cut(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of the catalogue with two layers, four heads of the same size, and small tables."""
    small = {k: v for k, v in config.items() if k != "architectures"}

    def first(*names: str) -> str:
        return next(name for name in names if name in small)

    heads, hidden = first("n_head", "num_attention_heads"), first("n_embd", "hidden_size")
    factor = small[heads] // HEADS
    for name in (heads, hidden, "n_inner", "intermediate_size"):
        if small.get(name):
            small[name] //= factor
    if "num_key_value_heads" in small:
        small["num_key_value_heads"] = max(1, small["num_key_value_heads"] // factor)
    small[first("n_layer", "num_hidden_layers")] = LAYERS
    if "n_positions" in small:
        # A learned table; as long as it was it would outweigh what is left of the matrices.
        small["n_positions"] = POSITIONS
    deviation = DEVIATION * math.sqrt(64 / small[hidden])
    return small | {"vocab_size": VOCABULARY, "initializer_range": deviation} | SPECIAL


def write_models(folder: Path, architectures: Iterable[str]) -> None:
    """A checkpoint of each architecture in a folder of its name."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    for architecture in architectures:
        entry = next(e for e in CATALOGUE.values() if e.architecture == architecture)
        small = cut(dict(entry.config))
        config = AutoConfig.for_model(small.pop("model_type"), **small)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / architecture)


def model_in(folder: Path) -> Model:
    """The record of a folder that `write_models` wrote."""
    return Model(
        name=folder.name,
        source=ModelSource.FOLDER,
        folder=str(folder),
        revision=folder.name,
        architecture=folder.name,
        weights=Weights.RANDOM,
        parameters=0,
        weight_bytes=(folder / "model.safetensors").stat().st_size,
        vocabulary_size=VOCABULARY,
        context_length=256,
    )


def prompts() -> list[list[int]]:
    """Token ids of each prompt."""
    generator = random.Random(0)
    return [[generator.randrange(3, VOCABULARY) for _ in range(length)] for length in PROMPT_LENGTHS]


def parsed(engine: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Name and options of `name/option=value/...`, with those that its every case has."""
    name, *given = engine.split("/")
    pairs = (option.partition("=") for option in given)
    return name, (*OPTIONS.get(name, ()), *((option, value) for option, _, value in pairs))


def try_case(folder: Path, provider: Provider, threads: int, case: Case) -> Outcome:
    """Load, generate, compare what ran with the claim."""
    engine, precision, architecture, batch = case
    name, options = parsed(engine)
    given = None if provider is Provider.CUDA and name in THREADLESS else threads
    configuration = Configuration(name, provider, Precision(precision), batch, given, options)
    try:
        engines.check(configuration)
        cache = ArtefactCache(folder / "cache")
        session = engines.create(name).load(model_in(folder / architecture), configuration, cache)
        rows: list[tuple[int, ...]] = []
        times: list[float] = []
        for first in range(0, len(PROMPT_LENGTHS), batch):
            steps = list(session.generate(prompts()[first : first + batch], NEW_TOKENS))
            rows += zip(*(step.tokens for step in steps), strict=True)
            times += [b.time_s - a.time_s for a, b in itertools.pairwise(steps)]
        facts = session.facts()
        session.close()
    except ServewattError as error:
        return Outcome(*case, error=f"{error.message} ({error.hint})", refused=isinstance(error, RefusedError))
    except Exception as error:  # noqa: BLE001  whatever it is, the other cases must still run
        return Outcome(*case, error=f"{type(error).__name__}: {first_line(str(error))}")
    return Outcome(
        *case,
        error="; ".join(violations(configuration, facts)),
        tokens=tuple(rows),
        step_ms=1e3 * statistics.fmean(times),
        devices=facts.devices,
        weight_dtypes=facts.weight_dtypes,
        compute_dtype=facts.compute_dtype,
        kv_cache_dtype=facts.kv_cache_dtype,
        detail=facts.detail,
    )


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


def child(folder: Path, provider: Provider, threads: int, cases: Sequence[Case]) -> None:
    """Print each case's outcome as a line of JSON as soon as it is known."""
    for case in cases:
        print(json.dumps(asdict(try_case(folder, provider, threads, case))), flush=True)


def run_child(folder: Path, provider: str, threads: int, cases: Sequence[Case], deadline_s: float) -> list[Outcome]:
    """The outcomes of `cases` from processes of their own: after a crash, another process does the rest."""
    outcomes: list[Outcome] = []
    waiting = list(cases)
    while waiting:
        settings = ["--provider", provider, "--threads", str(threads), "--child", str(folder), json.dumps(waiting)]
        process = subprocess.Popen(
            [sys.executable, __file__, *settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            output, complaints = process.communicate(timeout=max(0.0, deadline_s - time.monotonic()))
            end = f"exit {process.returncode}: {last_line(complaints)}"
        except subprocess.TimeoutExpired:
            process.kill()
            output, end = process.communicate()[0], "out of time"
        outcomes += [read_outcome(line) for line in output.splitlines() if line.startswith('{"engine"')]
        waiting = [case for case in cases if tuple(case) not in {o.case for o in outcomes}]
        if waiting:
            outcomes.append(Outcome(*waiting.pop(0), error=f"the process died, {end}"))
    return outcomes


def last_line(text: str) -> str:
    """The last line that says something."""
    return first_line("\n".join(reversed(text.splitlines())))


def read_outcome(line: str) -> Outcome:
    """An outcome that a child printed."""
    fields = json.loads(line)
    pairs = {name: tuple((k, v) for k, v in fields[name]) for name in ("devices", "weight_dtypes", "detail")}
    return Outcome(**fields | pairs | {"tokens": tuple(tuple(row) for row in fields["tokens"])})


def compared(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes with their shares of equal tokens."""
    tokens = {o.case: [t for row in o.tokens for t in row] for o in outcomes}

    def share(outcome: Outcome, precision: str) -> float | None:
        ours, theirs = tokens[outcome.case], tokens.get(("torch", precision, outcome.architecture, outcome.batch), [])
        if not ours or not theirs:
            return None
        return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)

    return [
        Outcome(**vars(o) | {"equal_to_torch": share(o, o.precision), "equal_to_fp32": share(o, "fp32")})
        for o in outcomes
    ]


def what_ran(outcomes: Sequence[Outcome]) -> set[tuple[str, str]]:
    """Engines, with the precisions, that ran any model: a refusal is of a model, and who refuses all is broken."""
    return {(o.engine, o.precision) for o in outcomes if not o.error}


def show(outcomes: Sequence[Outcome]) -> None:
    """Print a line for each outcome."""

    def percent(share: float | None) -> str:
        return "-" if share is None else f"{share:.0%}"

    ran = what_ran(outcomes)
    form = "{:<16} {:<5} {:<22} {:>5}  {:<4} {:>6} {:>5} {:>8}  {}"
    print(form.format("engine", "type", "architecture", "batch", "", "=torch", "=fp32", "ms/token", "where, or why"))
    for o in outcomes:
        step = "-" if o.step_ms is None else f"{o.step_ms:.2f}"
        placed = ", ".join(f"{device} {count}" for device, count in o.devices)
        widened = dict(o.detail).get("widened_operators", "0")
        note = o.error or placed + (f", {widened} operators in fp32" if widened != "0" else "")
        state = "ok" if not o.error else "no" if o.refused and (o.engine, o.precision) in ran else "FAIL"
        shares = percent(o.equal_to_torch), percent(o.equal_to_fp32)
        print(form.format(o.engine, o.precision, o.architecture, o.batch, state, *shares, step, note))


def main() -> None:
    """Check what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--engines", default=ENGINES, help="with options: onnx/graphs=on; default: %(default)s")
    parser.add_argument("--precisions", default=PRECISIONS, help="default: %(default)s")
    parser.add_argument("--architectures", default=ARCHITECTURES, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=240, help="give up after this long (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the outcomes to this file as JSON")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each process (default: %(default)s)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        folder, cases = asked.child
        child(Path(folder), Provider(asked.provider), asked.threads, [tuple(case) for case in json.loads(cases)])
        return
    started = time.monotonic()
    architectures = asked.architectures.split(",")
    provider = Provider(asked.provider)
    pairs = [
        (engine, precision)
        for engine in asked.engines.split(",")
        for precision in asked.precisions.split(",")
        if (provider, Precision(precision)) in engines.entry(parsed(engine)[0]).supports
    ]
    together = [(engine, precision) for engine, precision in pairs if parsed(engine)[0] not in ALONE]
    alone = [pair for pair in pairs if pair not in together]
    cpus = len(os.sched_getaffinity(0))
    folder = Path(tempfile.mkdtemp(prefix="servewatt-check-"))
    try:
        write_models(folder, architectures)

        def cases_of(pair: tuple[str, str]) -> list[Case]:
            return [(*pair, name, batch) for name in architectures for batch in BATCHES]

        def run(cases: Sequence[Case]) -> list[Outcome]:
            return run_child(folder, asked.provider, asked.threads, cases, started + asked.seconds)

        with ThreadPoolExecutor(max(1, min(len(together), cpus // 2))) as pool:
            found = list(pool.map(run, map(cases_of, together)))
        found += [run([case]) for pair in alone for case in cases_of(pair)]
        outcomes = compared([outcome for one in found for outcome in one])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(outcomes)
    if asked.out:
        asked.out.write_text(json.dumps([asdict(o) for o in outcomes], indent=1), encoding="utf-8")
    ran = what_ran(outcomes)
    refused = sum(o.refused and (o.engine, o.precision) in ran for o in outcomes)
    failed = sum(bool(o.error) for o in outcomes) - refused
    counts = f"{len(outcomes) - failed - refused} ok, {refused} refused, {failed} failed"
    print(f"{counts}, {time.monotonic() - started:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

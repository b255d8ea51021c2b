"""Try variants of engine torch-graph on a machine with a GPU: same tokens as transformers, time and energy a token.

    python tools/try_torch_graph.py --model pythia-410m --seconds 500 --out try.json
    python tools/try_torch_graph.py --variants bf16/b1 bf16/b1/attention=fused bf16/b64/compile=max-autotune/steps=16
    python tools/try_torch_graph.py --variants int8/b1 torch:fp32/b1 --profile
    python tools/try_torch_graph.py --provider cpu --model bundled --variants fp32/b1 int8/b4 --window 1

A variant is written as configurations are: [ENGINE:]PRECISION/bBATCH[/OPTION=VALUE ...]; the engine is torch-graph
unless it says otherwise. Weights are random unless the model is `bundled` or a folder. Nothing is downloaded.

Every variant runs in a process of its own with its share of the time that is left; one that fails or hangs costs its
own line only. The first process asks transformers' eager `generate`, in fp32, for reference tokens and for their
probabilities. Each variant then tells the share of tokens that are equal, and the mean difference of the logarithms of
the probabilities of the reference's tokens: for random weights the share says little in half precision, the difference
much. Time and energy are of whole generations over a window that opens just after a step of NVML's energy counter;
those of prefill (the same with one new token) are taken off for the figures of decode. `--profile` adds the kernels of
one replay, from a generation outside the window.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.proof import violations
from servewatt.errors import ServewattError
from servewatt.harness.section import Stretch, take_mark, take_mark_at_step, to_section
from servewatt.meters.nvml import NvmlMeter
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Model, Precision, Provider, Weights

VARIANTS = (
    *("bf16/b1", "bf16/b1/compile=default", "bf16/b1/attention=fused", "bf16/b1/region=step", "bf16/b1/merge=off"),
    *("bf16/b1/steps=16", "bf16/b1/attention=fused/inductor=combo_kernels:True", "int8/b1", "int4/b1", "fp32/b1"),
    *("bf16/b64", "bf16/b64/compile=max-autotune", "bf16/b64/attention=fused", "int8/b64"),
    *("bf16/b256", "bf16/b256/compile=max-autotune", "bf16/b1/compile=off", "torch:bf16/b1", "torch:fp32/b1"),
)
CHECKED_ROWS = 2
"""Prompts, of different length, whose tokens are compared."""
CHECKED_TOKENS = 48
LEAST_SHARE_S = 90.0
"""Every variant may take this long, or an equal share of the time that is left if that is more."""


@dataclass(frozen=True)
class Asked:
    """What every process needs to know."""

    model: str
    provider: str
    prompt_tokens: int
    new_tokens: int
    window_s: float
    threads: int | None
    profile: bool
    gpu: int
    """Of NVML's boards: the one that computes and is metered."""


@dataclass(frozen=True)
class Reference:
    """What transformers says, eager and in fp32."""

    prompts: list[list[int]]
    tokens: list[list[int]]
    log_probabilities: list[list[float]]
    """Of each token of prompt and answer after the first."""


@dataclass(frozen=True)
class Spent:
    """Time and energy of one generation; None where there is no counter."""

    time_s: float
    energy_j: float | None
    error_j: float | None


@dataclass(frozen=True)
class Outcome:
    """One variant."""

    variant: str
    error: str = ""
    load_s: float | None = None
    warm_up_s: float | None = None
    """Compiling and recording included."""
    equal: float | None = None
    """Share of tokens equal to the reference's."""
    difference: float | None = None
    """Mean absolute difference of the logarithms of the probabilities of the reference's tokens."""
    prefill_ms: float | None = None
    decode_ms: float | None = None
    """A token of the batch: of a step's time, divided by the rows."""
    decode_mj: float | None = None
    decode_error_mj: float | None = None
    whole_mj: float | None = None
    """A token, prefill included."""
    power_w: float | None = None
    device_bytes: int | None = None
    weight_dtypes: tuple[tuple[str, int], ...] = ()
    detail: tuple[tuple[str, str], ...] = ()
    kernels_per_step: float | None = None
    kernels: tuple[tuple[str, float, float], ...] = ()
    """(name, launches a step, microseconds a step), the longest first."""


def parse(variant: str, provider: str, threads: int | None) -> Configuration:
    """A variant as a configuration."""
    engine, _, rest = (
        variant.rpartition(":") if ":" in variant.split("/", maxsplit=1)[0] else ("torch-graph", "", variant)
    )
    precision, batch, *options = rest.split("/")
    pairs = (option.partition("=") for option in options)
    return Configuration(
        engine or "torch-graph",
        Provider(provider),
        Precision(precision),
        int(batch.removeprefix("b")),
        threads,
        tuple((name, value) for name, _, value in pairs),
    )


def model_of(name: str, cache: ArtefactCache) -> Model:
    """The model, with random weights unless its own are at hand."""
    own = name == "bundled" or Path(name).is_dir()
    return resolve(name, weights=Weights.TRAINED if own else Weights.RANDOM, cache=cache)


def prompts_of(model: Model, rows: int, tokens: int) -> list[list[int]]:
    """Random prompts, every second one a little shorter."""
    generator = random.Random(0)
    least = min(100, model.vocabulary_size // 2)
    return [
        [generator.randrange(least, model.vocabulary_size) for _ in range(max(2, tokens - 5 * (row % 2)))]
        for row in range(rows)
    ]


def make_reference(asked: Asked) -> Reference:
    """Tokens and probabilities by transformers' modelling code alone."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.backends.cuda.matmul.allow_tf32 = False
    with ArtefactCache() as cache:
        model = model_of(asked.model, cache)
        module = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32).to(asked.provider).eval()
    prompts = prompts_of(model, CHECKED_ROWS, asked.prompt_tokens)
    tokens, logarithms = [], []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=asked.provider)
        with torch.no_grad():
            row = module.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=CHECKED_TOKENS,
                eos_token_id=None,
                pad_token_id=0,
            )
            every = module(row).logits[0].float().log_softmax(dim=-1)
        tokens.append(row[0, len(prompt) :].tolist())
        logarithms.append(every[:-1].gather(1, row[0, 1:, None])[:, 0].tolist())
    return Reference(prompts, tokens, logarithms)


def check(session: Session, reference: Reference, batch: int) -> tuple[float, float | None]:
    """Share of equal tokens, and mean difference of logarithms; in batches of the size that is measured."""
    repeats = max(1, batch // CHECKED_ROWS)
    prompts, wanted = reference.prompts * repeats, reference.tokens * repeats
    rows: list[tuple[int | None, ...]] = []
    for first in range(0, len(prompts), batch):
        steps = list(session.generate(prompts[first : first + batch], CHECKED_TOKENS))
        rows += zip(*(step.tokens for step in steps), strict=True)
    pairs = [pair for row, right in zip(rows, wanted, strict=True) for pair in zip(row, right, strict=True)]
    equal = sum(a == b for a, b in pairs) / len(pairs)
    tell: Callable[[Sequence[Sequence[int]]], list[list[float]]] | None = getattr(session, "log_probabilities", None)
    if tell is None:
        return equal, None
    found = tell([[*p, *t] for p, t in zip(reference.prompts, reference.tokens, strict=True)])
    differences = [
        abs(a - b)
        for mine, theirs in zip(found, reference.log_probabilities, strict=True)
        for a, b in zip(mine, theirs, strict=True)
    ]
    return equal, statistics.fmean(differences)


def measure(run: Callable[[], None], session: Session, meter: NvmlMeter | None, window_s: float) -> Spent:
    """Time and energy of one `run`, from whole runs over at least `window_s`."""
    meters = [meter] if meter else []
    domains = meter.domains()[:1] if meter else ()
    session.synchronize()
    first = take_mark_at_step(meters, domains[0] if domains else None)
    runs = 0
    while runs == 0 or time.monotonic() - first.time_s < window_s:
        run()
        runs += 1
    session.synchronize()
    section = to_section(Stretch("window", first, take_mark(meters), passes=runs), domains, [], 0.0)
    energy = section.energy[0] if section.energy else None
    return Spent(
        section.duration_s / runs,
        energy.energy_j / runs if energy else None,
        energy.error_j / runs if energy else None,
    )


def kernels_of(run: Callable[[], None], steps: int) -> tuple[float, tuple[tuple[str, float, float], ...]]:
    """Kernels a step of what `run` runs on the GPU; prefill's are few beside those of many steps."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as record:
        run()
    launches: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for event in record.events():
        if "CUDA" in str(event.device_type):
            launches[event.name] += 1
            times[event.name] += event.time_range.elapsed_us()
    longest = tuple((name[:120], launches[name] / steps, us / steps) for name, us in times.most_common(25))
    return sum(launches.values()) / steps, longest


def try_variant(variant: str, asked: Asked, reference: Reference) -> Outcome:
    """Load, check, warm up, measure."""
    configuration = parse(variant, asked.provider, asked.threads)
    outcome = Outcome(variant)
    engines.check(configuration)
    meter = NvmlMeter(only=asked.gpu) if asked.provider == "cuda" else None
    meter = meter if meter and not meter.unavailable() else None
    with ArtefactCache() as cache:
        model = model_of(asked.model, cache)
        began_s = time.monotonic()
        session = engines.create(configuration.engine).load(model, configuration, cache)
        session.synchronize()
        outcome = replace(outcome, load_s=time.monotonic() - began_s)
        began_s = time.monotonic()
        # Of one length: what is tuned is decoding, and a padded row costs what a longer one does.
        prompts = [prompts_of(model, 1, asked.prompt_tokens)[0]] * configuration.batch

        def whole() -> None:
            for _ in session.generate(prompts, asked.new_tokens):
                pass

        def prefill() -> None:
            for _ in session.generate(prompts, 1):
                pass

        for run in (prefill, whole, whole):
            run()
        session.synchronize()
        outcome = replace(outcome, warm_up_s=time.monotonic() - began_s)
        full, only_prefill = (measure(run, session, meter, asked.window_s) for run in (whole, prefill))
        outcome = replace(outcome, **figures(full, only_prefill, configuration.batch, asked.new_tokens))
        facts = session.facts()
        outcome = replace(
            outcome,
            error="; ".join(violations(configuration, facts)),
            device_bytes=session.peak_device_bytes(),
            weight_dtypes=facts.weight_dtypes,
            detail=facts.detail,
        )
        if asked.profile and asked.provider == "cuda":
            with suppress(RuntimeError, AttributeError):
                count, longest = kernels_of(whole, asked.new_tokens - 1)
                outcome = replace(outcome, kernels_per_step=count, kernels=longest)
        # Last, because steps that only score are compiled for it.
        equal, difference = check(session, reference, configuration.batch)
        return replace(outcome, equal=equal, difference=difference)


def figures(full: Spent, prefill: Spent, batch: int, new_tokens: int) -> dict[str, Any]:
    """What is told of two measurements; decode is the whole less the prefill."""
    decoded = batch * (new_tokens - 1)
    found: dict[str, Any] = {
        "prefill_ms": 1e3 * prefill.time_s,
        "decode_ms": 1e3 * (full.time_s - prefill.time_s) / decoded,
    }
    if full.energy_j is None or prefill.energy_j is None:
        return found
    error_j = (full.error_j or 0.0) + (prefill.error_j or 0.0)
    return found | {
        "decode_mj": 1e3 * (full.energy_j - prefill.energy_j) / decoded,
        "decode_error_mj": 1e3 * error_j / decoded,
        "whole_mj": 1e3 * full.energy_j / (batch * new_tokens),
        "power_w": full.energy_j / full.time_s,
    }


def child(task: str, asked: Asked, folder: Path) -> None:
    """Do one task and leave its result in `folder`."""
    if task == "reference":
        (folder / "reference.json").write_text(json.dumps(asdict(make_reference(asked))), encoding="utf-8")
        return
    reference = Reference(**json.loads((folder / "reference.json").read_text(encoding="utf-8")))
    try:
        outcome = try_variant(task, asked, reference)
    except ServewattError as error:
        outcome = Outcome(task, error=f"{error.message} ({error.hint})")
    except Exception as error:  # noqa: BLE001  whatever it is, the other variants must still run
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        outcome = Outcome(task, error=f"{type(error).__name__}: {' | '.join(lines[:3])}"[:600])
        print(f"{task}: {error}", file=sys.stderr)
    (folder / "outcome.json").write_text(json.dumps(asdict(outcome)), encoding="utf-8")


def run_child(task: str, asked: Asked, folder: Path, timeout_s: float) -> str:
    """Do a task in a process of its own; why it did not get to its end, or nothing."""
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, __file__, "--child", task, json.dumps(asdict(asked)), str(folder)],
            stdout=file,
            stderr=subprocess.STDOUT,
            # NVML's order of boards is that of the bus; CUDA's own is by speed.
            env=os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(asked.gpu)},
        )
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"out of time after {timeout_s:.0f} s"
    if code == 0:
        return ""
    name = signal.Signals(-code).name if code < 0 else f"exit {code}"
    return f"{name}: {' | '.join(log.read_text(encoding='utf-8').strip().splitlines()[-3:])}"[:600]


def read_outcome(folder: Path) -> Outcome:
    """What a child left; gone afterwards, so that it cannot be taken for the next one's."""
    path = folder / "outcome.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    tuples = {name: tuple(map(tuple, fields[name])) for name in ("weight_dtypes", "detail", "kernels")}
    return Outcome(**fields | tuples)


def show(outcome: Outcome) -> None:
    """Print one line."""

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    error = "" if outcome.decode_error_mj is None else f"±{outcome.decode_error_mj:.2g}"
    cells = (
        f"{outcome.variant:<56}",
        f"{number(outcome.equal, '.0%'):>6} {number(outcome.difference, '.2g'):>8}",
        f"{number(outcome.decode_ms, '.4f'):>9} {number(outcome.decode_mj, '.4g'):>8} {error:<7}",
        f"{number(outcome.whole_mj, '.4g'):>8} {number(outcome.prefill_ms, '.2f'):>8}",
        f"{number(outcome.power_w, '.0f'):>6} {number(outcome.warm_up_s, '.0f'):>7}",
        f"{number(outcome.kernels_per_step, '.0f'):>7}",
        outcome.error[:160],
    )
    print("  ".join(cells), flush=True)


def show_head() -> None:
    """Print what the columns are."""
    head = f"{'=fp32':>6} {'d ln p':>8}  {'ms/token':>9} {'mJ/token':>8} {'':<7}  {'with pf':>8} {'pf ms':>8}"
    print(f"{'variant':<56}  {head}  {'W':>6} {'warm s':>7}  {'kernels':>7}", flush=True)


def main() -> None:
    """Try what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pythia-410m", help="default: %(default)s")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, help="default: %(default)s")
    parser.add_argument("--provider", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--prompt-tokens", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--new-tokens", type=int, default=129, help="default: %(default)s")
    parser.add_argument("--window", type=float, default=3.0, help="seconds of each of the two windows (%(default)s)")
    parser.add_argument("--seconds", type=float, default=550.0, help="begin nothing after this long (%(default)s)")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--gpu", type=int, default=0, help="board, as nvidia-smi counts (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="count kernels")
    parser.add_argument("--out", type=Path, help="write the outcomes to this file as JSON, as they come")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        task, asked, folder = given.child
        child(task, Asked(**json.loads(asked)), Path(folder))
        return
    asked = Asked(
        model=given.model,
        provider=given.provider,
        prompt_tokens=given.prompt_tokens,
        new_tokens=given.new_tokens,
        window_s=given.window,
        threads=given.threads,
        profile=given.profile,
        gpu=given.gpu,
    )
    for variant in given.variants:
        parse(variant, given.provider, given.threads)
    end_s = time.monotonic() + given.seconds
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="servewatt-try-") as name:
        folder = Path(name)
        failure = run_child("reference", asked, folder, given.seconds)
        if failure:
            sys.exit(f"the reference failed: {failure}")
        show_head()
        for index, variant in enumerate(given.variants):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                outcomes.append(Outcome(variant, error="no time left"))
            else:
                share_s = max(LEAST_SHARE_S, left_s / (len(given.variants) - index))
                failure = run_child(variant, asked, folder, min(share_s, left_s))
                outcomes.append(Outcome(variant, error=failure) if failure else read_outcome(folder))
            show(outcomes[-1])
            if given.out:
                given.out.write_text(json.dumps([asdict(o) for o in outcomes], indent=1), encoding="utf-8")
    sys.exit(1 if any(o.error for o in outcomes) else 0)


if __name__ == "__main__":
    main()

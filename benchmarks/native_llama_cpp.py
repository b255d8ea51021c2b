"""Decoding speed of engine llama-cpp beside a bare loop over llama.cpp's C functions, as llama-bench has it.

    python benchmarks/native_llama_cpp.py
    python benchmarks/native_llama_cpp.py --models bundled --precisions fp32,w8a8 --rounds 9 --json

To be run by the Python of the engine's environment, with servewatt importable. Both use the same file, the same
settings and one process, and take turns: a round is one generation by each. The bare loop feeds
a fixed token and looks at no logits. The goal is a ratio of at least 0.97.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from servewatt.engines.llama_cpp.engine import LlamaCppEngine, LlamaCppSession, context_options
from servewatt.engines.llama_cpp.library import Capacity, Context, library, new_context
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Precision, Weights

PROMPT = list(range(3, 19))


@dataclass(frozen=True)
class Row:
    """One model in one precision, medians over the rounds."""

    model: str
    precision: str
    engine_step_ms: float
    native_step_ms: float
    ratio: float
    """Speed of the engine over that of the bare loop: median of the rounds' ratios."""


def native_steps(context: Context, tokens: int) -> list[float]:
    """Seconds of each decode step after a prompt."""
    import ctypes

    llama = library()
    llama.llama_memory_clear(llama.llama_get_memory(context.handle), False)
    ids = (ctypes.c_int32 * len(PROMPT))(*PROMPT)
    llama.llama_decode(context.handle, llama.llama_batch_get_one(ids, len(PROMPT)))
    one = (ctypes.c_int32 * 1)(7)
    times = []
    for _ in range(tokens - 1):
        begin_s = time.perf_counter()
        llama.llama_decode(context.handle, llama.llama_batch_get_one(one, 1))
        llama.llama_synchronize(context.handle)
        times.append(time.perf_counter() - begin_s)
    return times


def engine_steps(session: LlamaCppSession, tokens: int) -> list[float]:
    """The same from the engine's session."""
    marks = [step.time_s for step in session.generate([PROMPT], tokens)]
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def compare(name: str, precision: Precision, tokens: int, rounds: int, artefacts: ArtefactCache) -> Row:
    """Measure one model in one precision."""
    weights = Weights.TRAINED if name == "bundled" else Weights.RANDOM
    model = resolve(name, weights=weights, cache=artefacts)
    configuration = Configuration("llama-cpp", precision=precision)
    session = LlamaCppEngine().load(model, configuration, artefacts)
    assert isinstance(session, LlamaCppSession)
    room = Capacity(1, len(PROMPT) + tokens, len(PROMPT))
    context = new_context(session.model, room, context_options(configuration))
    engine_steps(session, 4)
    native_steps(context, 4)
    ours, theirs = [], []
    for number in range(rounds):
        for which in ("engine", "native") if number % 2 else ("native", "engine"):
            if which == "engine":
                ours.append(statistics.median(engine_steps(session, tokens)))
            else:
                theirs.append(statistics.median(native_steps(context, tokens)))
    library().llama_free(context.handle)
    session.close()
    ratio = statistics.median(n / e for n, e in zip(theirs, ours, strict=True))
    return Row(name, precision.value, 1e3 * statistics.median(ours), 1e3 * statistics.median(theirs), ratio)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="bundled,pythia-410m")
    parser.add_argument("--precisions", default="fp32,w8a8,int4")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    rows = []
    with ArtefactCache() as artefacts:
        for name, precision in itertools.product(chosen.models.split(","), chosen.precisions.split(",")):
            rows.append(compare(name, Precision(precision), chosen.tokens, chosen.rounds, artefacts))
            if not chosen.json:
                row = rows[-1]
                print(
                    f"{row.model:12} {row.precision:5} engine {row.engine_step_ms:8.3f} ms  "
                    f"native {row.native_step_ms:8.3f} ms  ratio {row.ratio:.3f}",
                    flush=True,
                )
    if chosen.json:
        print(json.dumps({"cpus": len(os.sched_getaffinity(0)), "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()

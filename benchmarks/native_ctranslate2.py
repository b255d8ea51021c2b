"""What servewatt's engine costs over CTranslate2's own loop: time of a generation, ours over theirs.

    python benchmarks/native_ctranslate2.py
    python benchmarks/native_ctranslate2.py --model bundled --precision w8a8 --batches 1,8 --json

Theirs is `Generator.generate_batch` called plainly, with no callback. Both run over one loaded generator in one process
and take turns in random order, because the memory of a shared machine changes its speed from one second to the next.
The ratio is the median over rounds with a distribution-free 95 % confidence interval; beside it stands the same for
their loop against itself, which tells how much of it is the machine's unrest. Run it in the engine's environment.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from servewatt import engines
from servewatt.engines.ctranslate2.engine import CTranslate2Session
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Precision, Weights
from servewatt.stats.intervals import typical
from servewatt.stats.records import Interval

PROMPT_TOKENS = 16


@dataclass(frozen=True)
class Row:
    """One batch size: medians over the rounds."""

    batch: int
    token_ms: float
    """Time of a generation in CTranslate2's own loop over its tokens a row."""
    ours_over_theirs: Interval
    theirs_over_theirs: Interval


def duration_s(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def shown(ratio: Interval) -> str:
    bounds = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    return f"{ratio.estimate:.3f}{bounds}"


def measure(session: CTranslate2Session, batch: int, new_tokens: int, rounds: int, vocabulary: int) -> Row:
    """Ours, theirs and theirs again, `rounds` times each in random order."""
    order = random.Random(batch)
    prompts = [[order.randrange(vocabulary) for _ in range(PROMPT_TOKENS)] for _ in range(batch)]
    named = [list(map(str, prompt)) for prompt in prompts]
    generator: Any = session.generator

    def ours() -> object:
        return list(session.generate(prompts, new_tokens))

    def theirs() -> object:
        return generator.generate_batch(
            named, max_length=new_tokens, beam_size=1, sampling_topk=1, end_token=[], include_prompt_in_result=False
        )

    ours()
    theirs()
    times_s: list[dict[str, float]] = []
    for _ in range(rounds):
        turns: list[tuple[str, Callable[[], object]]] = [("ours", ours), ("theirs", theirs), ("again", theirs)]
        order.shuffle(turns)
        times_s.append({name: duration_s(work) for name, work in turns})
    return Row(
        batch,
        typical([t["theirs"] for t in times_s]).estimate * 1e3 / new_tokens,
        typical([t["ours"] / t["theirs"] for t in times_s]),
        typical([t["again"] / t["theirs"] for t in times_s]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pythia-410m")
    parser.add_argument("--precision", default="fp32", choices=[p.value for p in Precision])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    cache = ArtefactCache()
    weights = Weights.TRAINED if asked.model == "bundled" else Weights.RANDOM
    model = resolve(asked.model, weights=weights, cache=cache)
    configuration = Configuration("ctranslate2", precision=Precision(asked.precision), threads=asked.threads)
    session = engines.create("ctranslate2").load(model, configuration, cache)
    assert isinstance(session, CTranslate2Session)
    rows = [
        measure(session, int(batch), asked.new_tokens, asked.rounds, model.vocabulary_size)
        for batch in asked.batches.split(",")
    ]
    session.close()
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(f"{model.name} {asked.precision}, {PROMPT_TOKENS} tokens in, {asked.new_tokens} out")
    for row in rows:
        print(
            f"batch {row.batch}: {row.token_ms:.2f} ms a token in their loop; "
            f"ours over theirs {shown(row.ours_over_theirs)}, theirs over theirs {shown(row.theirs_over_theirs)}"
        )


if __name__ == "__main__":
    main()

"""Decoding speed of engine openvino beside OpenVINO GenAI's LLMPipeline over the same files.

    python benchmarks/native_openvino.py
    python benchmarks/native_openvino.py --models bundled --precisions fp32,int4 --rounds 15 --json

To be run by the Python of openvino-genai's environment, with servewatt importable. All use the same graph.xml and
graph.bin, the same settings of the plugin and one process, and take turns: a round is one generation by each. The
pipeline stands there twice: over the stateful graph, which is what the engine runs too, and with paged attention, which
is LLMPipeline's own choice where none is made. The goal is a ratio of at least 0.97 to the first. Times are between
tokens; the pipeline's are those it notes itself. Each holds a copy of the weights, and where in memory a copy came to
lie changes its speed by several per cent, so all are loaded anew `--loads` times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from servewatt.engines.openvino.engine import OpenVinoEngine, graph_folder, plugin_settings
from servewatt.engines.openvino_genai.engine import generate, open_pipeline
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Configuration, Model, Precision, Weights

PROMPT = list(range(3, 19))
CONFIGURATIONS = {
    "fp32": Configuration("openvino"),
    "bf16": Configuration("openvino", precision=Precision.BF16),
    "int8": Configuration("openvino", precision=Precision.INT8),
    "w8a8": Configuration("openvino", precision=Precision.W8A8),
    "int4": Configuration("openvino", precision=Precision.INT4),
    "int4/activations=int8": Configuration("openvino", precision=Precision.INT4, options=(("activations", "int8"),)),
}


@dataclass(frozen=True)
class Row:
    """One model in one precision, medians over the rounds of all loads."""

    model: str
    precision: str
    engine_step_ms: float
    native_step_ms: float
    paged_step_ms: float
    ratio: float
    """Speed of the engine over that of the pipeline with the stateful graph: median of the rounds' ratios."""
    paged_ratio: float
    """The same to the pipeline with paged attention."""


def step_ms(times_s: Sequence[float]) -> float:
    """Median time between tokens."""
    return 1e3 * statistics.median(later - earlier for earlier, later in itertools.pairwise(times_s))


def compare(name: str, precision: str, chosen: argparse.Namespace, artefacts: ArtefactCache) -> Row:
    """Measure one model in one precision."""
    weights = Weights.TRAINED if name == "bundled" else Weights.RANDOM
    model = resolve(name, weights=weights, cache=artefacts)
    configuration = CONFIGURATIONS[precision]
    found: dict[str, list[float]] = {}
    for _ in range(chosen.loads):
        for which, values in one_load(model, configuration, chosen.tokens, chosen.rounds, artefacts).items():
            found.setdefault(which, []).extend(values)
    middle = {which: statistics.median(values) for which, values in found.items()}
    ratios = {
        which: statistics.median(theirs / ours for theirs, ours in zip(found[which], found["engine"], strict=True))
        for which in ("native", "paged")
    }
    return Row(name, precision, middle["engine"], middle["native"], middle["paged"], ratios["native"], ratios["paged"])


def one_load(
    model: Model, configuration: Configuration, tokens: int, rounds: int, artefacts: ArtefactCache
) -> dict[str, list[float]]:
    """Load all three and let them take turns: milliseconds a step of each in each round."""
    folder, settings = graph_folder(model, configuration, artefacts), plugin_settings(configuration)
    session = OpenVinoEngine().load(model, configuration, artefacts)
    static, paged = (open_pipeline(folder, settings, continuous=continuous) for continuous in (False, True))
    contenders: dict[str, Callable[[int], list[float]]] = {
        "engine": lambda count: [step.time_s for step in session.generate([PROMPT], count)],
        "native": lambda count: of_pipeline(static, model, count),
        "paged": lambda count: of_pipeline(paged, model, count),
    }
    for run in contenders.values():
        run(8)
    orders = itertools.cycle(itertools.permutations(contenders))
    found: dict[str, list[float]] = {which: [] for which in contenders}
    for _, order in zip(range(rounds), orders, strict=False):
        for which in order:
            found[which].append(step_ms(contenders[which](tokens)))
    session.close()
    return found


def of_pipeline(pipeline: Any, model: Model, tokens: int) -> list[float]:
    """When a pipeline had each of its tokens."""
    return generate(pipeline, model, [PROMPT], tokens, frozenset()).times_s


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="bundled,pythia-410m")
    parser.add_argument("--precisions", default="fp32,int8,int4,int4/activations=int8")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=6, help="of each load")
    parser.add_argument("--loads", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    rows = []
    with ArtefactCache() as artefacts:
        for name, precision in itertools.product(chosen.models.split(","), chosen.precisions.split(",")):
            rows.append(compare(name, precision, chosen, artefacts))
            if not chosen.json:
                row = rows[-1]
                print(
                    f"{row.model:12} {row.precision:22} engine {row.engine_step_ms:8.3f} ms  "
                    f"native {row.native_step_ms:8.3f} ms  ratio {row.ratio:.3f}  "
                    f"paged {row.paged_step_ms:8.3f} ms  ratio {row.paged_ratio:.3f}",
                    flush=True,
                )
    if chosen.json:
        print(json.dumps({"cpus": len(os.sched_getaffinity(0)), "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()

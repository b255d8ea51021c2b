"""What engines make for a batch of a length is there when warm-up ends, and is not made again while measuring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servewatt.engines import Session
from servewatt.harness.window import Generator
from servewatt.records import Configuration, Model, Workload
from tests.engines.libraries import each_of

pytestmark = pytest.mark.engine

MADE = {
    "llama-cpp": "servewatt.engines.llama_cpp.engine.new_context",
    "onnxruntime-genai": "onnxruntime_genai.Generator",
    "torch-graph": "servewatt.engines.torch_graph.session.make_buffers",
}
"""Engine -> what it calls for more room: a context, a generator, buffers."""


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", each_of(*MADE))
def test_nothing_is_made_anew_in_the_measured_passes(
    name: str,
    batch: int,
    model: Model,
    load: Callable[[Model, Configuration], Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = load(model, Configuration(name, batch=batch, threads=1))
    made: list[tuple[object, ...]] = []
    place, _, attribute = MADE[name].rpartition(".")
    module = pytest.importorskip(place)
    make = getattr(module, attribute)

    def counted(*given: Any) -> Any:
        made.append(given)
        return make(*given)

    monkeypatch.setattr(module, attribute, counted)
    prompts = tuple(tuple(range(3, 3 + length)) for length in (8, 20, 40, 60))
    # 62 tokens are seen where each prompt is only prefilled, 76 in the passes.
    generator = Generator(session, Workload("growing", prompts, new_tokens=16), batch, model)
    generator.warm_up(0.0, 0.1, 1e9)
    assert made
    made.clear()
    generator.prefill_for(0.05)
    work = generator.generate_for(0.05)
    generator.check(work)
    assert work.passes >= 1
    assert made == []
    session.close()

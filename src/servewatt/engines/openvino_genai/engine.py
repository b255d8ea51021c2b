"""OpenVINO GenAI: its LLMPipeline, a decoding loop in C++, over the graph and the weights of engine openvino."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from servewatt.engines.base import Artefacts, Session, Step
from servewatt.engines.openvino.engine import (
    PROPERTIES,
    WEIGHTS_FILE,
    check_configuration,
    check_threads,
    graph_folder,
    plugin_settings,
    type_name,
)
from servewatt.engines.openvino_genai.again import PlainGraph, shown
from servewatt.engines.openvino_genai.entry import ENTRY
from servewatt.engines.openvino_genai.graph import NO_SELECTABLE_CACHE, no_selectable_cache, pipeline_graph
from servewatt.engines.shared.cache_trial import TRIAL_STEPS, Timed, try_cache
from servewatt.engines.shared.decode import left_pad
from servewatt.engines.shared.exportable import check_exportable
from servewatt.engines.shared.file_pages import drop_file_pages, dropping_file_pages
from servewatt.engines.shared.host import library_versions
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Facts, Model


class OpenVinoGenaiEngine:
    """Prepares what engine openvino prepares, and gives its files to a pipeline."""

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)
        check_configuration(configuration)
        check_exportable(model)
        if model.architecture in NO_SELECTABLE_CACHE:
            raise no_selectable_cache()

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        self.check(model, configuration)
        pipeline_graph(graph_folder(model, configuration, artefacts) / "graph.xml")

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        self.check(model, configuration)
        folder = graph_folder(model, configuration, artefacts)
        continuous = dict(configuration.options).get("batching") == "continuous"
        with printed() as text, dropping_file_pages(WEIGHTS_FILE):
            settings = plugin_settings(configuration)
            check_threads(settings)
            pipeline = open_pipeline(folder, settings, continuous=continuous)
        kept = tuple(option for option in configuration.options if option[0] != "batching")
        plain = PlainGraph(model, replace(configuration, engine="openvino", options=kept), str(folder))
        return OpenVinoGenaiSession(pipeline, model, printed_properties(text[0]), plain, continuous=continuous)


def open_pipeline(folder: Path, settings: Mapping[str, str], *, continuous: bool) -> Any:
    """An LLMPipeline over the artefact `folder` of engine openvino, with those settings of the plugin.

    It has no tokenizer, which ids neither need nor get. Without `continuous` it runs the stateful graph, with it the
    one that OpenVINO rewrites to paged attention, and takes each batch of prompts in whole. RefusedError for a graph
    that it would not run as it is.
    """
    import openvino_genai

    options: dict[str, Any] = {"ATTENTION_BACKEND": "SDPA"}
    if continuous:
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = scheduler.max_num_seqs = np.iinfo(np.int32).max
        # A measured prompt comes again and again, and must be computed each time.
        scheduler.enable_prefix_caching = False
        options = {"ATTENTION_BACKEND": "PA", "scheduler_config": scheduler}
    with tempfile.TemporaryDirectory(prefix="servewatt-") as made:
        named = Path(made)
        (named / "openvino_model.xml").write_bytes(pipeline_graph(folder / "graph.xml"))
        (named / "openvino_model.bin").symlink_to((folder / WEIGHTS_FILE).resolve())
        tokenizer = openvino_genai.Tokenizer(made)
        return openvino_genai.LLMPipeline(made, tokenizer, "CPU", **options, **settings)


@contextmanager
def printed() -> Iterator[list[str]]:
    """What libraries write to standard output in the body, as one text in the list at its end.

    At this log level a pipeline writes the properties of the model it has compiled; it shows them nowhere else.
    """
    before = os.environ.get("OPENVINO_LOG_LEVEL")
    os.environ["OPENVINO_LOG_LEVEL"] = "3"
    sys.stdout.flush()
    stdout = os.dup(1)
    text: list[str] = []
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield text
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
            file.seek(0)
            text.append(file.read().decode(errors="replace"))
            del os.environ["OPENVINO_LOG_LEVEL"]
            if before is not None:
                os.environ["OPENVINO_LOG_LEVEL"] = before


def printed_properties(text: str) -> dict[str, str]:
    """The values of `PROPERTIES` in what a pipeline wrote: a line `NAME: value` each."""
    lines = (line.partition(":") for line in text.splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines if value.strip()}
    return {name: found[name] for name in PROPERTIES if name in found}


@dataclass(frozen=True)
class Generated:
    """A pipeline's output for a batch."""

    tokens: list[list[int]]
    """Of each row, up to its stop id."""
    times_s: list[float]
    """Monotonic time of each step's tokens."""
    inference_s: list[float]
    """Duration of each step's inference, the prompts' first."""


def generate(
    pipeline: Any, model: Model, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int]
) -> Generated:
    """Greedy decoding in the pipeline's own loop.

    The times are the library's own, by the steady clock: it notes one when a step's tokens have been sampled.
    """
    import openvino
    import openvino_genai

    ids, mask = left_pad(prompts)
    config = openvino_genai.GenerationConfig(
        max_new_tokens=max_new_tokens,
        # The pipeline insists on an id that ends a text; this one is of no token.
        eos_token_id=model.vocabulary_size,
        ignore_eos=not stop_ids,
        stop_token_ids=set(stop_ids),
    )
    inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(mask))
    result = pipeline.generate(inputs, config)
    raw = result.perf_metrics.raw_metrics
    tokens = [list(row) for row in result.tokens]
    times_s = [time_ms / 1e3 for time_ms in raw.m_new_token_times]
    if len(times_s) != max(map(len, tokens)):
        raise RefusedError(
            f"openvino-genai took {len(times_s)} steps for {max(map(len, tokens))} tokens: it did not run the "
            f"{len(tokens)} rows of the batch together",
            "use a smaller batch",
        )
    return Generated(tokens, times_s, [time_us / 1e6 for time_us in raw.token_infer_durations])


class OpenVinoGenaiSession:
    """A loaded pipeline.

    It shows no graph. What its weights are held and multiplied as is read from the same files compiled by the same
    plugin with the same settings, as engine openvino does, and only believed where both models' properties agree.
    """

    def __init__(
        self,
        pipeline: Any,
        model: Model,
        properties: Mapping[str, str],
        plain: PlainGraph,
        *,
        continuous: bool,
    ) -> None:
        """`properties` are those that the pipeline's compiled model has; `plain` are its files."""
        self._pipeline = pipeline
        self._model = model
        self._properties = properties
        self._plain = plain
        self._continuous = continuous
        self._last_prompt: list[int] = []
        self._facts: Facts | None = None

    @property
    def pipeline(self) -> Any:
        """The `openvino_genai.LLMPipeline`."""
        return self._pipeline

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Greedy decoding in the library's loop; see `servewatt.engines.base.Session.generate`.

        The Steps are handed out when the loop has ended, with the times that the library noted: its streamer takes
        one row only, and a consumer that woke at every token would take CPU time from it.
        """
        made = generate(self._pipeline, self._model, prompts, max_new_tokens, stop_ids)
        if not self._last_prompt:
            # Some weights are packed when they are first used.
            drop_file_pages(WEIGHTS_FILE)
        self._last_prompt = list(prompts[0])
        for index, time_s in enumerate(made.times_s):
            yield Step(tuple(row[index] if index < len(row) else None for row in made.tokens), time_s)

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """As engine openvino tells them of the same files and settings; a pipeline says only tokens of its own choice.

        RefusedError for continuous batching, whose attention and cache are other code.
        """
        if self._continuous:
            raise RefusedError(
                "openvino-genai tells no log probabilities of given tokens, and with paged attention nothing else "
                "computes the same",
                "leave out batching=continuous",
            )
        session = self._plain.load()
        try:
            return session.log_probabilities(rows)
        finally:
            session.close()

    def synchronize(self) -> None:
        """Nothing to do: generation returns when it is complete."""

    def peak_device_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        del self._pipeline

    def facts(self) -> Facts:
        if self._facts is not None:
            return self._facts
        facts = self._read_facts()
        if self._last_prompt:
            self._facts = facts
        return facts

    def _read_facts(self) -> Facts:
        import openvino_genai

        # A property that was not written contradicts whatever is claimed.
        properties = {name: self._properties.get(name, "") for name in PROPERTIES}
        again = shown(self._plain, self._last_prompt)
        plain = again.facts
        other = [name for name in PROPERTIES if again.properties[name] != self._properties.get(name)]
        trial = try_cache(self._timed, self._model.context_length) if self._last_prompt else None
        reuses = trial.reuses if trial and plain.kv_cache else False
        threads = properties["INFERENCE_NUM_THREADS"]
        counts = dict(plain.devices)
        return Facts(
            engine_version=openvino_genai.__version__,
            libraries=library_versions(("openvino-genai", "openvino", "torch", "transformers", "numpy")),
            devices=tuple((d, counts.get(d, 0)) for d in properties["EXECUTION_DEVICES"].lower().split()),
            weight_dtypes=() if other else plain.weight_dtypes,
            lookup_dtypes=() if other else plain.lookup_dtypes,
            compute_dtype="" if other else plain.compute_dtype,
            kv_cache=reuses,
            kv_cache_dtype="" if reuses is False else type_name(properties["KV_CACHE_PRECISION"]),
            threads=int(threads) if threads else None,
            group=plain.group,
            options=(("batching", "continuous" if self._continuous else "static"),),
            detail=(
                ("batching", "continuous, paged attention" if self._continuous else "static, stateful graph"),
                ("inference_precision", type_name(properties["INFERENCE_PRECISION_HINT"])),
                ("streams", properties["NUM_STREAMS"]),
                ("kv_cache_proof", trial.text if trial else "none yet"),
                ("unlike_the_graph_compiled_again", ", ".join(other) or "nothing"),
                *(pair for pair in plain.detail if pair[0] not in {"inference_precision", "streams", "attention"}),
            ),
        )

    def _timed(self, length: int) -> Timed:
        """A generation after a prompt of `length` tokens."""
        prompt = np.resize(self._last_prompt, length).tolist()
        made = generate(self._pipeline, self._model, [prompt], TRIAL_STEPS, frozenset())
        return Timed(made.inference_s[0], made.inference_s[1:])

"""A loaded graph and its generator: tokens, probabilities, and what is seen of how they are computed."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.base import Step
from servewatt.engines.onnxruntime_genai.export import PAD_ID, GraphDescription, GraphType
from servewatt.engines.onnxruntime_genai.library import quiet_library
from servewatt.engines.shared.decode import chosen_log_probabilities
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.host import library_versions
from servewatt.engines.shared.rows import Rows
from servewatt.errors import InputError, UnavailableError, brief
from servewatt.processes.command import child_environment, python_command
from servewatt.processes.endings import ending
from servewatt.records import Facts


@dataclass(frozen=True)
class Graph:
    """Facts about a loaded graph."""

    description: GraphDescription
    kind: GraphType
    vocabulary: int
    context_length: int
    threads: int | None

    @property
    def end_id(self) -> int:
        """The token after which the library would end a row: the last, which vocabularies seldom use."""
        return self.vocabulary - 1


class OnnxRuntimeGenAISession:
    """A loaded model and the generator made for the last shape of batch.

    Making a generator costs tens of milliseconds, so it is rewound and used again. The library wants one token to end
    rows and fills a row with padding after it. Where that token comes the rows are given to the generator once more,
    which makes it forget: one token where there is one row, all of them where there are more.
    """

    def __init__(self, model: Any, graph: Graph) -> None:
        # What outlives the library's own end aborts the process, so it is let go before that at the latest.
        self._held: dict[str, Any] = {"model": model}
        self._let_go = weakref.finalize(self, self._held.clear)
        self._graph = graph
        self._shape = (0, 0)
        self._proof: DecodeProof | None = None
        self._given_again = 0

    @property
    def model(self) -> Any:
        """The loaded `onnxruntime_genai.Model`."""
        return self._held["model"]

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Greedy decoding, one Step a token; see `servewatt.engines.base.Session.generate`."""
        generator = self._begin(len(prompts), max(map(len, prompts)) + max_new_tokens)
        generator.append_tokens(padded(prompts))
        made: list[list[int]] = []
        rows = Rows(len(prompts), stop_ids)
        fresh = True
        for produced in range(1, max_new_tokens + 1):
            # The step after tokens were given chooses among logits that are there already.
            if self._proof is None and not fresh:
                self._proven_step(generator)
            else:
                generator.generate_next_token()
            tokens: list[int] = generator.get_next_tokens().tolist()
            yield rows.step(tokens, time.monotonic())
            made.append(tokens)
            if rows.over or produced == max_new_tokens:
                return
            fresh = self._graph.end_id in tokens
            if fresh:
                self._give_again(
                    generator, [[*p, *row] for p, row in zip(prompts, zip(*made, strict=True), strict=True)]
                )

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural logarithm of the probability of each token of each row after its first, given those before it.

        Row by row, each forced token by token through steps of one token.
        """
        result = []
        for row in rows:
            found: list[float] = []
            generator = self._begin(1, len(row))
            for token, following in itertools.pairwise(row):
                generator.append_tokens(np.array([token], np.int32))
                logits = np.asarray(generator.get_logits(), np.float32).reshape(1, -1)
                found += chosen_log_probabilities(logits, [following])
            result.append(found)
        return result

    def _begin(self, rows: int, tokens_per_row: int) -> Any:
        """An empty generator with room for that much."""
        if tokens_per_row > self._graph.context_length:
            raise InputError(
                f"prompt and output have {tokens_per_row} tokens, the model has {self._graph.context_length} positions",
                "ask for fewer new tokens, or use shorter prompts",
            )
        if rows != self._shape[0] or tokens_per_row > self._shape[1]:
            self._held.pop("generator", None)
            library = quiet_library()
            parameters = library.GeneratorParams(self.model)
            parameters.set_search_options(
                batch_size=rows,
                max_length=tokens_per_row,
                do_sample=False,
                num_beams=1,
                min_length=0,
                repetition_penalty=1.0,
            )
            self._held["generator"] = library.Generator(self.model, parameters)
            self._shape = (rows, tokens_per_row)
        else:
            self._held["generator"].rewind_to(0)
        return self._held["generator"]

    def _give_again(self, generator: Any, rows: Sequence[Sequence[int]]) -> None:
        """Have the generator forget that a row has ended."""
        self._given_again += 1
        if len(rows) == 1:
            generator.rewind_to(len(rows[0]) - 1)
            generator.append_tokens(np.array(rows[0][-1:], np.int32))
        else:
            generator.rewind_to(0)
            generator.append_tokens(padded(rows))

    def _proven_step(self, generator: Any) -> None:
        """A decode step that records its inputs and its effect on the cache."""
        on_cpu = self._graph.kind.provider == "cpu"
        before, kept = _width(generator), _keys(generator) if on_cpu else None
        generator.generate_next_token()
        fed, after = int(generator.get_input("input_ids").shape[1]), _width(generator)
        if kept is not None:
            now = _keys(generator)
            # A cache that was computed again would have more columns than those of the rows' new tokens changed.
            if now.shape != kept.shape or (now != kept).any(axis=(0, 1, 3)).sum() > len(now):
                before = 0
        self._proof = DecodeProof(fed, before, after, self._graph.description.floating)

    def synchronize(self) -> None:
        """Nothing to do: tokens are on the host when a step returns."""

    def peak_device_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._let_go()

    def facts(self) -> Facts:
        library, graph, proof = quiet_library(), self._graph, self._proof
        described = graph.description
        dtype = described.products[0][0]
        return Facts(
            engine_version=library.__version__,
            libraries=library_versions(
                ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime", "onnxruntime-gpu", "numpy")
            ),
            devices=((self.model.device_type.lower(), described.weights),),
            weight_dtypes=described.weight_dtypes,
            compute_dtype=self._quantised_type() if dtype.startswith("int") else dtype,
            kv_cache=proof is not None and proof.reuses_cache,
            kv_cache_dtype=proof.cache_dtype if proof is not None else "",
            threads=graph.threads,
            group=graph.kind.group,
            detail=(
                ("attention", described.attention),
                ("matrix_products", ", ".join(f"{n} with {name}" for name, n in described.products)),
                *((("group", str(graph.kind.group)),) if graph.kind.group else ()),
                ("end_id", str(graph.end_id)),
                ("given_again", str(self._given_again)),
                ("telemetry", "off"),
            ),
        )

    def _quantised_type(self) -> str:
        """As what the kernels multiply activations with the quantised weights."""
        kind = self._graph.kind
        if kind.provider != "cpu" or kind.group is None:
            return self._graph.description.floating
        return _product_type(kind.precision.bits, kind.group, kind.activations)


def _width(generator: Any) -> int:
    """Tokens that the last step attended to, its own included."""
    return int(generator.get_input("attention_mask").shape[1])


def _keys(generator: Any) -> npt.NDArray[Any]:
    """A copy of the first layer's keys, (rows, heads, room, head size)."""
    return np.array(generator.get_output("present.0.key"))


@cache
def _product_type(bits: int, group: int, activations: str) -> str:
    """`product_type` asked in a process of its own, as it loads a second ONNX Runtime.

    UnavailableError if that process fails.
    """
    ask = "import sys; from servewatt.engines.onnx.quantised import product_type;"
    ask += "print(product_type(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))"
    command = python_command("-c", ask, str(bits), str(group), activations)
    variables = child_environment(os.environ)
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace", env=variables)
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2] or "it says nothing"
        raise UnavailableError(
            f"the process that tries ONNX Runtime's product ended with {ending(done.returncode)}: {brief(last)}",
            "servewatt engines doctor onnxruntime-genai",
        )
    return done.stdout.strip()


def padded(rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Rows of ids, int32, padded on the right; one row alone as (length,), more as (rows, longest)."""
    ids = np.full((len(rows), max(map(len, rows))), PAD_ID, np.int32)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return ids[0] if len(rows) == 1 else ids

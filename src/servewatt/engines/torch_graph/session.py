"""A loaded decoder that generates: buffers and captured steps for each batch size, cut into replays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from servewatt.checkpoints.decoder import DecoderShape
from servewatt.checkpoints.rotary import LONGROPE
from servewatt.engines.base import Step
from servewatt.engines.shared.decode import left_pad
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.host import library_versions
from servewatt.engines.shared.rows import Rows
from servewatt.engines.shared.torch_model import (
    arithmetic_detail,
    dtype_name,
    held_devices,
    held_weights,
    tf32_settings,
    torch_dtype,
)
from servewatt.engines.torch_graph.cache_proof import prove
from servewatt.engines.torch_graph.choices import Choices
from servewatt.engines.torch_graph.fallbacks import attention_splits, int4_groups, plain_products, prefill_products
from servewatt.engines.torch_graph.model.attention import reads_all
from servewatt.engines.torch_graph.model.packed import is_packed
from servewatt.engines.torch_graph.model.program import Buffers, DecoderProgram, make_buffers
from servewatt.engines.torch_graph.model.weights import DecoderWeights, held_tensors, matrices_of
from servewatt.engines.torch_graph.replay import GraphCapture, Work, pieces, round_up
from servewatt.errors import InputError
from servewatt.records import Facts

_PROMPT_BUCKET = 32
"""A captured prefill takes prompts padded to a multiple of this."""


@dataclass
class _Batch:
    """Buffers and captured work of one batch size."""

    buffers: Buffers | None = None
    shortest: int = 1 << 30
    """Columns of the shortest prompts seen, and of the longest."""
    longest: int = 0
    prompts: set[int] = field(default_factory=set)
    """Columns of the prompts that a captured prefill has been asked for."""
    captured: dict[tuple[str, int, int], Work] = field(default_factory=dict)
    """(kind, KV length, steps) -> captured work."""


class TorchGraphSession:
    """A decoder, and for each batch size its buffers and captured steps.

    Steps are captured for every bucket that the longest prompt and the longest generation seen so far can reach, so
    that once each prompt has been prefilled and one generation run in full, as warm-up does, nothing is captured
    while time and energy are measured.
    """

    def __init__(
        self,
        shape: DecoderShape,
        weights: DecoderWeights,
        program: DecoderProgram,
        choices: Choices,
        graphs: GraphCapture,
        batch: int,
    ) -> None:
        self._shape = shape
        self._weights = weights
        self._program = program
        self._choices = choices
        self._graphs = graphs
        self._batch = batch
        self._dtype = torch_dtype(choices.compute)
        self._device = weights.head.weight.device
        self._batches: dict[int, _Batch] = {}
        self._most_new = 1
        self._sizes: set[int] = set()
        self._proof: DecodeProof | None = None

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Greedy decoding; see `servewatt.engines.base.Session.generate`. Steps of one replay share their time."""
        longest = max(map(len, prompts))
        columns = round_up(longest, _PROMPT_BUCKET) if self._choices.captured_prefill else longest
        self._require_room(longest + max_new_tokens)
        kept = self._ready(len(prompts), columns, max_new_tokens)
        buffers = self._fill(kept, prompts, columns)
        self._forget(buffers, columns)
        switch = self._switch_column(columns - longest)
        buffers.longer.fill_(switch is not None and switch < columns)
        self._prefill(kept, buffers, columns)
        rows = Rows(len(prompts), stop_ids)
        waiting: list[Callable[[], list[list[int]]]] = []
        waiting.append(self._graphs.fetch(buffers.token_ids[columns : columns + 1]))
        if not self._graphs.overlaps:
            yield from self._arrived(waiting, rows)
        for start, steps in self._chunks(columns, max_new_tokens - 1, switch):
            if stop_ids:
                # Whether these steps are wanted depends on those before.
                yield from self._arrived(waiting, rows)
                if rows.over:
                    return
            if start == switch:
                buffers.longer.fill_(True)
            if start == switch and self._shape.recomputes_longer:
                self._prefill(kept, buffers, start + 1)
            else:
                self._run(kept, "step", start, steps)
            asked = self._graphs.fetch(buffers.token_ids[start + 1 : start + 1 + steps])
            if self._graphs.overlaps:
                # The device runs the latest replay while the host reads the results of the one before.
                yield from self._arrived(waiting, rows)
            waiting.append(asked)
            if not self._graphs.overlaps:
                yield from self._arrived(waiting, rows)
        yield from self._arrived(waiting, rows)

    def _arrived(self, waiting: list[Callable[[], list[list[int]]]], rows: Rows) -> Iterator[Step]:
        """Wait for ids and yield them, up to the step at which the last row ends; empties `waiting`."""
        while waiting:
            steps = waiting.pop(0)()
            now_s = time.monotonic()
            for tokens in steps:
                if rows.over:
                    return
                yield rows.step(tokens, now_s)

    def _chunks(self, columns: int, steps: int, switch: int | None = None) -> Iterator[tuple[int, int]]:
        """(last filled column, steps) of each replay after prompts of `columns`; a step at `switch` stands alone."""
        if switch is not None and columns <= switch < columns + steps:
            before = switch - columns
            yield from self._chunks(columns, before)
            yield switch, 1
            yield from self._chunks(switch + 1, steps - before - 1)
            return
        for piece in pieces(steps, self._choices.steps):
            yield columns, piece
            columns += piece

    def _switch_column(self, padding: int) -> int | None:
        """The first column of the longest row, padded by `padding`, beyond longrope's original context."""
        contexts = [rotary.original_context for rotary in self._shape.rotaries if rotary.kind == LONGROPE]
        return contexts[0] + padding if contexts else None

    def _require_room(self, tokens: int) -> None:
        if tokens > self._shape.context and not self._shape.alibi:
            raise InputError(
                f"{tokens} tokens, prompt and generation, exceed the model's context of {self._shape.context}",
                "ask for fewer new tokens, or use shorter prompts",
            )

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural logarithm of the probability of each token of each row after its first, given those before it.

        Each token is fed through the decode step, as in a generation that was forced to say it.
        """
        found: list[list[float]] = []
        for first in range(0, len(rows), self._batch):
            group = list(rows[first : first + self._batch])
            found += self._score(group + group[-1:] * (self._batch - len(group)))[: len(group)]
        return found

    def _score(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        columns = max(1, *map(len, rows))
        self._require_room(columns)
        kept = self._kept(len(rows), columns)
        buffers = self._fill(kept, rows, columns)
        self._forget(buffers, 0)
        buffers.position.zero_()
        switch = self._switch_column(0)
        lengths = columns - buffers.padding
        buffers.longer.copy_(lengths > columns if switch is None else lengths > switch)
        for start, steps in self._chunks(0, columns - 1):
            self._run(kept, "score", start, steps)
        scores: list[list[float]] = buffers.scores[1:columns].t().tolist()
        return [scored[columns - len(row) :] for scored, row in zip(scores, rows, strict=True)]

    def _kept(self, batch: int, columns: int) -> _Batch:
        """The state for `batch`, with buffers for `columns`; work captured over smaller ones is dropped."""
        kept = self._batches.setdefault(batch, _Batch())
        room = round_up(columns, self._choices.bucket)
        if kept.buffers is None or kept.buffers.room < room:
            kept.captured.clear()
            kept.buffers = None
            kept.buffers = make_buffers(self._shape, batch, room, self._dtype, self._device)
        return kept

    def _ready(self, batch: int, columns: int, new_tokens: int) -> _Batch:
        """Record whatever prompts and generations like those seen so far may need, of this batch size and others."""
        kept = self._batches.setdefault(batch, _Batch())
        grown = new_tokens > self._most_new or not kept.shortest <= columns <= kept.longest
        kept.shortest, kept.longest = min(kept.shortest, columns), max(kept.longest, columns)
        sizes = self._sizes | set(pieces(new_tokens - 1, self._choices.steps))
        if self._choices.captured_prefill:
            grown = grown or columns not in kept.prompts
            kept.prompts.add(columns)
        if not (grown or sizes != self._sizes):
            return kept
        self._sizes, self._most_new = sizes, max(self._most_new, new_tokens)
        for size, other in self._batches.items():
            if other.longest:
                self._record_reachable(size, other)
        return kept

    def _record_reachable(self, batch: int, kept: _Batch) -> None:
        bucket = self._choices.bucket
        self._kept(batch, kept.longest + self._most_new)
        for columns in kept.prompts:
            self._recorded(kept, "prefill", columns, 1)
        last = round_up(kept.longest + self._most_new - 1, bucket)
        for kv_length in range(round_up(kept.shortest + 1, bucket), last + 1, bucket):
            for steps in self._sizes:
                self._recorded(kept, "step", kv_length, steps)

    def _recorded(self, kept: _Batch, kind: str, kv_length: int, steps: int) -> Work:
        if (kind, kv_length, steps) not in kept.captured:
            buffers = kept.buffers
            assert buffers is not None
            program = self._program
            if kind == "prefill":

                def work() -> None:
                    program.prefill(buffers, kv_length)
            else:
                one = program.step if kind == "step" else program.scoring_step

                def work() -> None:
                    for _ in range(steps):
                        one(buffers, kv_length)

            before = buffers.position.clone()
            # Columns from here on are still empty, whenever this is asked for; recording may run the work.
            buffers.position.fill_(kv_length - steps)
            changed = (buffers.token_ids, buffers.position, buffers.scores)
            kept.captured[kind, kv_length, steps] = self._graphs.capture(work, changed)
            buffers.position.copy_(before)
        return kept.captured[kind, kv_length, steps]

    def _fill(self, kept: _Batch, rows: Sequence[Sequence[int]], columns: int) -> Buffers:
        """Copy rows to the device, padded on the left to `columns`."""
        import torch

        buffers = kept.buffers
        assert buffers is not None
        ids, mask = left_pad(rows)
        padding = columns - mask.sum(axis=1)
        buffers.token_ids.zero_()
        buffers.token_ids[columns - ids.shape[1] : columns].copy_(torch.from_numpy(ids.T.copy()))
        buffers.padding.copy_(torch.from_numpy(padding))
        return buffers

    def _forget(self, buffers: Buffers, first: int) -> None:
        """Zero the columns from `first` on, where attention multiplies masked columns by 0. An overflow of an earlier
        generation leaves NaN there, and 0 x NaN is NaN.
        """
        if reads_all(self._shape, self._choices.attention):
            for cache in (*buffers.keys, *buffers.values):
                cache[:, :, first:].zero_()

    def _prefill(self, kept: _Batch, buffers: Buffers, columns: int) -> None:
        if self._choices.captured_prefill:
            self._recorded(kept, "prefill", columns, 1)()
        else:
            self._program.prefill(buffers, columns)

    def _run(self, kept: _Batch, kind: str, start: int, steps: int) -> None:
        """Run `steps` steps, the first of which feeds column `start`."""
        work = self._recorded(kept, kind, round_up(start + steps, self._choices.bucket), steps)
        buffers = kept.buffers
        if self._proof is None and buffers is not None and start > 0:
            # Once, in the first generation: nothing is measured then.
            self._proof = prove(buffers, work, start, steps)
        work()

    def synchronize(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)

    def facts(self) -> Facts:
        import torch

        held = held_tensors(self._weights)
        packed = sum(map(is_packed, matrices_of(self._weights)))
        names = {"uint8": "int4"}
        sizes = tuple(sorted((names.get(name, name), size) for name, size in held_weights(held)))
        table = self._weights.embedding
        compute = table.weight.dtype if table.scale is None else table.scale.dtype
        choices, proof = self._choices, self._proof
        groups = int4_groups(self._weights)
        quantised = [("group", ", ".join(map(str, groups)))] if groups else []
        if choices.one_row == "triton" and {"int8", "int4"} & dict(sizes).keys():
            quantised.append(("vectors", "fixed point of 23 bits"))
        return Facts(
            engine_version=torch.__version__,
            libraries=library_versions(("torch", "triton", "safetensors", "numpy")),
            devices=held_devices(held),
            weight_dtypes=sizes,
            compute_dtype=dtype_name(compute),
            kv_cache=proof is not None and proof.reuses_cache,
            kv_cache_dtype=proof.cache_dtype if proof is not None else "",
            threads=torch.get_num_threads(),
            group=groups[0] if len(groups) == 1 else None,
            options=(("attention", choices.attention), ("linear", "packed" if packed else "plain")),
            tf32=tf32_settings(),
            detail=(
                ("attention", choices.attention),
                ("one_row", choices.one_row),
                ("compile", choices.compile),
                ("region", "step" if choices.whole_step else "layer"),
                ("inductor", choices.inductor or "-"),
                ("replay", self._graphs.name),
                ("captured", str(self._graphs.captured)),
                ("steps_per_replay", str(choices.steps)),
                ("bucket", str(choices.bucket)),
                ("matrices_per_layer", str(2 if self._weights.layers[0].up is None else 4)),
                ("prefill", "graph" if choices.captured_prefill else "eager"),
                ("prefill_products", prefill_products(choices, self._program)),
                ("step_products", choices.step_products),
                ("linear", "packed" if packed else "plain"),
                ("packed_linears", str(packed)),
                *plain_products(choices, self._weights),
                *attention_splits(choices, self._shape, self._steps()),
                *quantised,
                *arithmetic_detail(),
            ),
        )

    def _steps(self) -> list[tuple[int, int]]:
        """(batch, KV length) of captured steps."""
        return [
            (batch, kv_length)
            for batch, kept in self._batches.items()
            for kind, kv_length, _ in kept.captured
            if kind != "prefill"
        ]

    def peak_device_bytes(self) -> int | None:
        if self._device.type != "cuda":
            return None
        import torch

        return int(torch.cuda.max_memory_reserved(self._device))

    def close(self) -> None:
        on_gpu = self._device.type == "cuda"
        self._batches.clear()
        del self._program, self._weights, self._graphs
        if on_gpu:
            import torch

            torch.cuda.empty_cache()

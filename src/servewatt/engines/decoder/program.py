"""A decoder's tensors for a batch size, and its pieces put together: prefill, decode step, scoring step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from servewatt.engines.decoder import matrix as decoder_matrix
from servewatt.engines.decoder import packed as decoder_packed
from servewatt.engines.decoder import step as decoder_step
from servewatt.engines.decoder.shape import DecoderShape
from servewatt.engines.decoder.step import Multiply, Place, Tables
from servewatt.engines.decoder.weights import DecoderWeights

if TYPE_CHECKING:
    import torch

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes a function of tensors faster, or returns it as it is."""


@dataclass(frozen=True)
class Buffers:
    """Everything that changes while a batch is generated, each tensor in a place of its own for good.

    Column n of a row is its nth token, padding included.
    """

    record: torch.Tensor
    """Ids, int64, (room + 1, batch)."""
    position: torch.Tensor
    """The last column of `record` that is filled, int64, (1,)."""
    padding: torch.Tensor
    """Columns of each row that are padding, int64, (batch,)."""
    scores: torch.Tensor
    """Logarithm of the probability of each id of `record`, fp32, (room + 1, batch)."""
    keys: tuple[torch.Tensor, ...]
    """(batch, kv heads, room, head size) for each layer."""
    values: tuple[torch.Tensor, ...]

    @property
    def room(self) -> int:
        """Columns of the cache."""
        return int(self.keys[0].shape[2])


def make_buffers(shape: DecoderShape, batch: int, room: int, dtype: torch.dtype, device: torch.device) -> Buffers:
    """Buffers of zeros: what a mask hides must still be finite."""
    import torch

    def cache() -> tuple[torch.Tensor, ...]:
        size = (batch, shape.kv_heads, room, shape.head_size)
        return tuple(torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers))

    return Buffers(
        torch.zeros((room + 1, batch), dtype=torch.int64, device=device),
        torch.zeros(1, dtype=torch.int64, device=device),
        torch.zeros(batch, dtype=torch.int64, device=device),
        torch.zeros((room + 1, batch), dtype=torch.float32, device=device),
        cache(),
        cache(),
    )


_MOST_ROWS = 512
"""Rows of a prefill, up to which `auto` multiplies by integers as they are stored: so many have been timed. With enough
rows a floating copy pays, because it is made once for all of them."""


def _times(products: str) -> Multiply:
    """How rows meet a matrix: unpacked, packed or triton."""
    if products == "unpacked":
        return decoder_matrix.multiply
    if products == "packed":
        return decoder_packed.multiply
    from servewatt.engines.decoder import matmul_kernel

    return matmul_kernel.multiply


@dataclass(frozen=True)
class Ways:
    """How the parts of prefill and step are computed."""

    attention: str = "sdpa"
    """Of one token a row, see `decoder.attention.attend`."""
    one_row: str = "compiled"
    """A layer of one row: compiled, or triton (`decoder.one_row`)."""
    prefill_products: str = "unpacked"
    """Of integer matrices: unpacked (`decoder.matrix`), triton (`decoder.matmul_kernel`), or auto: the latter for few
    rows. Of floating ones: unpacked, or packed (`decoder.packed`)."""
    step_products: str = "unpacked"
    """The same of a compiled step; not auto."""


class DecoderProgram:
    """The steps of one decoder, their pieces compiled layer by layer or a step at a time.

    Compiling by layer is the quicker by the number of layers, and little is lost: a layer's additions are computed
    with the next one's norm either way.
    """

    def __init__(
        self,
        shape: DecoderShape,
        weights: DecoderWeights,
        tables: Tables,
        compile_: Compile,
        ways: Ways = Ways(),
        *,
        whole_step: bool = False,
    ) -> None:
        self._shape = shape
        self._weights = weights
        self._tables = tables
        self._ways = ways
        self._integer_head = weights.head.scale is not None
        self.prefilled_by: set[str] = set()
        """How prefills so far have met matrices: see `Ways`, where auto is one of the others."""
        piece: Compile = (lambda function: function) if whole_step else compile_
        self._begin = piece(decoder_step.begin_step)
        self._step_times = _times(ways.step_products)
        self._layer = piece(decoder_step.layer)
        self._pick = piece(decoder_step.pick)
        self._score = piece(decoder_step.score)
        self._pick_of = piece(decoder_step.pick_of)
        self._score_of = piece(decoder_step.score_of)
        whole: Compile = compile_ if whole_step else (lambda function: function)
        self._whole_step = whole(self._step)
        self._whole_scoring_step = whole(self._scoring_step)

    def prefill(self, buffers: Buffers, columns: int) -> None:
        """Run the first `columns` of `record` through an empty cache and pick the ids after them."""
        ids = buffers.record[:columns].t()
        buffers.position.zero_()
        x, added, place = decoder_step.begin(
            self._shape, self._weights, self._tables, ids, buffers.position, buffers.padding, columns
        )
        products = self._ways.prefill_products
        if products == "auto":
            products = "triton" if ids.numel() <= _MOST_ROWS else "unpacked"
        self.prefilled_by.add(products)
        times = _times(products)
        x, added = self._through(decoder_step.layer, x, added, buffers.keys, buffers.values, place, columns, times)
        buffers.position.fill_(columns - 1)
        decoder_step.pick(self._shape, self._weights, x, added, buffers.record, buffers.position, times)

    def step(self, buffers: Buffers, looked_at: int) -> None:
        """Feed the ids at `position`, attend to the first `looked_at` columns, pick the next ids."""
        self._whole_step(buffers.record, buffers.position, buffers.padding, buffers.keys, buffers.values, looked_at)

    def scoring_step(self, buffers: Buffers, looked_at: int) -> None:
        """The same, but the next ids stay as they are in `record` and their probability is noted."""
        self._whole_scoring_step(
            buffers.record,
            buffers.position,
            buffers.padding,
            buffers.keys,
            buffers.values,
            buffers.scores,
            looked_at,
        )

    def _step(
        self,
        record: torch.Tensor,
        position: torch.Tensor,
        padding: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        looked_at: int,
    ) -> None:
        x, added, place = self._begin(self._shape, self._weights, self._tables, record, position, padding, looked_at)
        x, last = self._decode(x, added, keys, values, place, looked_at)
        if last is None and self._integer_head:
            self._pick_of(self._finish_one_row(x), record, position)
        else:
            self._pick(self._shape, self._weights, x, last, record, position, self._step_times)

    def _scoring_step(
        self,
        record: torch.Tensor,
        position: torch.Tensor,
        padding: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        scores: torch.Tensor,
        looked_at: int,
    ) -> None:
        x, added, place = self._begin(self._shape, self._weights, self._tables, record, position, padding, looked_at)
        x, last = self._decode(x, added, keys, values, place, looked_at)
        if last is None and self._integer_head:
            self._score_of(self._finish_one_row(x), record, position, scores)
        else:
            self._score(self._shape, self._weights, x, last, record, position, scores, self._step_times)

    def _decode(
        self,
        x: torch.Tensor,
        added: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        place: Place,
        looked_at: int,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One token of each row through all layers: their output, and what is still to be added to it, if anything."""
        if self._ways.one_row != "triton" or x.shape[0] > 1:
            return self._through(self._layer, x, added, keys, values, place, looked_at, self._step_times)
        from servewatt.engines.decoder import one_row

        if self._weights.positions is not None:
            x = x + added
        for index, layer in enumerate(self._weights.layers):
            key, value = keys[index][:, :, :looked_at], values[index][:, :, :looked_at]
            x = one_row.layer(self._shape, layer, x, key, value, place, self._ways.attention)
        return x, None

    def _finish_one_row(self, x: torch.Tensor) -> torch.Tensor:
        """Logits. Inductor makes a good product of a vector and a floating matrix, none of one with integers."""
        from servewatt.engines.decoder import one_row

        return one_row.finish(self._shape, self._weights, x)

    def _through(
        self,
        run_layer: Callable[..., Any],
        x: torch.Tensor,
        added: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        place: Place,
        looked_at: int,
        times: Multiply,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for index, layer in enumerate(self._weights.layers):
            # Sliced here, so that a compiled layer sees tensors of one shape and the room behind is of no concern.
            key, value = keys[index][:, :, :looked_at], values[index][:, :, :looked_at]
            x, added = run_layer(self._shape, layer, x, added, key, value, place, self._ways.attention, times)
        return x, added

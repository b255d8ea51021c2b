"""A decoder's tensors for a batch size, and its pieces put together: prefill, decode step, scoring step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from servewatt.checkpoints.decoder import DecoderShape
from servewatt.engines.torch_graph.model import matrix, packed, step
from servewatt.engines.torch_graph.model.positions import Positions, Tables, kind_of, layer_kinds
from servewatt.engines.torch_graph.model.step import MatMul
from servewatt.engines.torch_graph.model.weights import DecoderWeights

if TYPE_CHECKING:
    import torch

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Compiles a function of tensors, or returns it unchanged."""


@dataclass(frozen=True)
class Buffers:
    """Everything that changes while a batch is generated; each tensor keeps its address.

    Column n of a row is its nth token, padding included.
    """

    token_ids: torch.Tensor
    """Ids, int64, (room + 1, batch)."""
    position: torch.Tensor
    """The last column of `token_ids` that is filled, int64, (1,)."""
    padding: torch.Tensor
    """Columns of each row that are padding, int64, (batch,)."""
    longer: torch.Tensor
    """Whether each row goes beyond longrope's original context, bool, (batch,)."""
    scores: torch.Tensor
    """Logarithm of the probability of each id of `token_ids`, fp32, (room + 1, batch)."""
    keys: tuple[torch.Tensor, ...]
    """(batch, kv heads, room, head size) for each layer."""
    values: tuple[torch.Tensor, ...]

    @property
    def room(self) -> int:
        """Columns of the cache."""
        return int(self.keys[0].shape[2])


def make_buffers(shape: DecoderShape, batch: int, room: int, dtype: torch.dtype, device: torch.device) -> Buffers:
    """Buffers of zeros: masked values must still be finite."""
    import torch

    def cache() -> tuple[torch.Tensor, ...]:
        size = (batch, shape.kv_heads, room, shape.head_size)
        return tuple(torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers))

    return Buffers(
        torch.zeros((room + 1, batch), dtype=torch.int64, device=device),
        torch.zeros(1, dtype=torch.int64, device=device),
        torch.zeros(batch, dtype=torch.int64, device=device),
        torch.zeros(batch, dtype=torch.bool, device=device),
        torch.zeros((room + 1, batch), dtype=torch.float32, device=device),
        cache(),
        cache(),
    )


_MOST_ROWS = 512
"""Rows of a prefill, up to which `auto` multiplies by integers as they are stored: so many have been timed. With enough
rows a floating copy pays, because it is made once for all of them."""


def _matmul(products: str) -> MatMul:
    """How rows are multiplied by a matrix: unpacked, packed or triton."""
    if products == "unpacked":
        return matrix.multiply
    if products == "packed":
        return packed.multiply
    from servewatt.engines.torch_graph.kernels import matmul as matmul_kernel

    return matmul_kernel.multiply


@dataclass(frozen=True)
class Kernels:
    """Kernels for the parts of prefill and step."""

    attention: str = "sdpa"
    """Of one token a row, see `model.attention.attend`."""
    one_row: str = "compiled"
    """A layer of one row: compiled, or triton (`model.one_row`)."""
    prefill_products: str = "unpacked"
    """Of integer matrices: unpacked (`model.matrix`), triton (`kernels.matmul`), or auto: the latter for few
    rows. Of floating ones: unpacked, or packed (`model.packed`)."""
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
        kernels: Kernels = Kernels(),
        *,
        whole_step: bool = False,
    ) -> None:
        self._shape = shape
        self._weights = weights
        self._tables = tables
        self._kernels = kernels
        self._integer_head = weights.head.scale is not None
        kinds = layer_kinds(shape)
        self._kinds = tuple(kinds.index(kind_of(shape, layer)) for layer in range(shape.layers))
        self._shortest_window = min((window for window in shape.windows if window), default=None)
        self.prefilled_by: set[str] = set()
        """The products of prefills so far, see `Kernels`; auto stands for the one it chose."""
        piece: Compile = (lambda function: function) if whole_step else compile_
        self._begin = piece(step.begin_step)
        self._step_matmul = _matmul(kernels.step_products)
        self._layer = piece(step.layer)
        self._pick = piece(step.pick)
        self._score = piece(step.score)
        self._pick_of = piece(step.pick_of)
        self._score_of = piece(step.score_of)
        whole: Compile = compile_ if whole_step else (lambda function: function)
        self._whole_step = whole(self._step)
        self._whole_scoring_step = whole(self._scoring_step)

    def prefill(self, buffers: Buffers, columns: int) -> None:
        """Run the first `columns` of `token_ids` through an empty cache and pick the ids after them."""
        ids = buffers.token_ids[:columns].t()
        buffers.position.zero_()
        x, added, positions = step.begin(
            self._shape, self._weights, self._tables, ids, buffers.position, buffers.padding, columns, buffers.longer
        )
        products = self._kernels.prefill_products
        if products == "auto":
            products = "triton" if ids.numel() <= _MOST_ROWS else "unpacked"
        self.prefilled_by.add(products)
        matmul = _matmul(products)
        x, added = self._through(step.layer, x, added, buffers.keys, buffers.values, positions, columns, matmul)
        buffers.position.fill_(columns - 1)
        step.pick(self._shape, self._weights, x, added, buffers.token_ids, buffers.position, matmul)

    def step(self, buffers: Buffers, kv_length: int) -> None:
        """Feed the ids at `position`, attend to the first `kv_length` columns, pick the next ids."""
        self._whole_step(
            buffers.token_ids,
            buffers.position,
            buffers.padding,
            buffers.longer,
            buffers.keys,
            buffers.values,
            kv_length,
        )

    def scoring_step(self, buffers: Buffers, kv_length: int) -> None:
        """The same, but the next ids stay as they are in `token_ids` and their probability is noted."""
        self._whole_scoring_step(
            buffers.token_ids,
            buffers.position,
            buffers.padding,
            buffers.longer,
            buffers.keys,
            buffers.values,
            buffers.scores,
            kv_length,
        )

    def _step(
        self,
        token_ids: torch.Tensor,
        position: torch.Tensor,
        padding: torch.Tensor,
        longer: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        kv_length: int,
    ) -> None:
        x, added, positions = self._begin(
            self._shape, self._weights, self._tables, token_ids, position, padding, kv_length, longer
        )
        x, last = self._decode(x, added, keys, values, positions, kv_length)
        if last is None and self._integer_head:
            self._pick_of(self._finish_one_row(x), token_ids, position)
        else:
            self._pick(self._shape, self._weights, x, last, token_ids, position, self._step_matmul)

    def _scoring_step(
        self,
        token_ids: torch.Tensor,
        position: torch.Tensor,
        padding: torch.Tensor,
        longer: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        scores: torch.Tensor,
        kv_length: int,
    ) -> None:
        x, added, positions = self._begin(
            self._shape, self._weights, self._tables, token_ids, position, padding, kv_length, longer
        )
        x, last = self._decode(x, added, keys, values, positions, kv_length)
        if last is None and self._integer_head:
            self._score_of(self._finish_one_row(x), token_ids, position, scores)
        else:
            self._score(self._shape, self._weights, x, last, token_ids, position, scores, self._step_matmul)

    def _decode(
        self,
        x: torch.Tensor,
        added: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        positions: Positions,
        kv_length: int,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One token of each row through all layers: their output, and the pending residual, if any."""
        if not self._by_one_row(x.shape[0], kv_length):
            return self._through(self._layer, x, added, keys, values, positions, kv_length, self._step_matmul)
        from servewatt.engines.torch_graph.model import one_row

        if self._weights.positions is not None:
            x = x + added
        for index, layer in enumerate(self._weights.layers):
            key, value = keys[index][:, :, :kv_length], values[index][:, :, :kv_length]
            of_kind = self._of_kind(positions, index)
            x = one_row.layer(self._shape, layer, x, key, value, of_kind, self._kernels.attention)
        return x, None

    def _by_one_row(self, batch: int, kv_length: int) -> bool:
        """Whether this step goes through the kernels for one row; none has a window."""
        if self._kernels.one_row != "triton" or batch > 1:
            return False
        from servewatt.engines.torch_graph.model import one_row

        within = self._shortest_window is None or kv_length <= self._shortest_window
        return within and one_row.takes(self._shape)

    def _of_kind(self, positions: Positions, layer: int) -> Positions:
        """The positions for one layer."""
        kind = self._kinds[layer]
        return (positions.others[kind - 1] if kind else positions)._replace(others=())

    def _attention(self, layer: int, kv_length: int) -> str:
        """Kernels of our own have no window and no soft cap: what they lack is computed by PyTorch."""
        window = self._shape.window_of(layer)
        slides = window is not None and kv_length > window
        own = self._kernels.attention in {"triton", "split"}
        return "sdpa" if own and (slides or self._shape.attention_soft_cap is not None) else self._kernels.attention

    def _finish_one_row(self, x: torch.Tensor) -> torch.Tensor:
        """Logits. Inductor makes a good product of a vector and a floating matrix, none of one with integers."""
        from servewatt.engines.torch_graph.model import one_row

        return one_row.finish(self._shape, self._weights, x)

    def _through(
        self,
        run_layer: Callable[..., Any],
        x: torch.Tensor,
        added: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        positions: Positions,
        kv_length: int,
        matmul: MatMul,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for index, layer in enumerate(self._weights.layers):
            # Sliced here, so that a compiled layer sees tensors of one shape whatever the buffer's length.
            key, value = keys[index][:, :, :kv_length], values[index][:, :, :kv_length]
            of_kind, attention = self._of_kind(positions, index), self._attention(index, kv_length)
            x, added = run_layer(self._shape, layer, x, added, key, value, of_kind, attention, matmul)
        return x, added

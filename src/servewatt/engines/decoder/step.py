"""A decoder in plain torch: prefill of a padded batch, and one decode step over a static key-value cache.

Every tensor has a fixed shape and place, so a decode step can be compiled once for each length of the cache that
attention looks at (a bucket) and captured in a CUDA graph. Rows are padded on the left; a row's position is the column
less its padding. `begin`, `layer` and `finish` are functions of their arguments alone, which is what makes them
compilable each for itself; a layer hands on its input and what it adds to it apart, so that the addition is computed
together with the next layer's norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from servewatt.engines.decoder.attention import attend
from servewatt.engines.decoder.matrix import Matrix, look_up, multiply
from servewatt.engines.decoder.shape import Activation, DecoderShape, Norm
from servewatt.engines.decoder.weights import DecoderWeights, LayerWeights, NormWeights

if TYPE_CHECKING:
    import torch


Multiply = Callable[["torch.Tensor", Matrix], "torch.Tensor"]
"""`decoder.matrix.multiply`, or what does the same."""
_PARTS = 256
"""Of a row of logits."""


class Tables(NamedTuple):
    """What depends on nothing but the shape; on the device."""

    cosines: torch.Tensor | None
    """(context, head size), fp32, 1 for components that do not rotate; None without rotary embedding."""
    sines: torch.Tensor | None
    """The same, with the sign that each component's partner takes, and 0 for those that do not rotate."""
    partners: torch.Tensor | None
    """(head size,), int64: the component that each one rotates with."""
    slopes: torch.Tensor | None
    """(heads,), fp32: what a step away costs a key's score; None without alibi."""


class Place(NamedTuple):
    """Where a step's tokens stand."""

    columns: torch.Tensor
    """Columns of the cache that they are written to, (tokens,)."""
    cosines: torch.Tensor | None
    """(batch, tokens, 1, head size)."""
    sines: torch.Tensor | None
    partners: torch.Tensor | None
    mask: torch.Tensor
    """What is added to scores, (batch, 1, tokens, columns looked at): 0 where a token may look, else minus infinity.
    With alibi the bias of each head, (batch, heads, tokens, columns)."""
    padding: torch.Tensor
    """Columns of each row that are padding, (batch,)."""
    slopes: torch.Tensor | None
    """Alibi's."""


def make_tables(shape: DecoderShape, device: torch.device) -> Tables:
    """Angles as transformers computes them (in fp32), and alibi's slopes (https://arxiv.org/abs/2108.12409)."""
    import torch

    cosines = sines = partners = slopes = None
    if shape.rotary_size:
        half, still = shape.rotary_size // 2, shape.head_size - shape.rotary_size
        exponents = torch.arange(0, shape.rotary_size, 2, dtype=torch.float32, device=device) / shape.rotary_size
        frequencies = 1.0 / (shape.rotary_base**exponents)
        angles = torch.arange(shape.context, dtype=torch.float32, device=device)[:, None] * frequencies
        ones = angles.new_ones(shape.context, still)
        cosines = torch.cat((angles.cos(), angles.cos(), ones), dim=1)
        sines = torch.cat((-angles.sin(), angles.sin(), 0 * ones), dim=1)
        partners = torch.arange(shape.head_size, device=device)
        partners[: 2 * half] = partners[: 2 * half].roll(half)
    if shape.alibi:
        slopes = torch.tensor(_alibi_slopes(shape.heads), dtype=torch.float32, device=device)
    return Tables(cosines, sines, partners, slopes)


def _alibi_slopes(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    slopes: list[float] = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
    return slopes + [2.0 ** (-4.0 * (2 * i + 1) / power) for i in range(heads - power)]


def begin(
    shape: DecoderShape,
    weights: DecoderWeights,
    tables: Tables,
    ids: torch.Tensor,
    first: torch.Tensor,
    padding: torch.Tensor,
    looked_at: int,
) -> tuple[torch.Tensor, torch.Tensor, Place]:
    """The input of the first layer, what is to be added to it, and where the tokens stand.

    `ids` (batch, tokens) stand in columns `first` (1,) and on; `padding` (batch,) columns of each row are padding.
    """
    import torch

    tokens = ids.shape[1]
    table, scale = weights.embedding.weight, weights.embedding.scale
    dtype = table.dtype if scale is None else scale.dtype
    columns = first + torch.arange(tokens, device=ids.device)
    # A padding token, or a step that is run only to be recorded, may stand outside; a device must not look there.
    positions = (columns[None] - padding[:, None]).clamp(0, shape.context - 1)
    x = look_up(weights.embedding, ids, dtype)
    if shape.embedding_scale != 1.0:
        x = x * shape.embedding_scale
    if weights.embedding_norm is not None:
        x = normalise(shape, weights.embedding_norm, x)
    added = torch.zeros_like(x) if weights.positions is None else weights.positions[positions]
    keys = torch.arange(looked_at, device=ids.device)
    seen = (keys[None, None] >= padding[:, None, None]) & (keys[None, None] <= columns[None, :, None])
    # A padding token looks at itself: looking nowhere would make it NaN, which no mask hides from the next layer.
    hidden = ~(seen | (keys[None, None] == columns[None, :, None]))[:, None]
    if tables.slopes is None:
        bias = torch.zeros((1, 1, 1, 1), dtype=dtype, device=ids.device)
    else:
        distance = (keys[None] - columns[:, None]).to(torch.float32)
        bias = (tables.slopes[None, :, None, None] * distance[None, None]).to(dtype)
    mask = torch.where(hidden, float("-inf"), bias)
    cosines = sines = None
    if tables.cosines is not None and tables.sines is not None:
        cosines, sines = tables.cosines[positions][:, :, None], tables.sines[positions][:, :, None]
    return x, added, Place(columns, cosines, sines, tables.partners, mask, padding, tables.slopes)


def normalise(shape: DecoderShape, norm: NormWeights, x: torch.Tensor) -> torch.Tensor:
    """The norm of `x` (..., hidden), computed in fp32, in the type of `x`."""
    import torch

    if shape.norm is Norm.LAYER:
        return torch.nn.functional.layer_norm(x, (shape.hidden,), norm.weight, norm.bias, shape.epsilon)
    exact = x.float()
    exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + shape.epsilon)
    return (exact if norm.weight is None else exact * norm.weight.float()).to(x.dtype)


def activate(shape: DecoderShape, x: torch.Tensor) -> torch.Tensor:
    """The activation of `x` (..., up size), times the second half where the layer is gated: (..., inner)."""
    import torch

    gate, other = x.chunk(2, dim=-1) if shape.gated else (x, None)
    if shape.activation is Activation.SILU:
        made = torch.nn.functional.silu(gate)
    elif shape.activation is Activation.RELU:
        made = torch.nn.functional.relu(gate)
    else:
        approximation = "tanh" if shape.activation is Activation.GELU_TANH else "none"
        made = torch.nn.functional.gelu(gate, approximate=approximation)
    return made if other is None else made * other


def layer(  # noqa: PLR0913, PLR0917  inductor compiles it with what it takes as arguments
    shape: DecoderShape,
    weights: LayerWeights,
    x: torch.Tensor,
    added: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    place: Place,
    attention: str,
    times: Multiply = multiply,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One layer: its input, and what is to be added to it."""
    import torch

    x = x + added
    read = normalise(shape, weights.norm, x)
    if weights.up is None or weights.down is None:
        both = times(read, weights.qkv)
        qkv, up = both[..., : shape.qkv_size], both[..., shape.qkv_size :]
        attended = attend(shape, qkv, keys, values, place, attention)
        return x, times(torch.cat((attended, activate(shape, up)), dim=-1), weights.out)
    attended = attend(shape, times(read, weights.qkv), keys, values, place, attention)
    attended = times(attended, weights.out)
    if shape.parallel:
        if weights.second_norm is not None:
            read = normalise(shape, weights.second_norm, x)
        return x, attended + _feed(shape, weights, read, times)
    x = x + attended
    assert weights.second_norm is not None
    read = normalise(shape, weights.second_norm, x)
    return x, _feed(shape, weights, read, times)


def _feed(shape: DecoderShape, weights: LayerWeights, read: torch.Tensor, times: Multiply) -> torch.Tensor:
    """The feed-forward layer."""
    assert weights.up is not None and weights.down is not None
    return times(activate(shape, times(read, weights.up)), weights.down)


def finish(
    shape: DecoderShape,
    weights: DecoderWeights,
    x: torch.Tensor,
    added: torch.Tensor | None,
    times: Multiply = multiply,
) -> torch.Tensor:
    """Logits of the last token of each row, (batch, vocabulary)."""
    last = x[:, -1] if added is None else x[:, -1] + added[:, -1]
    read = normalise(shape, weights.norm, last)
    return times(read, weights.head)


def most_likely(logits: torch.Tensor) -> torch.Tensor:
    """Ids (batch,) of the greatest of `logits` (batch, vocabulary); the first of equals.

    In two stages, because a device reduces a long row with one of its many processors.
    """
    import torch

    vocabulary = logits.shape[1]
    parts = min(_PARTS, vocabulary)
    padded = torch.nn.functional.pad(logits, (0, -vocabulary % parts), value=float("-inf"))
    best, where = padded.view(logits.shape[0], parts, -1).max(dim=-1)
    part = best.argmax(dim=-1, keepdim=True)
    return (part * (padded.shape[1] // parts) + where.gather(1, part))[:, 0]


def begin_step(
    shape: DecoderShape,
    weights: DecoderWeights,
    tables: Tables,
    record: torch.Tensor,
    position: torch.Tensor,
    padding: torch.Tensor,
    looked_at: int,
) -> tuple[torch.Tensor, torch.Tensor, Place]:
    """`begin` for the ids that `record` (columns, batch) holds at column `position` (1,)."""
    ids = record.index_select(0, position).view(-1, 1)
    return begin(shape, weights, tables, ids, position, padding, looked_at)


def pick(
    shape: DecoderShape,
    weights: DecoderWeights,
    x: torch.Tensor,
    added: torch.Tensor | None,
    record: torch.Tensor,
    position: torch.Tensor,
    times: Multiply = multiply,
) -> None:
    """Write the most likely next ids into the column of `record` after `position`, and move it there."""
    pick_of(finish(shape, weights, x, added, times), record, position)


def pick_of(logits: torch.Tensor, record: torch.Tensor, position: torch.Tensor) -> None:
    """The same, of logits (batch, vocabulary)."""
    ids = most_likely(logits)
    position.add_(1)
    record.index_copy_(0, position, ids[None])


def score(
    shape: DecoderShape,
    weights: DecoderWeights,
    x: torch.Tensor,
    added: torch.Tensor | None,
    record: torch.Tensor,
    position: torch.Tensor,
    scores: torch.Tensor,
    times: Multiply = multiply,
) -> None:
    """Move `position` on, and write the logarithm of the probability of the ids that `record` holds there.

    `scores` is (columns, batch), fp32.
    """
    score_of(finish(shape, weights, x, added, times), record, position, scores)


def score_of(logits: torch.Tensor, record: torch.Tensor, position: torch.Tensor, scores: torch.Tensor) -> None:
    """The same, of logits (batch, vocabulary)."""
    logarithms = logits.float().log_softmax(dim=-1)
    position.add_(1)
    following = record.index_select(0, position).view(-1, 1)
    scores.index_copy_(0, position, logarithms.gather(1, following).view(1, -1))

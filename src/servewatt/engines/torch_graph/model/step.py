"""A decoder in plain torch: prefill of a padded batch, and one decode step over a static key-value cache.

Every tensor has a fixed shape and address, so a decode step can be compiled once for each length of the cache that
attention reads (a bucket) and captured in a CUDA graph. Rows are padded on the left; a row's position is the column
less its padding. `begin`, `layer` and `finish` are functions of their arguments alone, which is what makes them
compilable each for itself; a layer returns its input and its residual separately, so that the addition is fused with
the next layer's norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm, QueryKeyNorm
from servewatt.engines.torch_graph.model.attention import attend
from servewatt.engines.torch_graph.model.checkpoint import NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix, look_up, multiply
from servewatt.engines.torch_graph.model.positions import Positions, Tables
from servewatt.engines.torch_graph.model.weights import DecoderWeights, LayerWeights

if TYPE_CHECKING:
    import torch


MatMul = Callable[["torch.Tensor", Matrix], "torch.Tensor"]
"""`model.matrix.multiply`, or an equivalent."""
_PARTS = 256
"""Of a row of logits."""


def begin(
    shape: DecoderShape,
    weights: DecoderWeights,
    tables: Tables,
    ids: torch.Tensor,
    first: torch.Tensor,
    padding: torch.Tensor,
    kv_length: int,
    longer: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, Positions]:
    """The input of the first layer, its residual, and the tokens' positions.

    `ids` (batch, tokens) stand in columns `first` (1,) and on; `padding` (batch,) columns of each row are padding.
    `longer` (batch,) says which rows go beyond longrope's original context.
    """
    import torch

    tokens = ids.shape[1]
    table, scale = weights.embedding.weight, weights.embedding.scale
    dtype = table.dtype if scale is None else scale.dtype
    columns = first + torch.arange(tokens, device=ids.device)
    # A padding token, or a step that runs only to be captured, may lie outside; a device must not read there.
    token_positions = (columns[None] - padding[:, None]).clamp(0, shape.context - 1)
    x = look_up(weights.embedding, ids, dtype)
    if shape.embedding_scale != 1.0:
        x = x * shape.embedding_scale
    if weights.embedding_norm is not None:
        x = normalise(shape, weights.embedding_norm, x)
    added = torch.zeros_like(x) if weights.positions is None else weights.positions[token_positions]
    each = tuple(
        _positions(kind, columns, token_positions, padding, kv_length, x.dtype, longer)
        for kind in (tables, *tables.others)
    )
    return x, added, each[0]._replace(others=each[1:])


def _positions(
    tables: Tables,
    columns: torch.Tensor,
    token_positions: torch.Tensor,
    padding: torch.Tensor,
    kv_length: int,
    dtype: torch.dtype,
    longer: torch.Tensor | None,
) -> Positions:
    """Mask and angles for layers of one kind."""
    import torch

    keys = torch.arange(kv_length, device=columns.device)
    seen = (keys[None, None] >= padding[:, None, None]) & (keys[None, None] <= columns[None, :, None])
    if tables.window is not None:
        seen = seen & (keys[None, None] > columns[None, :, None] - tables.window)
    # A padding token attends to itself: an empty softmax is NaN, and no mask hides that from the next layer.
    hidden = ~(seen | (keys[None, None] == columns[None, :, None]))[:, None]
    if tables.slopes is None:
        bias = torch.zeros((1, 1, 1, 1), dtype=dtype, device=columns.device)
    else:
        distance = (keys[None] - columns[:, None]).to(torch.float32)
        bias = (tables.slopes[None, :, None, None] * distance[None, None]).to(dtype)
    mask = torch.where(hidden, float("-inf"), bias)
    cosines = sines = None
    if tables.cosines is not None and tables.sines is not None:
        cosines, sines = tables.cosines[token_positions][:, :, None], tables.sines[token_positions][:, :, None]
    if longer is not None and tables.long_cosines is not None and tables.long_sines is not None:
        chosen = longer[:, None, None, None]
        cosines = torch.where(chosen, tables.long_cosines[token_positions][:, :, None], cosines)
        sines = torch.where(chosen, tables.long_sines[token_positions][:, :, None], sines)
    return Positions(columns, cosines, sines, tables.partners, mask, padding, tables.slopes)


def normalise(shape: DecoderShape, norm: NormWeights, x: torch.Tensor) -> torch.Tensor:
    """The norm of `x` over its last axis, computed in fp32, in the type of `x`; a weight may have other axes before."""
    import torch

    if shape.norm is Norm.LAYER:
        if norm.weight is None or norm.weight.dim() == 1:
            return torch.nn.functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, shape.epsilon)
        plain = torch.nn.functional.layer_norm(x.float(), x.shape[-1:], None, None, shape.epsilon)
        return (plain * norm.weight.float()).to(x.dtype)
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
    positions: Positions,
    attention: str,
    matmul: MatMul = multiply,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One layer: its input, and the residual to add to it."""
    import torch

    x = x + added
    read = x if weights.norm is None else normalise(shape, weights.norm, x)
    if weights.up is None or weights.down is None:
        both = matmul(read, weights.qkv)
        qkv, up = both[..., : shape.qkv_size], both[..., shape.qkv_size :]
        attended = attend(shape, qkv, keys, values, positions, attention)
        return x, matmul(torch.cat((attended, activate(shape, up)), dim=-1), weights.out)
    qkv = normalise_heads(shape, weights, matmul(read, weights.qkv))
    attended = matmul(attend(shape, qkv, keys, values, positions, attention), weights.out)
    if weights.after_attention is not None:
        attended = normalise(shape, weights.after_attention, attended)
    if shape.parallel:
        if weights.second_norm is not None:
            read = normalise(shape, weights.second_norm, x)
        return x, attended + _feed(shape, weights, read, matmul)
    x = x + attended
    read = x if weights.second_norm is None else normalise(shape, weights.second_norm, x)
    fed = _feed(shape, weights, read, matmul)
    return x, fed if weights.after_feed is None else normalise(shape, weights.after_feed, fed)


def normalise_heads(shape: DecoderShape, weights: LayerWeights, qkv: torch.Tensor) -> torch.Tensor:
    """`qkv` (batch, tokens, queries + keys + values) with queries and keys normalised as the model does it."""
    import torch

    if weights.query_norm is None or weights.key_norm is None:
        return qkv
    wide, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    q, k, v = qkv.split((wide, keys, keys), dim=-1)
    if shape.query_key_norm is not QueryKeyNorm.WIDTH:
        q, k = (part.unflatten(-1, (-1, shape.head_size)) for part in (q, k))
    q, k = normalise(shape, weights.query_norm, q), normalise(shape, weights.key_norm, k)
    return torch.cat((q.reshape(*qkv.shape[:-1], wide), k.reshape(*qkv.shape[:-1], keys), v), dim=-1)


def _feed(shape: DecoderShape, weights: LayerWeights, read: torch.Tensor, matmul: MatMul) -> torch.Tensor:
    """The feed-forward layer."""
    assert weights.up is not None and weights.down is not None
    return matmul(activate(shape, matmul(read, weights.up)), weights.down)


def finish(
    shape: DecoderShape,
    weights: DecoderWeights,
    x: torch.Tensor,
    added: torch.Tensor | None,
    matmul: MatMul = multiply,
) -> torch.Tensor:
    """Logits of the last token of each row, (batch, vocabulary)."""
    last = x[:, -1] if added is None else x[:, -1] + added[:, -1]
    read = normalise(shape, weights.norm, last)
    return scale_logits(shape, matmul(read, weights.head))


def scale_logits(shape: DecoderShape, logits: torch.Tensor) -> torch.Tensor:
    """What the model makes of the head's product."""
    if shape.logit_scale != 1:
        logits = logits * shape.logit_scale
    if shape.logit_soft_cap is not None:
        logits = (logits.float() / shape.logit_soft_cap).tanh().mul(shape.logit_soft_cap).to(logits.dtype)
    return logits


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
    token_ids: torch.Tensor,
    position: torch.Tensor,
    padding: torch.Tensor,
    kv_length: int,
    longer: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, Positions]:
    """`begin` for the ids that `token_ids` (columns, batch) holds at column `position` (1,)."""
    ids = token_ids.index_select(0, position).view(-1, 1)
    return begin(shape, weights, tables, ids, position, padding, kv_length, longer)


def pick(
    shape: DecoderShape,
    weights: DecoderWeights,
    x: torch.Tensor,
    added: torch.Tensor | None,
    token_ids: torch.Tensor,
    position: torch.Tensor,
    matmul: MatMul = multiply,
) -> None:
    """Write the most likely next ids into the column of `token_ids` after `position`, and move it there."""
    pick_of(finish(shape, weights, x, added, matmul), token_ids, position)


def pick_of(logits: torch.Tensor, token_ids: torch.Tensor, position: torch.Tensor) -> None:
    """The same, of logits (batch, vocabulary)."""
    ids = most_likely(logits)
    position.add_(1)
    token_ids.index_copy_(0, position, ids[None])


def score(
    shape: DecoderShape,
    weights: DecoderWeights,
    x: torch.Tensor,
    added: torch.Tensor | None,
    token_ids: torch.Tensor,
    position: torch.Tensor,
    scores: torch.Tensor,
    matmul: MatMul = multiply,
) -> None:
    """Move `position` on, and write the logarithm of the probability of the ids that `token_ids` holds there.

    `scores` is (columns, batch), fp32.
    """
    score_of(finish(shape, weights, x, added, matmul), token_ids, position, scores)


def score_of(logits: torch.Tensor, token_ids: torch.Tensor, position: torch.Tensor, scores: torch.Tensor) -> None:
    """The same, of logits (batch, vocabulary)."""
    logarithms = logits.float().log_softmax(dim=-1)
    position.add_(1)
    following = token_ids.index_select(0, position).view(-1, 1)
    scores.index_copy_(0, position, logarithms.gather(1, following).view(1, -1))

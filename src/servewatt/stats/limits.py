"""Lower bound on decode time: bytes to read, products to compute, and how near a configuration came.

Everything follows from the shape of the model, so it holds for whatever engine runs it. The figures are lower
bounds: biases, norms, activations and everything written are left out, and an untied input embedding is only looked
up. What is assumed of narrow weights (`int8`, `int4`, `w8a8`): every matrix, the output projection too, is held in
that type, with one 2-byte scale for each group (the configuration's option `group`, or what the engine shows) or for
each output channel where there is none; zero points are left out. An engine that keeps the output projection or the
embeddings wider reads more, and so stands further from the floor: that is its choice. Keys and values are in the type
of floating weights, and in 8 bits beside integer ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from servewatt.records import Configuration, DecodeWork, Environment, Facts, Precision, Result, Shape
from servewatt.stats.intervals import typical
from servewatt.stats.peaks import Peak, peak_of
from servewatt.stats.records import Interval, Limit

SCALE_BYTES = 2

_SCALED = frozenset({Precision.INT8, Precision.INT4, Precision.W8A8})


def layer_elements(shape: Shape) -> int:
    """Numbers in the matrices of one layer: query, key, value and output projection, and the feed-forward layer."""
    attention = shape.hidden_size * shape.head_size * (2 * shape.query_heads + 2 * shape.key_value_heads)
    return attention + shape.hidden_size * shape.feed_forward_size * shape.feed_forward_matrices


def matrix_elements(shape: Shape) -> int:
    """Numbers in all matrices that a token is multiplied with, the output projection included."""
    return shape.layers * layer_elements(shape) + shape.vocabulary_size * shape.hidden_size


def weight_bytes(shape: Shape, precision: Precision, group: int | None = None) -> int:
    """Bytes of all matrices with their scales; `group` weights share a scale, or a whole output channel."""
    elements = matrix_elements(shape)
    scales = 0
    if precision in _SCALED:
        scales = elements // group if group else shape.layers * _layer_channels(shape) + shape.vocabulary_size
    return elements * precision.bits // 8 + scales * SCALE_BYTES


def cache_bytes_per_token(shape: Shape, precision: Precision) -> int:
    """Bytes of the keys and values that one token leaves in the KV cache of all layers."""
    return shape.layers * 2 * shape.key_value_heads * shape.head_size * max(precision.bits, 8) // 8


def step_bytes(
    shape: Shape, precision: Precision, rows: int, context_tokens: float, group: int | None = None
) -> tuple[int, int]:
    """(weights, KV cache) in bytes that one decode step of `rows` rows must read.

    Weights are read once for all rows; every row reads the keys and values of its `context_tokens` tokens.
    """
    seen = _seen(shape, context_tokens)
    return weight_bytes(shape, precision, group), round(rows * seen * cache_bytes_per_token(shape, precision))


def decode_flops(shape: Shape, context_tokens: float) -> float:
    """Operations for one token of one row: two for each matrix element, and attention over the tokens before it.

    Attention takes two for each number of a head, once for the scores and once for the values.
    """
    attention = 4 * shape.layers * shape.query_heads * shape.head_size * _seen(shape, context_tokens)
    return 2 * matrix_elements(shape) + attention


def prefill_flops(shape: Shape, tokens: float) -> float:
    """Operations for a prompt of `tokens`: each attends to those up to itself; only the last is projected to logits."""
    pairs = tokens * (tokens + 1) / 2
    if shape.window is not None and tokens > shape.window:
        pairs = shape.window * (shape.window + 1) / 2 + (tokens - shape.window) * shape.window
    products = 2 * (tokens * shape.layers * layer_elements(shape) + shape.vocabulary_size * shape.hidden_size)
    return products + 4 * shape.layers * shape.query_heads * shape.head_size * pairs


def decode_work(result: Result) -> DecodeWork | None:
    """The decode steps of a trial's fullest batches; None without any."""
    return result.times.decode


def group_of(configuration: Configuration, facts: Facts | None) -> int | None:
    """Weights that share a scale, by the configuration's options or else the loaded engine."""
    asked = dict(configuration.options).get("group")
    if asked is None:
        return facts.weights_per_scale if facts is not None else None
    return int(asked) if asked.isdecimal() and int(asked) > 0 else None


def from_memory(needed_bytes: int, peak: Peak) -> int:
    """Of the bytes that every step reads, those that must come from memory: the last-level cache may keep the rest."""
    return max(0, needed_bytes - (peak.cache_bytes or 0))


def limit_of(
    shape: Shape | None,
    configuration: Configuration,
    valid: Sequence[Result],
    environment: Environment,
    confidence: float,
) -> Limit | None:
    """How near a configuration came to the physical limit, over its valid trials; None if nothing is known."""
    works = [w for w in map(decode_work, valid) if w is not None and w.step_s > 0]
    if shape is None or configuration.engine == "fake" or not works:
        return None
    work, precision = works[-1], configuration.precision
    facts = valid[-1].facts
    weights, cache = step_bytes(shape, precision, work.rows, work.context_tokens, group_of(configuration, facts))
    flops = decode_flops(shape, work.context_tokens)
    peak = peak_of(environment, configuration.provider)
    rate = peak.flops(precision, facts.compute_dtype if facts is not None else "") if peak is not None else None
    memory_s, compute_s, why = _floors(weights, cache, flops * work.rows, peak, rate)
    floor_s = max((s for s in (memory_s, compute_s) if s is not None), default=None)

    def over_blocks(pick: Callable[[DecodeWork], float]) -> Interval:
        return typical([pick(w) for w in works], confidence)

    bandwidth = peak.bandwidth_bytes_s if peak is not None else None
    bound_by = "" if floor_s is None else "memory" if floor_s == memory_s else "compute"
    return Limit(
        rows=work.rows,
        context_tokens=work.context_tokens,
        weight_bytes_per_step=weights,
        cache_bytes_per_step=cache,
        bytes_per_token=(weights + cache) / work.rows,
        spared_bytes_per_step=weights + cache - from_memory(weights + cache, peak) if peak is not None else 0,
        decode_flops_per_token=flops,
        prefill_flops_per_prompt=prefill_flops(shape, work.prompt_tokens),
        decode_s_per_token=over_blocks(lambda w: w.step_s / w.rows),
        bandwidth_bytes_s=bandwidth,
        peak_flops_s=rate,
        source=peak.source if peak is not None else "",
        floor_s_per_token=floor_s / work.rows if floor_s is not None else None,
        bound_by=bound_by,
        times_floor=over_blocks(lambda w: w.step_s / floor_s) if floor_s else None,
        bandwidth_share=over_blocks(lambda w: memory_s / w.step_s) if memory_s is not None else None,
        no_floor=why if memory_s is None else "",
    )


def _floors(
    weights: int, cache: int, flops: float, peak: Peak | None, rate: float | None
) -> tuple[float | None, float | None, str]:
    """Least seconds of a step by memory and by arithmetic, and why memory sets none."""
    if peak is None or peak.bandwidth_bytes_s is None:
        return None, None, "the device's memory bandwidth is not known"
    if peak.cache_bytes is None and peak.source == "measured":
        return None, None, "the size of the last-level cache is not known"
    needed = from_memory(weights + cache, peak)
    if not needed:
        # Without the memory's floor that of arithmetic would flatter by orders of magnitude.
        return None, None, "the weights may be read from the last-level cache"
    return needed / peak.bandwidth_bytes_s, flops / rate if rate else None, ""


def _seen(shape: Shape, context_tokens: float) -> float:
    return context_tokens if shape.window is None else min(context_tokens, shape.window)


def _layer_channels(shape: Shape) -> int:
    """Output channels of all matrices of a layer."""
    attention = shape.head_size * (shape.query_heads + 2 * shape.key_value_heads) + shape.hidden_size
    return attention + (shape.feed_forward_matrices - 1) * shape.feed_forward_size + shape.hidden_size

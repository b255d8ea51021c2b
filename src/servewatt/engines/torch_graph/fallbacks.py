"""Fallbacks for kernels that do not apply to a model or device; the facts report them beside the options."""

from __future__ import annotations

from collections.abc import Iterable

from servewatt.checkpoints.decoder import DecoderShape
from servewatt.engines.torch_graph.choices import Choices
from servewatt.engines.torch_graph.model.program import DecoderProgram
from servewatt.engines.torch_graph.model.weights import DecoderWeights, matrices_of


def int4_groups(weights: DecoderWeights) -> tuple[int, ...]:
    """Inputs of int4 matrices that share a scale, read from the loaded weights; empty without such matrices."""
    packed = [m.weight for m in matrices_of(weights) if m.weight.dim() == 3]
    return tuple(sorted({2 * weight.shape[2] for weight in packed}))


def prefill_products(choices: Choices, program: DecoderProgram) -> str:
    """The option's value; for `auto` also its choice so far, such as `auto: triton`."""
    used = ", ".join(sorted(program.prefilled_by))
    return f"auto: {used}" if choices.prefill_products == "auto" and used else choices.prefill_products


def plain_products(choices: Choices, weights: DecoderWeights) -> tuple[tuple[str, str], ...]:
    """Number of matrices that fall back from `kernels.matmul` to plain torch, if the kernel was requested and there are
    any."""
    if {choices.prefill_products, choices.step_products}.isdisjoint({"triton", "auto"}):
        return ()
    from servewatt.engines.torch_graph.kernels import matmul as matmul_kernel

    matrices = matrices_of(weights)
    left = sum(not matmul_kernel.takes(matrix) for matrix in matrices)
    return (("plain_products", f"{left} of {len(matrices)} matrices"),) if left else ()


def attention_splits(
    choices: Choices, shape: DecoderShape, steps: Iterable[tuple[int, int]]
) -> tuple[tuple[str, str], ...]:
    """Programs among which attention=split has divided a head's columns; 1 is attention=triton.

    `steps` are (batch, KV length) of those captured so far.
    """
    if choices.attention != "split":
        return ()
    from servewatt.engines.torch_graph.kernels import split_attention as split_attention_kernel

    found = {split_attention_kernel.shares(shape, batch, columns)[0] for batch, columns in steps}
    return (("attention_splits", ", ".join(map(str, sorted(found)))),) if found else ()

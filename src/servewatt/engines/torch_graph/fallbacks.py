"""What runs in the place of kernels that were asked for, where these do not apply: facts say so beside the options."""

from __future__ import annotations

from collections.abc import Iterable

from servewatt.engines.torch_graph.choices import Choices
from servewatt.engines.torch_graph.model.program import DecoderProgram
from servewatt.engines.torch_graph.model.shape import DecoderShape
from servewatt.engines.torch_graph.model.weights import DecoderWeights, matrices_of


def int4_groups(weights: DecoderWeights) -> tuple[int, ...]:
    """How many inputs of int4 matrices share a scale, as they are held; empty without such matrices."""
    packed = [m.weight for m in matrices_of(weights) if m.weight.dim() == 3]
    return tuple(sorted({2 * weight.shape[2] for weight in packed}))


def prefill_products(choices: Choices, program: DecoderProgram) -> str:
    """The option's value, and of `auto` what it has come to so far: `auto: triton`."""
    used = ", ".join(sorted(program.prefilled_by))
    return f"auto: {used}" if choices.prefill_products == "auto" and used else choices.prefill_products


def plain_products(choices: Choices, weights: DecoderWeights) -> tuple[tuple[str, str], ...]:
    """How many matrices `kernels.matmul` leaves to plain torch, if it was asked for and there are any."""
    if {choices.prefill_products, choices.step_products}.isdisjoint({"triton", "auto"}):
        return ()
    from servewatt.engines.torch_graph.kernels import matmul as matmul_kernel

    matrices = matrices_of(weights)
    left = sum(not matmul_kernel.takes(matrix) for matrix in matrices)
    return (("plain_products", f"{left} of {len(matrices)} matrices"),) if left else ()


def attention_splits(
    choices: Choices, shape: DecoderShape, steps: Iterable[tuple[int, int]]
) -> tuple[tuple[str, str], ...]:
    """Among how many programs attention=split has shared out a head's columns; 1 is attention=triton.

    `steps` are (batch, KV length) of those captured so far.
    """
    if choices.attention != "split":
        return ()
    from servewatt.engines.torch_graph.kernels import split_attention as split_attention_kernel

    found = {split_attention_kernel.shares(shape, batch, columns)[0] for batch, columns in steps}
    return (("attention_splits", ", ".join(map(str, sorted(found)))),) if found else ()

"""Matrices of integers for tests, and what they are in float64; importing this needs torch."""

from __future__ import annotations

import torch

from servewatt.engines.torch_graph.model.matrix import Matrix, quantise_int4, quantise_int8

GENERATOR = torch.Generator()


def some(*size: int) -> torch.Tensor:
    """Numbers around 0, fp32."""
    return torch.randn(size, generator=GENERATOR)


def matrix_of(outputs: int, inputs: int, kind: str, dtype: torch.dtype = torch.float32) -> Matrix:
    """A matrix with biases; `kind` is `int8`, or `int4 GROUP`."""
    weight, bias = some(outputs, inputs) * inputs**-0.5, some(outputs).to(dtype)
    name, _, group = kind.partition(" ")
    made = quantise_int8(weight, dtype) if name == "int8" else quantise_int4(weight, dtype, int(group))
    return made._replace(bias=bias)


def exact(matrix: Matrix) -> torch.Tensor:
    """The matrix without its biases, (outputs, inputs), float64."""
    assert matrix.scale is not None
    if matrix.weight.dim() == 2:
        return matrix.weight.double() * matrix.scale.double()[:, None]
    integers = torch.cat((matrix.weight & 15, matrix.weight >> 4), dim=2).double() - 8
    return (integers * matrix.scale.double()[..., None]).flatten(1)

"""Triton kernels of engine torch-graph.

`attention` and `split_attention` attend for one token a row. At one row, `float_matvec` and `integer_matvec` (on
`integers`) multiply a vector by a matrix, with what `matvec` has in common; with more rows `matmul` multiplies by
integers. Importing these needs triton; calling them a GPU, or Triton's interpreter.
"""

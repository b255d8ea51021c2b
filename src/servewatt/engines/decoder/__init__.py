"""The decoder of engine torch-graph: a model as data (`shape`, `weights`), its computation (`step`, `program`) and the
Triton kernels for CUDA.

`checkpoint` and `weights` bring a checkpoint into one form, `matrix` holds matrices in each precision, `packed` floats
on the CPU, `program` puts the pieces together. At one row `one_row` replaces a layer by `product_kernel`,
`integer_kernel` (on `kernel_parts` and `kernel_integers`) and `attention_kernel` or `split_attention_kernel`; with more
rows `attention` chooses one of these two, and `matmul_kernel` multiplies by integers.
"""

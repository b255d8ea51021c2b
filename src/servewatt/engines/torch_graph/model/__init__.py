"""The decoder of engine torch-graph: a model as data (`shape`, `weights`) and its computation (`step`, `program`).

`checkpoint` and `weights` convert a checkpoint into one form; `matrix` holds matrices in each precision, `packed`
floats on the CPU; `positions` has rotary angles and masks; `program` combines the pieces. At one row `one_row` replaces
a layer by kernels; with more rows `attention` chooses one.
"""

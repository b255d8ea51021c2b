"""Engine torch-graph: a decoder of our own, compiled by inductor and replayed as CUDA graphs.

`model/` is the decoder, `kernels/` its Triton kernels for CUDA. `session` generates with it by replaying what `replay`
captured, `compile` and `choices` say how it is made fast, `cache_proof` and `fallbacks` what really runs.
"""

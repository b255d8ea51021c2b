"""Engine torch-graph: the decoder of `servewatt.engines.decoder` compiled by inductor and recorded as CUDA graphs."""

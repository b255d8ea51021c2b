"""Engine torchscript: transformers' modules traced into a frozen graph."""

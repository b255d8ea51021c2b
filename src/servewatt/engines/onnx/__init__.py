"""Engine onnx: ONNX Runtime over graphs exported, rewritten and quantised here."""

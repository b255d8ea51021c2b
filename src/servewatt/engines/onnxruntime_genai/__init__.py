"""Engine onnxruntime-genai: graphs of the library's own model builder, and its own loop."""

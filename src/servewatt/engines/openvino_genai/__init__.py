"""Engine openvino-genai: LLMPipeline over the graphs of engine openvino."""

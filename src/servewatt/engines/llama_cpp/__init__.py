"""Engine llama-cpp: llama.cpp as a library, GGUF files written here, a build without AMX."""

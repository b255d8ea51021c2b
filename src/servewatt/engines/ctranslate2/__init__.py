"""Engine ctranslate2: models written here from the safetensors."""

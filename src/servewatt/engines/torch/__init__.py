"""Engine torch: transformers' modules as they are."""

"""Engine vllm: its own scheduler, stepped in the measured process."""

"""Which prompts, how many tokens."""

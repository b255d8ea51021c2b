"""How the study measures: its prompts, its models and how they were selected, its procedures."""

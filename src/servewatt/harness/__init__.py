"""From a plan to results: expand it, run each trial in a process of its own, yield what happened."""

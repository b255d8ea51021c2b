"""Readers of model folders without any tensor library, for code that describes models and code that runs them."""

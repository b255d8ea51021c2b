"""servewatt: serve a code language model for the least energy, and say how sure that is."""

__version__ = "0.1.0"

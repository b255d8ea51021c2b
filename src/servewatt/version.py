"""The version of servewatt."""

__version__ = "0.1.0"

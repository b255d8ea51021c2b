"""Append and read results; migrations; no arithmetic."""

from servewatt.store.files import read_file, write_file
from servewatt.store.store import Store

__all__ = ["Store", "read_file", "write_file"]

"""Append and read results; migrations; no arithmetic."""

from servewatt.store.complaints import MissingStoreError
from servewatt.store.files import read_file, read_qualities, write_file
from servewatt.store.reader import StoreReader
from servewatt.store.reading import Damaged
from servewatt.store.store import Store

__all__ = ["Damaged", "MissingStoreError", "Store", "StoreReader", "read_file", "read_qualities", "write_file"]

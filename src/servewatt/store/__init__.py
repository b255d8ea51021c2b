"""Append and read results; migrations; no arithmetic."""

from servewatt.store.complaints import MissingStoreError
from servewatt.store.files import read_file, read_qualities, write_file
from servewatt.store.reading import Damaged
from servewatt.store.store import Store, StoreReader

__all__ = ["Damaged", "MissingStoreError", "Store", "StoreReader", "read_file", "read_qualities", "write_file"]

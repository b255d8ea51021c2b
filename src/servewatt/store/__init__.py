"""Append and read results; migrations; no arithmetic."""

"""Helpers that several engines use; nothing here knows an engine."""

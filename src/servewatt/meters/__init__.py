"""Meters by name. To add one: its file, its line here, its extra in pyproject.toml."""

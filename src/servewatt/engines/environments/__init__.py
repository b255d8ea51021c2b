"""Engines' own environments: `state` says what is there, `build` makes and removes, `doctor` tries them."""

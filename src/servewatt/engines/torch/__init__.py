"""Engines torch and torchscript: transformers' modules as they are, or traced. Also what exports start from."""

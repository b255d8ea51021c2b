"""Observes how a decode step uses the KV cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeProof:
    """Observed effects of one decode step."""

    tokens_fed: int
    """Tokens a row given to the graph."""
    cache_before: int
    """Tokens the cache held."""
    cache_after: int
    cache_dtype: str

    @property
    def reuses_cache(self) -> bool:
        """One token in, and the cache grew by that one."""
        return self.tokens_fed == 1 and self.cache_before > 0 and self.cache_after == self.cache_before + 1

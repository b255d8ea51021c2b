"""The numbers that a user may ask for: one table for study files and options, so that no plan holds any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WEEK_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, both included unless `above`."""

    least: float
    most: float
    unit: str = ""
    above: bool = False
    """Whether `least` itself is not allowed."""

    def __str__(self) -> str:
        begin = f"more than {self.least:g}, up to" if self.above else f"{_plain(self.least)} to"
        return f"{begin} {_plain(self.most)} {self.unit}".rstrip()

    def check(self) -> Any:
        """What makes a field of a pydantic model take these numbers only, as an annotation of its type."""
        from pydantic import Field

        return Field(gt=self.least, le=self.most) if self.above else Field(ge=self.least, le=self.most)


def _plain(number: float) -> str:
    return f"{number:,}"


SEED = Range(-(2**63), 2**63 - 1)

RANGES: Mapping[tuple[str, str], Range] = {
    ("model", "seed"): SEED,
    ("workload", "limit"): Range(1, 1_000_000, "prompts"),
    ("workload", "new_tokens"): Range(1, 1_000_000, "tokens"),
    ("configurations", "batches"): Range(1, 4096, "prompts"),
    ("configurations", "threads"): Range(1, 4096, "threads"),
    ("procedure", "blocks"): Range(1, 1000),
    ("procedure", "seed"): SEED,
    ("procedure", "settle_s"): Range(0, 3600, "seconds"),
    ("procedure", "idle_s"): Range(0, 3600, "seconds", above=True),
    ("procedure", "window_s"): Range(0, 24 * 3600, "seconds", above=True),
    ("procedure", "warmup_s"): Range(0, 3600, "seconds"),
    ("procedure", "timeout_s"): Range(0, _WEEK_S, "seconds", above=True),
    ("procedure", "foreign_limit"): Range(0, 1, "(a share)", above=True),
    ("procedure", "retries"): Range(0, 20),
    ("procedure", "sample_interval_s"): Range(0.02, 60, "seconds"),
    ("procedure", "slice_s"): Range(0.02, 3600, "seconds"),
    ("race", "budget_s"): Range(1, _WEEK_S, "seconds"),
    ("race", "tie"): Range(0.001, 0.5, "(a share)"),
    ("race", "confidence"): Range(0.5, 0.9999, "(a share)"),
    ("procedure", "cpu_watts"): Range(0, 100_000, "watts"),
}
"""By part and field of a study file."""

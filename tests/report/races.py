"""A race made up by hand: slices whose costs are known, so that what a report says of them is too."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace

from servewatt.experiment.gathering import Found
from servewatt.records import Configuration, Domain, Grade, Precision, Race, Result, Slice
from servewatt.records.slices import with_slices
from tests.stats.builders import PACKAGE, energy, result, run

TORCH = Configuration("torch")
ONNX = Configuration("onnx")
OPENVINO = Configuration("openvino", precision=Precision.INT4)
SLOW = Configuration("torchscript")
COSTS = {OPENVINO: 1.0, ONNX: 1.05, TORCH: 2.0, SLOW: 9.0}
"""Joules of a token; the time of a token is a hundredth of it."""
OUT_AFTER = {SLOW: 1, TORCH: 2}
"""Episodes that a configuration is in, where not in all."""


def race(
    costs: Mapping[Configuration, float] = COSTS,
    episodes: int = 4,
    *,
    noise: float = 0.003,
    grade: Grade = Grade.COUNTER,
    budget_s: float = 240.0,
    seed: int = 0,
) -> Found:
    """Eight rounds an episode; levels scatter by `noise` from process to process, and slices by as much."""
    made, chance = [], random.Random(seed)
    domain = replace(PACKAGE, grade=grade)
    for block in range(episodes):
        for configuration, joules in costs.items():
            if block < OUT_AFTER.get(configuration, episodes):
                level = joules * math.exp(chance.gauss(0, noise))
                slices = [level * math.exp(chance.gauss(0, noise)) for _ in range(8)]
                made.append(_episode(configuration, block, slices, domain))
    raced = run(tuple(costs), blocks=episodes)
    plan = replace(raced.plan, race=Race(budget_s), procedure=replace(raced.plan.procedure, duet=True))
    environment = replace(raced.environment, domains=(domain,))
    return Found(replace(raced, plan=plan, environment=environment), made)


def _episode(configuration: Configuration, block: int, joules: list[float], domain: Domain) -> Result:
    """Slices of 40 tokens, one each second."""
    slices = [
        Slice(
            number,
            0,
            1000.0 * block + number,
            work_s=0.4 * cost,
            tail_s=0.0,
            energy=(energy(domain, 40 * cost),),
            residents=4,
            batches=9,
            tokens_out=40,
        )
        for number, cost in enumerate(joules)
    ]
    made = result(configuration, block, utilisation=())
    return with_slices(made, slices)

"""The frozen records that cross boundaries between the stages of a run.

`plan` is what is asked, `readings` what meters say, `result` what a trial yields, `timing` its times in short, `run` a
plan and where it ran, and `interval` what is told of several observations; all choose their words from `vocabulary`.

Every quantity carries its unit in its name. Times called `*_s` that mark a moment are seconds on the
system-wide monotonic clock (`time.monotonic`), so marks taken by different processes of one machine compare.
"""

from servewatt.records.interval import Interval
from servewatt.records.plan import Configuration, Model, Plan, Procedure, Race, Shape, Trial, Workload
from servewatt.records.readings import Domain, PowerSample, Reading, UtilisationSample
from servewatt.records.result import DomainEnergy, Facts, Generation, Result, Section, Slice
from servewatt.records.run import RECORD_VERSION, Environment, Gpu, Run
from servewatt.records.timing import DecodeWork, Timing
from servewatt.records.vocabulary import (
    Boundary,
    Component,
    Grade,
    ModelSource,
    Precision,
    Provider,
    Status,
    Stop,
    Via,
    Weights,
)

__all__ = [
    "Provider",
    "Precision",
    "Stop",
    "Via",
    "ModelSource",
    "Weights",
    "Component",
    "Grade",
    "Boundary",
    "Status",
    "Configuration",
    "Shape",
    "Model",
    "Workload",
    "Procedure",
    "Plan",
    "Race",
    "Trial",
    "Domain",
    "Reading",
    "PowerSample",
    "UtilisationSample",
    "DomainEnergy",
    "Section",
    "Slice",
    "Generation",
    "Facts",
    "Result",
    "DecodeWork",
    "Timing",
    "RECORD_VERSION",
    "Gpu",
    "Environment",
    "Run",
    "Interval",
]

"""servewatt: serve a code language model for the least energy, and say how sure that is.

    import servewatt

    run = servewatt.measure("bundled", ["torch", "onnx/int4"])
    print(servewatt.recommend(run).sentence)
    servewatt.write_report(run, "report.html")

Everything in `__all__` is imported when it is first used. Errors are `ServewattError`: what is wrong (`message`), and
the next thing to do (`hint`).
"""

from __future__ import annotations

from servewatt.version import __version__ as __version__

# Nothing of the standard library is imported here: `python -m servewatt` has yet to leave the current folder out of its
# import path, and a typing.py may lie there.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from servewatt.api.analysis import Plot as Plot
    from servewatt.api.analysis import RunAnalysis as RunAnalysis
    from servewatt.api.analysis import analyse as analyse
    from servewatt.api.analysis import recommend as recommend
    from servewatt.api.asking import ModelChoice as ModelChoice
    from servewatt.api.asking import Work as Work
    from servewatt.api.energy_meter import EnergyMeter as EnergyMeter
    from servewatt.api.runs import Measurement as Measurement
    from servewatt.api.runs import assess_quality as assess_quality
    from servewatt.api.runs import load as load
    from servewatt.api.runs import measure as measure
    from servewatt.api.window_energy import WindowEnergy as WindowEnergy
    from servewatt.api.writing import write_report as write_report
    from servewatt.errors import ServewattError as ServewattError
    from servewatt.experiment.assessing import Questions as Questions
    from servewatt.experiment.events import Observer as Observer
    from servewatt.quality import Quality as Quality
    from servewatt.recommendation.quality import QualityLimits as QualityLimits
    from servewatt.recommendation.records import Constraints as Constraints
    from servewatt.recommendation.records import Recommendation as Recommendation
    from servewatt.records import Boundary as Boundary
    from servewatt.records import Configuration as Configuration
    from servewatt.records import Precision as Precision
    from servewatt.records import Procedure as Procedure
    from servewatt.records import Provider as Provider
    from servewatt.records import Stop as Stop
    from servewatt.records import Via as Via
    from servewatt.records import Weights as Weights

_PLACES = {
    "EnergyMeter": "api.energy_meter",
    "WindowEnergy": "api.window_energy",
    "measure": "api.runs",
    "load": "api.runs",
    "assess_quality": "api.runs",
    "Measurement": "api.runs",
    "analyse": "api.analysis",
    "recommend": "api.analysis",
    "RunAnalysis": "api.analysis",
    "Plot": "api.analysis",
    "write_report": "api.writing",
    "ModelChoice": "api.asking",
    "Work": "api.asking",
    "Questions": "experiment.assessing",
    "Observer": "experiment.events",
    "Constraints": "recommendation.records",
    "Recommendation": "recommendation.records",
    "QualityLimits": "recommendation.quality",
    "Quality": "quality",
    "Configuration": "records",
    "Procedure": "records",
    "Boundary": "records",
    "Precision": "records",
    "Provider": "records",
    "Stop": "records",
    "Via": "records",
    "Weights": "records",
    "ServewattError": "errors",
}
"""Name -> the module below `servewatt` that it is imported from when it is first used."""

__all__ = [
    "EnergyMeter",
    "WindowEnergy",
    "measure",
    "load",
    "assess_quality",
    "Measurement",
    "analyse",
    "recommend",
    "RunAnalysis",
    "Plot",
    "write_report",
    "ModelChoice",
    "Work",
    "Questions",
    "Observer",
    "Constraints",
    "Recommendation",
    "QualityLimits",
    "Quality",
    "Configuration",
    "Procedure",
    "Boundary",
    "Precision",
    "Provider",
    "Stop",
    "Via",
    "Weights",
    "ServewattError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'servewatt' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"servewatt.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""`servewatt compare`: two runs beside each other, or two builds measured in one race."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from servewatt.cli.options import boundary_option, json_option, procedure_options, store_option, subject_options

if TYPE_CHECKING:
    from servewatt.recommendation.gate import Verdict

Command = TypeVar("Command", bound=Callable[..., Any])

EXAMPLES = """\b
Examples:
  servewatt compare 20260314-1022 latest
  servewatt compare energy-baseline.json latest --metric time
  servewatt compare before.json.gz after.json.gz --tolerance 1%
  servewatt compare --base git+file://$PWD@main --head . --engine torch,onnx
  servewatt compare --base onnxruntime==1.23.0 --engine onnx --budget 10min
"""

OWN = {"base_run", "head_run", "tolerance", "confidence", "metric", "across_machines", "boundary", "store", "as_json"}
"""Parameters that concern runs; all others need --base."""
_REPLACED = {"race__tie", "race__confidence", "race__twin", "procedure__blocks", "procedure__boundary"}
"""Options of `servewatt run` that have another name or no meaning here."""


def measuring_options(command: Command) -> Command:
    """Those of `servewatt run` that a race of two builds has too."""
    before = list(getattr(command, "__click_params__", []))
    command = procedure_options(command)
    added: list[click.Parameter] = [p for p in command.__click_params__ if p not in before]  # type: ignore[attr-defined]
    command.__click_params__ = before + [p for p in added if p.name not in _REPLACED]  # type: ignore[attr-defined]
    return command


@click.command("compare", epilog=EXAMPLES)
@click.argument("base_run", metavar="[A]", required=False)
@click.argument("head_run", metavar="[B]", required=False)
@click.option("--base", metavar="SPEC", help="Measure what `pip install SPEC` installs, instead of runs.")
@click.option("--head", metavar="SPEC", help="Measure this beside it.  [default: what is installed here]")
@click.option("--tolerance", metavar="SHARE", default="3%", show_default=True, help="Changes below this are a tie.")
@click.option("--confidence", metavar="SHARE", default="95%", show_default=True, help="How sure each verdict must be.")
@click.option(
    "--metric", type=click.Choice(["energy", "time"]), default="energy", show_default=True, help="Of a token."
)
@click.option("--across-machines", is_flag=True, help="Compare although the machines differ.")
@subject_options
@measuring_options
@click.option("--fresh", is_flag=True, help="Start a new race even if the same one can be continued.")
@boundary_option
@store_option
@json_option
@click.pass_context
def command(
    context: click.Context, /, base_run: str | None, head_run: str | None, as_json: bool, **options: Any
) -> int:
    """Compare run B with run A: ids, beginnings of ids, `latest`, exported files, or baseline files.

    With --base two builds are measured in one race on this machine instead. SPEC is what `pip install` takes: a source
    tree, git+file://PATH@BRANCH, or a library at a version. What it does not install is as it is here.

    For each configuration of both: the ratio of energy (or time), B over A or head over base, with its interval, and
    whether it is better, worse, equal within the tolerance, or undecided. Exit codes are those of `servewatt gate`.
    """
    from servewatt.cli.gate import code_of
    from servewatt.cli.quantities import parse_share
    from servewatt.errors import InputError
    from servewatt.recommendation.gate import check_shares
    from servewatt.report.verdict import to_json, to_text

    tolerance = parse_share(options["tolerance"], "--tolerance")
    confidence = parse_share(options["confidence"], "--confidence")
    check_shares(tolerance, confidence)
    options |= {"tolerance": tolerance, "confidence": confidence}
    if options["base"] is None:
        given = [p for p in context.command.params if _is_given(context, p) and p.name not in OWN]
        if given:
            raise InputError(f"{max(given[0].opts, key=len)} needs --base: two runs are measured already", "add --base")
        if base_run is None or head_run is None:
            raise InputError("there is nothing to compare", "give two runs, or --base SPEC")
        verdict = _of_runs(base_run, head_run, options)
    else:
        if base_run is not None or options["across_machines"]:
            raise InputError("--base measures anew, on this machine alone", "leave out runs and --across-machines")
        verdict = _of_builds(options)
    click.echo(to_json(verdict) if as_json else to_text(verdict), nl=not as_json)
    return code_of(verdict.outcome)


def _is_given(context: click.Context, parameter: click.Parameter) -> bool:
    source = context.get_parameter_source(parameter.name or "")
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def _of_runs(base: str, head: str, options: dict[str, Any]) -> Verdict:
    from servewatt.experiment.comparing import any_side
    from servewatt.recommendation.gate import Metric, compare_sides
    from servewatt.records import Boundary

    boundary = Boundary(options["boundary"]) if options["boundary"] else None
    return compare_sides(
        any_side(base, options["store"], boundary),
        any_side(head, options["store"], boundary),
        metric=Metric(options["metric"]),
        tolerance=options["tolerance"],
        confidence=options["confidence"],
        across_machines=options["across_machines"],
    )


def _of_builds(options: dict[str, Any]) -> Verdict:
    from rich.console import Console

    from servewatt.cli.progress import ConsoleObserver
    from servewatt.cli.request import read_request
    from servewatt.cli.signals import terminated_as_interrupt
    from servewatt.experiment.comparing import build_sides, compare_builds, with_builds
    from servewatt.experiment.measuring import design, measure
    from servewatt.models.cache import ArtefactCache
    from servewatt.recommendation.gate import Metric
    from servewatt.store import Store

    observer = ConsoleObserver(Console(stderr=True))
    race = {"race__tie": options["tolerance"], "race__confidence": options["confidence"]}
    asked = read_request(None, options | race | {"procedure__boundary": options["boundary"]})
    with ArtefactCache() as cache:
        experiment = design(asked, cache, observer)
        base, head = build_sides(options["base"], options["head"], observer)
        experiment = with_builds(experiment, base, head)
        store: str | Path | None = options["store"]
        with Store.open(store) as opened, terminated_as_interrupt():
            found = measure(experiment, opened, observer, fresh=options["fresh"]).found(opened)
    return compare_builds(
        found,
        base,
        head,
        metric=Metric(options["metric"]),
        tolerance=options["tolerance"],
        confidence=options["confidence"],
    )

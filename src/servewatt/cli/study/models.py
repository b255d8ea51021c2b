"""`servewatt study models`: the study's twelve, and the funnel that selects models from the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from servewatt.cli.options import FILE, json_option
from servewatt.errors import InputError
from servewatt.input_files import is_there

if TYPE_CHECKING:
    from servewatt.models.hub_search import HubModel
    from servewatt.study.protocol.selection import Candidate, Fate, Filter, Selection, StudyModel

EXAMPLES = """\b
Examples:
  servewatt study models
  servewatt study models --json
  servewatt study models --select --out selection.json
  servewatt study models --select --limit 0 --max-parameters 3e9
"""

DEFAULT_LIMIT = 5000
_PROGRESS_EVERY = 1000


@click.command("models", epilog=EXAMPLES)
@click.option("--select", is_flag=True, help="Query the hub, and select as the study did.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Most downloaded N; 0 for all.  [default: {DEFAULT_LIMIT}]",
)
@click.option(
    "--max-parameters",
    type=float,
    metavar="N",
    help="Size limit, such as 3e9.  [default: 5e9]",
)
@click.option("--out", type=FILE, help="Write the selection to this JSON file.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@json_option
def command(
    select: bool, limit: int | None, max_parameters: float | None, out: Path | None, force: bool, as_json: bool
) -> None:
    """List the study's twelve models, exact in shape; or select models from the hub by the study's funnel.

    The funnel: models of the hub under text-generation, with safetensors, at most 5 billion parameters, a HumanEval
    result on their page (or gated, to be checked by hand), and for code. It tells how many remain after each, and
    where each of the twelve would be left out today.
    """
    from rich.console import Console

    from servewatt import wire
    from servewatt.cli.study.outputs import REPLACE_HINT, pretty, write_text
    from servewatt.study.tables.models import render_models, render_selection

    if not select:
        if limit is not None or max_parameters is not None or out is not None:
            raise InputError("--limit, --max-parameters and --out are for a selection", "add --select")
        models = list_twelve()
        click.echo(wire.document(models)) if as_json else render_models(Console(), models)
        return
    if out is not None and is_there(out) and not force:
        raise InputError(f"{out} is there", REPLACE_HINT)
    selection = select_models(DEFAULT_LIMIT if limit is None else limit or None, max_parameters)
    if out is not None:
        write_text(out, pretty(selection))
        click.echo(f"wrote {out}", err=True)
    click.echo(wire.document(selection)) if as_json else render_selection(Console(), selection)


def list_twelve() -> tuple[StudyModel, ...]:
    """The catalogue, with what of it is on this machine. No network."""
    from servewatt.models import hub
    from servewatt.models.catalogue import CATALOGUE
    from servewatt.study.data.names import size_group
    from servewatt.study.protocol.selection import StudyModel

    here = {entry.name: hub.cached(entry.hub_id, entry.revision) for entry in CATALOGUE.values()}
    return tuple(
        StudyModel(
            name=entry.name,
            hub_id=entry.hub_id,
            architecture=entry.architecture,
            parameters=entry.parameters,
            published_parameters=entry.published_parameters,
            size_group=size_group(entry.parameters),
            licence=entry.licence,
            gated=entry.gated,
            revision=entry.revision,
            downloaded=snapshot.commit if (snapshot := here[entry.name]) else None,
            causal_mask_elements=entry.causal_mask_elements,
        )
        for entry in CATALOGUE.values()
    )


def select_models(limit: int | None, max_parameters: float | None) -> Selection:
    """Query the hub and run the funnel. Nothing of the hub is kept but the counts and the survivors."""
    from datetime import UTC, datetime

    from servewatt import __version__
    from servewatt.models import hub_search
    from servewatt.models.hub_access import endpoint
    from servewatt.study.protocol import selection as funnel

    if max_parameters is not None and not 1 <= max_parameters < float("inf"):
        raise InputError(f"--max-parameters {max_parameters:g} leaves no model", "write it like 3e9")
    largest = int(max_parameters or funnel.MAX_PARAMETERS)
    steps = funnel.filters(largest)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    twelve = find_fates(steps)
    stages, survivors = funnel.run(candidates(hub_search.search(funnel.TASK, limit)), steps)
    return funnel.Selection(
        date=date,
        endpoint=endpoint(),
        task=funnel.TASK,
        sort=hub_search.SORT,
        limit=limit,
        max_parameters=largest,
        stages=stages,
        survivors=survivors,
        by_hand=sum(candidate.by_hand for candidate in survivors),
        twelve=twelve,
        servewatt_version=__version__,
    )


def find_fates(steps: tuple[Filter, ...]) -> tuple[Fate, ...]:
    """Where the study's twelve would be left out by what the hub says of them now."""
    from servewatt.models.catalogue import CATALOGUE
    from servewatt.models.hub_search import look_up
    from servewatt.study.protocol.selection import Fate, left_at

    found = look_up(entry.hub_id for entry in CATALOGUE.values())
    return tuple(
        Fate(entry.name, entry.hub_id, left_at(reduce(model), steps) if (model := found[entry.hub_id]) else "hub")
        for entry in CATALOGUE.values()
    )


def candidates(models: Iterable[HubModel]) -> Iterator[Candidate]:
    """The models as they arrive, reduced; says on standard error how far it is."""
    for number, model in enumerate(models, 1):
        if number % _PROGRESS_EVERY == 0:
            click.echo(f"{number:,} models ...", err=True)
        yield reduce(model)


def reduce(model: HubModel) -> Candidate:
    """What the funnel asks of a model."""
    from servewatt.study.protocol.selection import Candidate, code_signs, humaneval_evidence

    return Candidate(
        hub_id=model.hub_id,
        task=model.task,
        architecture=model.architecture,
        parameters=model.parameters,
        gated=model.gated,
        humaneval=humaneval_evidence(model.evaluated_on, model.card, model.tags),
        code=code_signs(model.hub_id, model.tags, model.languages, model.datasets),
        derived=bool(model.base_models),
        downloads=model.downloads,
        likes=model.likes,
        created_at=model.created_at,
    )

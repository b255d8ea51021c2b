"""`servewatt study analyse`: the study's battery of tests, with effect sizes, and servewatt's own decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import FILE, json_option
from servewatt.cli.ranges import Finite

EXAMPLES = """\b
Examples:
  servewatt study analyse h200.parquet
  servewatt study analyse h200.parquet --variable energy_j_per_token --model pythia-410m --without-jit
  servewatt study analyse --csv runs.csv --value energy --group configuration --subject model
"""


@click.command("analyse", epilog=EXAMPLES)
@click.argument("results", nargs=-1, type=FILE)
@click.option("--csv", "csv_file", type=FILE, help="Analyse this CSV file of observations, one on each line.")
@click.option("--value", metavar="COLUMN", help="Column of the CSV file that holds the observed values.")
@click.option("--group", metavar="COLUMN", help="Column of the CSV file that holds the groups to compare.")
@click.option("--subject", metavar="COLUMN", help="Column of the CSV file that holds the subjects, such as models.")
@click.option("--variable", "variables", multiple=True, metavar="NAME", help="Only this variable; may be repeated.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model or subject; may be repeated.")
@click.option("--without-jit", is_flag=True, help="Leave JIT out, as the published study did.")
@click.option(
    "--alpha",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Level of significance.",
)
@json_option
def command(results: tuple[Path, ...], csv_file: Path | None, as_json: bool, **options: Any) -> None:
    """Test whether configurations differ: RESULTS are files that `servewatt study collect` writes, or take --csv.

    Shapiro-Wilk, Levene, Welch ANOVA, Kruskal-Wallis, Dunn-Holm and Games-Howell, each where it can be computed, with
    effect sizes and Holm's correction over everything analysed; then servewatt's own decision, which pairs blocks.
    """
    from servewatt import wire
    from servewatt.cli.study import analysing
    from servewatt.study.tests.analyses import analyse_observations, analyse_table

    notes: tuple[str, ...] = ()
    alpha, models = options["alpha"], options["models"]
    if csv_file is not None:
        table = analysing.read_table(csv_file, results, options)
        notes = table.notes
        with analysing.busy():
            analyses = analyse_table(table, options["value"], models, alpha)
    else:
        found = analysing.read_observations(results, options)
        variables, without_jit = options["variables"], options["without_jit"]
        with analysing.busy():
            analyses = analyse_observations(found, variables, models, without_jit=without_jit, alpha=alpha)
    if as_json:
        click.echo(wire.document(analysing.Document(notes, analyses)))
    else:
        analysing.show(analyses, notes)

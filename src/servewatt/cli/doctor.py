"""`servewatt doctor`: what this machine is, what it can measure, and whether now is a good time."""

from __future__ import annotations

import click

from servewatt.cli.options import json_option

EXAMPLES = """\b
Examples:
  servewatt doctor
  servewatt doctor --json
"""


@click.command("doctor", epilog=EXAMPLES)
@json_option
def command(as_json: bool) -> int:
    """Tell whether this machine can measure, and what would mend it. Takes about three seconds.

    Exits with 1 if it is unfit for measuring now.
    """
    from servewatt import wire
    from servewatt.cli import diagnosis

    found = diagnosis.diagnose()
    if as_json:
        click.echo(wire.document(found))
    else:
        diagnosis.show(found)
    return 0 if found.fit else 1

"""The entry point: runs the command line, and turns whatever goes wrong into a line or two and an exit code."""

from __future__ import annotations

import gc
import signal
import sys
from typing import Any, NoReturn

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a finding, 2 an error the user can mend, 130 interrupted."""
    try:
        from servewatt.cli import streams

        streams.guard()
        code = streams.finish(run(arguments))
    except KeyboardInterrupt:  # while it was imported, or while it ended
        code = INTERRUPTED
        print("interrupted", file=sys.stderr)  # noqa: T201  (what prints otherwise may not be there yet)
    # What is left to do is Python's own, which would answer an interrupt with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    # Imports allocate so much that collecting garbage meanwhile takes a fifth of the time to answer.
    gc.set_threshold(100_000)
    try:
        from servewatt.cli.root import command

        code: Any = command.main(arguments, prog_name="servewatt", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except BaseException as error:  # noqa: BLE001  (whatever it is, the user reads what to do, not a traceback)
        from servewatt.cli.ending import exit_code

        return exit_code(error)


if __name__ == "__main__":
    main()

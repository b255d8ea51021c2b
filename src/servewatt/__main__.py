"""`python -m servewatt`: the command line, as the script `servewatt` starts it."""

import sys

from servewatt.processes.import_path import leave_out_current_folder

if __name__ == "__main__":
    if not sys.flags.safe_path:  # else Python has put the current folder first
        leave_out_current_folder()
    from servewatt.cli.main import main

    main()

"""The command line: one file a command, and all the wiring between the stages."""

import os

from servewatt.processes.import_path import has_empty_entry, leave_out_current_folder

# Before anything else is imported: a random.py in the folder where the user works is none of our modules.
if has_empty_entry(os.environ.get("PYTHONPATH", "")):
    leave_out_current_folder()

"""Child processes: how they are started, watched over, and ended with all that they started."""

"""The tables of a run: each module returns tables, which the forms show."""

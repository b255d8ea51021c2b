"""The command line: one file a command, and all the wiring between the stages."""

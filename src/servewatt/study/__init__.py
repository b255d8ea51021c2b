"""The published study as a run of servewatt: its presets, its statistics, and its figures beside ours."""

"""Engine fake: no model at all, to try servewatt out and to test what surrounds an engine."""

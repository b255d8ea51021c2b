"""servewatt: serve a code language model for the least energy, and say how sure that is."""

from servewatt.version import __version__ as __version__

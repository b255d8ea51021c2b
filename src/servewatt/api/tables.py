"""Tables for pandas."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from servewatt.errors import UnavailableError

if TYPE_CHECKING:
    import pandas


def dataframe(csv: str) -> pandas.DataFrame:
    """The CSV as a data frame. Raises UnavailableError where pandas is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise UnavailableError("pandas is not installed", "pip install 'servewatt[study]'") from error
    return pandas.read_csv(io.StringIO(csv))

"""The library, which tells its maker nothing."""

from __future__ import annotations

import os
from typing import Any

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Without it the library starts threads that report to its maker while we measure."""


def quiet_library() -> Any:
    """The module, its telemetry off."""
    os.environ[NO_TELEMETRY] = "1"
    import onnxruntime_genai

    onnxruntime_genai.disable_telemetry_events()
    return onnxruntime_genai

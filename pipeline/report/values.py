"""Values as the page's JSON holds them: few digits, null for what is not finite, arrays as base64."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

DIGITS = 4


def plain(value: Any) -> Any:
    """The value in types of JSON: floats of 4 significant digits, None for NaN, NA and infinity; arrays as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | str | int) or value is None:
        return value
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return _short(value)
    raise TypeError(f"{type(value).__name__} has no place in the page's data")


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return 0.0 if short == 0 else short  # -0.0 is a character more, and reads oddly


def packed(values: np.ndarray) -> str:
    """Base64 of the array's bytes, in C order."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()

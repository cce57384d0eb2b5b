"""Numbers as the page holds them: no more digits than can be seen, nothing that is not JSON, arrays as base64."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

DIGITS = 4


def plain(value: Any) -> Any:
    """The value as JSON knows it: floats of 4 significant digits, None for NaN, NA and infinity; arrays as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        return [plain(one) for one in value.tolist()]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
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
    """base64 of the array's bytes, in C order."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def data_uri(picture: bytes, kind: str) -> str:
    """kind: jpeg or webp."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"

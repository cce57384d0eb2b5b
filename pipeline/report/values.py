"""Values as the page's JSON holds them: few digits, null for what is not finite, arrays as base64; and how many fit."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Pace:
    """How much of a clip is shown."""

    rate: float  # samples a second
    seconds: float  # from the clip's start


def pace(durations: Sequence[float], samples: int, most: float, least: float) -> Pace:
    """The fastest and longest pace at which all clips together have so many samples. Below `least`, clips are cut.

    Args:
        durations: seconds of each clip.
        most, least: samples a second.
    """
    total = sum(duration + 1 / most for duration in durations)
    rate = min(most, samples / total) if total else most
    if rate >= least:
        return Pace(rate, max(durations, default=0.0) + 1.0)
    return Pace(least, samples / least / len(durations))

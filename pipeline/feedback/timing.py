"""Findings on the beat: stretches in which the whole dancer is behind the music, or ahead of it, as top clips are not.

Lags are those of pipeline.music.synchrony, against the top clips'. Nothing is said where a clip has no
music, where the dancer follows no beat, or where a lag could as well be that of good clips, or half a beat.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.music.synchrony import Synchrony

MIN_OFF_S = 0.07  # viewers accept sound 0.045 s early to 0.125 s late (ITU-R BT.1359)
MIN_REFERENCES = 3  # top clips with a lag that is known
_SURE = 2.5  # standard deviations that the lag of some window of a finding lies beyond the limit
_USUAL_SHARE, _WIDER = 0.75, 1.5  # limit: so many times what this share of the top clips' windows stay within
_CORE_S = 1.0  # the middle of a window, which is what a finding is said to last
_HALF_BEAT = 0.42  # of the period: a lag this near to half a beat is late as well as early, unless other clips tell


@dataclass(frozen=True)
class BeatFinding:
    """A stretch of time in which the dancer is off the beat."""

    start_s: float
    end_s: float
    lag_s: float  # against the top clips' median; above 0 behind the beat
    lag_error_s: float  # standard deviation
    limit_s: float  # that the top clips stay within

    @property
    def kind(self) -> str:
        return "behind_beat" if self.lag_s > 0 else "ahead_of_beat"

    @property
    def strength(self) -> float:
        """1: at the limit."""
        return abs(self.lag_s) / self.limit_s

    @property
    def sentence(self) -> str:
        """As in: 0.12 s behind the beat from 3.2 to 6.4 s."""
        where = "behind" if self.lag_s > 0 else "ahead of"
        return f"{abs(self.lag_s):.2f} s {where} the beat from {self.start_s:.1f} to {self.end_s:.1f} s"

    @property
    def meaning(self) -> str:
        return f"the top clips keep within {self.limit_s:.2f} s of one moment of the beat"


def find_off_beat(clip: Synchrony | None, references: Sequence[Synchrony | None]) -> list[BeatFinding]:
    """Stretches off the beat, in order of time.

    Args:
        clip: related to its challenge (pipeline.music.references.relate); None: without music, or nobody is seen.
        references: of top clips, the same.
    """
    theirs = [one for one in references if one is not None and np.isfinite(one.clip_lag_s)]
    if clip is None or len(theirs) < MIN_REFERENCES:
        return []
    usual = np.concatenate([one.lag_s for one in theirs]).astype(float)
    usual = usual[np.isfinite(usual)]
    if not len(usual):
        return []
    middle = float(np.median(usual))
    away = np.abs(usual - middle)
    limit = max(MIN_OFF_S, _WIDER * float(np.quantile(away, _USUAL_SHARE)))
    middle_error = float(np.median(away)) / np.sqrt(len(theirs))
    lag = clip.lag_s - middle
    error = np.hypot(clip.lag_error_s, middle_error)
    off = np.abs(np.nan_to_num(lag)) > limit
    if not clip.beat_certain:
        off &= np.abs(np.nan_to_num(lag)) <= _HALF_BEAT * clip.period_s
    sure = off & (np.abs(lag) - _SURE * error > limit)
    return [
        BeatFinding(*_bounds(clip, first, last), *_mean(lag[first : last + 1], error[first : last + 1]), limit)
        for first, last in _runs(np.where(off, np.sign(lag), 0.0))
        if sure[first : last + 1].any()
    ]


def _runs(signs: np.ndarray) -> list[tuple[int, int]]:
    """First and last of windows in a row with the same sign, not 0."""
    edges = np.flatnonzero(np.diff(signs, prepend=0, append=0))
    return [(int(a), int(b) - 1) for a, b in itertools.pairwise(edges) if signs[a]]


def _mean(lag: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Mean weighted by precision. Windows overlap: its error is that of a single one of them."""
    weight = 1 / error**2
    return float((weight * lag).sum() / weight.sum()), float(error.min())


def _bounds(clip: Synchrony, first: int, last: int) -> tuple[float, float]:
    """From where to where a run of windows tells of: the middles of its first and last; at the clip's ends, all."""
    inner = (clip.end_s[0] - clip.start_s[0] - _CORE_S) / 2
    start = 0.0 if first == 0 else clip.start_s[first] + inner
    end = clip.end_s[last] if last == len(clip.end_s) - 1 else clip.end_s[last] - inner
    return float(start), float(end)

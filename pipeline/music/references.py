"""A clip against others danced to the same music: the usual lag of its challenge, and lags of whole beats.

A periodic measure does not tell a dancer who is late by a whole beat from one on it. Other clips do: count for count,
the same poses come with the same music. Where a clip's poses fit a reference's at one offset and its sound at another,
the difference is a lag of whole beats. A challenge whose clips have different music tells nothing, and nothing is
changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.virality.skeleton import COCO17
from pipeline.music.kinematics import RATE_HZ
from pipeline.music.synchrony import Pulse, Synchrony, closeness, wrapped

REFERENCES = 8  # of a challenge
POSE_WIDTH, SOUND_WIDTH = 24, 64  # of a beat: 12 joints' x and y; 4 parts of it by 16 bands
_BODY = tuple(range(5, 17))  # without the face, which turns to the camera in any dance
_BEAT_PARTS = 4
_MIN_BEATS = 4  # that two clips share at an offset
_MANY_BEATS = 16  # above, more of them make no fit more certain: the dance comes again
_SHARPNESS = 3.0  # of the probability of an offset by the correlation there, times the root of the beats
_DOUBT = 0.02  # probability that a reference misleads, however well it fits
# Correlation times the root of the beats at which two clips as likely as not have the same sound, and the same dance;
# of clips of a challenge it is 2.4 and 2.3, of others 0.8 and 1.0 (medians; seed 500 of the demo world).
_FIT, _FIT_SCALE = 1.6, 0.1
MAX_BEATS = 2  # of lag, each way
_MIN_ODDS = 3.0  # log, by which another number of beats must beat the least lag
# Where poses are reached in a beat: a challenge's own habit, as far as is known before any clip of it is seen.
_HABIT_S = 0.05
_IN_TIME_S, _OUT_OF_TIME = 0.05, 0.3  # deviation of clips' lags from the usual one; share of clips of any lag
_GRID_S = 0.002
_SAME = 1e-3  # trunk lengths, decibels: above the rounding of another processor, far below what two clips differ by


@dataclass(frozen=True)
class CountedClip:
    """A clip beat by beat, as it is held against others."""

    pose: np.ndarray  # float32 [B, POSE_WIDTH] trunk lengths from the hips, less the clip's mean; NaN: not seen
    sound: np.ndarray  # float32 [B, SOUND_WIDTH] log-mel, less the clip's mean; NaN: not heard


@dataclass(frozen=True)
class Usual:
    """What is usual in a challenge."""

    lag_s: float = 0.0
    lag_error_s: float = _HABIT_S
    references: tuple[CountedClip, ...] = ()


@dataclass(frozen=True)
class Member:
    """A clip that tells what is usual."""

    lag_s: float  # NaN: not known
    period_s: float
    strength: float
    counted: CountedClip


def count_clip(
    seconds: np.ndarray,
    position: np.ndarray,
    seen: np.ndarray,
    log_mel: np.ndarray,
    heard: tuple[float, float],
    pulse: Pulse,
    lag_s: float,
) -> CountedClip:
    """The clip beat by beat, its poses `lag_s` behind the music.

    Args:
        seconds: [T]; position: [T, 17, 2] trunk lengths; seen: bool [T, 17].
        log_mel: [S, bands] at RATE_HZ from 0 s.
        heard: from where to where there is sound, s.
    """
    number = np.arange(np.ceil(pulse.number[0]), np.floor(pulse.number[-1]) + 1)
    beats = np.interp(number, pulse.number, pulse.beats)
    at = beats + lag_s
    body = position[:, list(_BODY)].astype(np.float64) - position[:, list(COCO17.hips)].mean(1, keepdims=True)
    shown = seen[:, list(_BODY)].all(1)
    flat = body.reshape(len(body), -1)
    pose = np.stack([np.interp(at, seconds, column) for column in flat.T], 1)
    share = np.interp(at, seconds, shown.astype(float))
    pose[(share < 1) | (at < seconds[0]) | (at > seconds[-1])] = np.nan
    edges = np.add.outer(beats, np.arange(_BEAT_PARTS + 1) * pulse.period_s / _BEAT_PARTS)
    sound = _mean_between(log_mel, edges * RATE_HZ).reshape(len(beats), -1)
    sound[(edges[:, 0] < heard[0]) | (edges[:, -1] > min(heard[1], len(log_mel) / RATE_HZ))] = np.nan
    return CountedClip(_centred(pose), _centred(sound))


def _centred(values: np.ndarray) -> np.ndarray:
    """Rows less the mean of those that are known, float32."""
    known = np.isfinite(values).all(1)
    return (values - (values[known].mean(0) if known.any() else 0.0)).astype(np.float32)


def _mean_between(log_mel: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Means of SOUND_WIDTH / _BEAT_PARTS bands between neighbouring edges [B, P + 1] in frames, [B, P, bands]."""
    bands = SOUND_WIDTH // _BEAT_PARTS
    usable = log_mel.shape[1] // bands * bands
    values = log_mel[:, :usable].astype(np.float64).reshape(len(log_mel), bands, -1).mean(2)
    total = np.concatenate([np.zeros((1, bands)), np.cumsum(values, 0)])
    inside = np.clip(edges, 0, len(values))
    low = np.minimum(inside.astype(int), len(values) - 1)
    until = total[low] + (inside - low)[..., None] * values[low]
    return np.diff(until, axis=1) / np.maximum(np.diff(inside, axis=1), 1e-6)[..., None]


def find_usual(members: Sequence[Member]) -> Usual:
    """What is usual among the training clips of a challenge.

    The usual lag's posterior mean on a grid: most clips are about it, some are out of time and may have any lag, and
    before any clip is seen it is 0 within _HABIT_S. So it is drawn to 0 where there are few clips, and holds where a
    third of them are out of time.
    """
    known = [member for member in members if np.isfinite(member.lag_s)]
    if not known:
        return Usual()
    lags, period = np.array([member.lag_s for member in known]), float(np.median([m.period_s for m in known]))
    grid = np.arange(-period / 2, period / 2, _GRID_S)
    about = (
        np.exp(-(wrapped(lags - grid[:, None], period) ** 2) / (2 * _IN_TIME_S**2)) / _IN_TIME_S / np.sqrt(2 * np.pi)
    )
    likelihood = np.log((1 - _OUT_OF_TIME) * about + _OUT_OF_TIME / period).sum(1) - grid**2 / (2 * _HABIT_S**2)
    posterior = np.exp(likelihood - likelihood.max())
    posterior /= posterior.sum()
    lag = float(posterior @ grid)
    away = wrapped(lags - lag, period)
    in_time = [m.strength * float(closeness(far)) for m, far in zip(known, away, strict=True)]
    best = sorted(range(len(known)), key=lambda place: (-in_time[place], place))[:REFERENCES]
    error = float(np.sqrt(posterior @ (grid - lag) ** 2))
    return Usual(lag, error, tuple(known[place].counted for place in best))


def relate(synchrony: Synchrony, counted: CountedClip, usual: Usual) -> Synchrony:
    """The clip's synchrony with lags nearest to the usual one, or whole beats away where the references say so."""
    if not np.isfinite(synchrony.clip_lag_s):
        return replace(synchrony, usual_lag_s=usual.lag_s)
    period = synchrony.period_s
    nearest = usual.lag_s + wrapped(synchrony.clip_lag_s - usual.lag_s, period)
    before = round((nearest - synchrony.clip_lag_s) / period)
    odds = beat_odds(counted, usual.references)
    beats = int(odds.argmax()) - MAX_BEATS
    certain = odds[beats + MAX_BEATS] - np.delete(odds, beats + MAX_BEATS).max() >= _MIN_ODDS
    shift = np.float32((beats if certain else before) * period)
    return replace(
        synchrony,
        lag_s=synchrony.lag_s + shift,
        limb_lag_s=synchrony.limb_lag_s + shift,
        clip_lag_s=synchrony.clip_lag_s + float(shift),
        clip_limb_lag_s=synchrony.clip_limb_lag_s + shift,
        usual_lag_s=usual.lag_s,
        beat_certain=bool(certain),
    )


def beat_odds(clip: CountedClip, references: Sequence[CountedClip]) -> np.ndarray:
    """Log probabilities, up to a constant, that the clip lags by -MAX_BEATS..MAX_BEATS beats more than it seems.

    A clip that is among the references, or a copy of it, tells nothing.
    """
    odds = np.zeros(2 * MAX_BEATS + 1)
    for reference in references:
        if _is_same(clip, reference):
            continue
        (pose, same_dance), (sound, same_sound) = (
            _offsets(mine, other) for mine, other in ((clip.pose, reference.pose), (clip.sound, reference.sound))
        )
        # A pose that comes k beats later than its music is at an offset that is greater by k.
        together = np.correlate(pose, sound, "full")[len(sound) - 1 - MAX_BEATS : len(sound) + MAX_BEATS]
        if together.sum() > 0:
            trust = (1 - _DOUBT) * same_dance * same_sound
            odds += np.log(trust * together / together.sum() + (1 - trust) / len(odds))
    return odds


def _is_same(clip: CountedClip, other: CountedClip) -> bool:
    pairs = ((clip.pose, other.pose), (clip.sound, other.sound))
    return all(len(a) == len(b) and np.allclose(a, b, rtol=0, atol=_SAME, equal_nan=True) for a, b in pairs)


def _offsets(clip: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, float]:
    """Where the reference [R, D] lies on the clip [B, D], if it is of the same, and the probability that it is.

    Probabilities [R + B - 1] of the offsets -(R - 1)..B - 1 beats; zeros where the two share too few.
    """
    from scipy.special import expit  # here, for all commands import this module and few need it

    known_clip, known = np.isfinite(clip).all(1), np.isfinite(reference).all(1)
    x, y = np.where(known_clip[:, None], clip, 0.0), np.where(known[:, None], reference, 0.0)
    offset = np.subtract.outer(np.arange(len(x)), np.arange(len(y))).ravel() + len(y) - 1
    size = len(x) + len(y) - 1

    def along(values: np.ndarray) -> np.ndarray:
        return np.bincount(offset, values.ravel().astype(np.float64), size)

    shared = along(np.outer(known_clip, known))
    power = along(np.outer((x**2).sum(1), known)) * along(np.outer(known_clip, (y**2).sum(1)))
    correlation = along(x @ y.T) / np.sqrt(np.maximum(power, 1e-12))
    fit = np.where(shared >= _MIN_BEATS, correlation * np.sqrt(np.minimum(shared, _MANY_BEATS)), -np.inf)
    best = float(fit.max())
    if not np.isfinite(best):
        return np.zeros(size), 0.0
    odds = np.exp(_SHARPNESS * (fit - best))
    return odds / odds.sum(), float(expit((best - _FIT) / _FIT_SCALE))

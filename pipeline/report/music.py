"""Music of the clips, small enough for the page: loudness, onsets, beats, the dancer's speeds, and the lag over time.

There is no sound in it, and none can be made of it: of 64 bands one number is left, a few times a second.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.errors import SOUND_CODES
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.rows import RowReader, read_usual
from pipeline.modalities.audio import SPECTRA_HZ, AudioRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.synchrony import SYNCHRONY, SynchronyRows
from pipeline.modalities.tracks import lead_of
from pipeline.music.kinematics import LIMBS, RATE_HZ, find_kinematic_beats
from pipeline.music.references import Usual
from pipeline.music.synchrony import Music, Synchrony, find_pulse
from pipeline.report.run_contents import RunContents
from pipeline.report.values import Pace, pace, packed

CURVES_HZ = 20.0  # samples a second of every curve, at most
LEAST_HZ = 10.0  # the poses' rate; below, beats run into each other: rather a shorter piece of the clip
SAMPLES = 600_000  # in the whole page: with beats 13 bytes each at most, a third more as base64, are 10 MB
LINES = ("body", *LIMBS)  # whose speeds are shown
UNKNOWN = -32768  # in `lag`
NAMED = 100  # clips listed a code
NONE_USUAL = Usual(lag_error_s=0.0)  # the lag counts against the beat itself
_MOST_S = 320.0  # shown of a clip: times are hundredths of a second in 15 bits
_USED_HZ = 100  # a second, of the times


@dataclass(frozen=True)
class PageMusic:
    """What the page shows of the clips' music."""

    entries: Mapping[int, dict]  # by row, of the clips that have sound
    tempo: Mapping[int, float]  # beats a minute by row, of the clips that have one
    usual: Mapping[str, Usual]  # by challenge


class MusicReader:
    """Reads the sound of each clip once, when its poses are at hand."""

    def __init__(self, dataset_folder: DatasetFolder, contents: RunContents):
        clips = contents.clips
        heard = clips["shard_audio"].notna() if "audio" in contents.modalities else pd.Series(False, clips.index)
        self._waiting = dict.fromkeys(np.flatnonzero(heard).tolist())
        seconds = clips["duration_s"].to_numpy(float, na_value=0.0)
        found = pace([seconds[row] for row in self._waiting], SAMPLES, CURVES_HZ, LEAST_HZ)
        self._pace = Pace(found.rate, min(found.seconds, _MOST_S))
        self._poses = "pose" in contents.modalities
        self._challenge = clips["challenge"].astype(str).tolist()
        self._rows = RowReader(dataset_folder.workspace, clips)
        usual = read_usual(dataset_folder) if SYNCHRONY.name in contents.modalities else {}
        self._usual = {challenge: found for (name, challenge), found in usual.items() if name == SYNCHRONY.name}
        self._entries: dict[int, dict] = {}
        self._tempo: dict[int, float] = {}

    def add(self, row: int, pose: PoseRows | None) -> None:
        """pose: the clip's; None: it has none."""
        if row not in self._waiting:
            return
        del self._waiting[row]
        audio = self._rows.read(row, "audio")
        if not isinstance(audio, AudioRows):  # a shard written again since may lack it
            return
        danced = None if pose is None else SYNCHRONY.derive({"pose": pose, "audio": audio})
        usual = self._usual.get(self._challenge[row])
        if danced is not None and usual is not None:
            danced = SYNCHRONY.relate(danced, usual)
        why = "" if danced is not None else self._why(audio, pose)
        self._entries[row] = music_entry(audio, danced, why, usual or NONE_USUAL, self._pace)
        if audio.tempo > 0:
            self._tempo[row] = float(audio.tempo)

    def finish(self) -> PageMusic:
        """All that was read, with the clips that have no poses."""
        for row in list(self._waiting):
            self.add(row, None)
        self._rows.close()
        return PageMusic(self._entries, self._tempo, self._usual)

    def _why(self, audio: AudioRows, pose: PoseRows | None) -> str:
        """Reason why nothing is said of the dancer's time: no_beats, no_pose, no_dancer or too_short."""
        if find_pulse(_music(audio)) is None:
            return "no_beats"
        if not self._poses:
            return "no_pose"
        lead = None if pose is None else lead_of(pose.tracks)
        return "no_dancer" if lead is None or not lead.valid.any() else "too_short"


def _music(audio: AudioRows) -> Music:
    return Music(audio.beats, audio.beat_confidence, audio.onset, (float(audio.heard[0]), float(audio.heard[1])))


def music_entry(audio: AudioRows, danced: SynchronyRows | None, why: str, usual: Usual, pace: Pace) -> dict:
    """The page's entry of one clip. docs/report.md lists the fields.

    Args:
        danced: related to its challenge; None: `why` says why not.
        usual: of the challenge, or NONE_USUAL.
        pace: of the curves, and how much of the clip they show.
    """
    seconds = min(len(audio.log_mel) / SPECTRA_HZ, pace.seconds)
    times = np.arange(int(seconds * pace.rate) + 1) / pace.rate
    rows = [_loudness(audio, times, pace.rate), _onsets(audio, times, pace.rate)]
    shown = audio.beats < seconds
    entry: dict = {
        "seconds": seconds,
        "hz": pace.rate,
        "tempo": float(audio.tempo) or None,
        "tempo_confidence": float(audio.tempo_confidence),
        "heard": audio.heard.astype(float).tolist(),
        "beats": packed(_hundredths(audio.beats[shown])),
        "confidence": packed(_bytes(audio.beat_confidence[shown])),
        "why": why,
        "dance": None,
    }
    if danced is not None:
        lines = _lines(danced.synchrony.speed)
        top = [float(np.nanmax(line, initial=0.0)) for line in lines]
        rows += [_speed(line, most, times) for line, most in zip(lines, top, strict=True)]
        entry["dance"] = _dance(danced.synchrony, usual, lines, top, seconds)
    return entry | {"curves": packed(np.stack(rows))}


def _loudness(audio: AudioRows, times: np.ndarray, rate: float) -> np.ndarray:
    """uint8: amplitude (root mean square over all bands) around each moment, 255 at the loudest."""
    power = (10 ** (audio.log_mel.astype(np.float64) / 10)).mean(1)
    inside = (times >= audio.heard[0]) & (times <= audio.heard[1])
    amplitude = np.where(inside, np.sqrt(_around(power, times, rate, np.mean)), 0)
    return _bytes(amplitude / max(float(amplitude.max(initial=0)), 1e-9))


def _onsets(audio: AudioRows, times: np.ndarray, rate: float) -> np.ndarray:
    """uint8: strongest onset around each moment, as a share of the clip's strongest."""
    strength = _around(audio.onset.astype(np.float64), times, rate, np.max)
    return _bytes(strength / max(float(strength.max(initial=0)), 1e-9))


def _around(values: np.ndarray, times: np.ndarray, rate: float, of: Callable[..., Any]) -> np.ndarray:
    """Values at SPECTRA_HZ brought together from half a sample before each moment to half a sample after it."""
    between = np.append(times, times[-1] + 1 / rate) - 0.5 / rate
    edges = np.round(between * SPECTRA_HZ).astype(int).clip(0, len(values))
    return np.array([of(values[a:b]) if b > a else 0.0 for a, b in itertools.pairwise(edges)])


def _lines(speed: np.ndarray) -> np.ndarray:
    """Speeds [1 + V, S] of LINES: the mean of the limbs seen, and the limbs [V, S]; NaN where not seen."""
    seen = np.isfinite(speed)
    count = seen.sum(0)
    mean = np.where(seen, speed, 0).sum(0) / np.maximum(count, 1)
    return np.vstack([np.where(count > 0, mean, np.nan), speed])


def _speed(line: np.ndarray, most: float, times: np.ndarray) -> np.ndarray:
    """uint8: 1 at rest, 255 at the fastest; 0 where the limb is not seen."""
    at = np.round(times * RATE_HZ).astype(int)
    values = np.where(at < len(line), line[np.minimum(at, len(line) - 1)], np.nan)
    scaled = 1 + np.round(254 * np.nan_to_num(values) / max(most, 1e-9))
    return np.where(np.isfinite(values), scaled, 0).astype(np.uint8)


def _dance(synchrony: Synchrony, usual: Usual, lines: np.ndarray, top: list[float], seconds: float) -> dict:
    kinematic = [find_kinematic_beats(lines[0]), *synchrony.kinematic_beats]
    kinematic = [beats[beats < seconds] for beats in kinematic]
    middle = (synchrony.start_s + synchrony.end_s) / 2
    lag = np.stack([_USED_HZ * middle, 1000 * (synchrony.lag_s - usual.lag_s), 1000 * synchrony.lag_error_s])
    lag[1:, ~np.isfinite(lag[1])] = UNKNOWN
    return {
        "top": top,
        "kinematic": packed(_hundredths(np.concatenate(kinematic))),
        "kinematic_counts": [len(beats) for beats in kinematic],
        "lag": packed(np.round(lag[:, middle < seconds]).clip(UNKNOWN, 32767).astype("<i2")),
        "clip_lag": _finite(synchrony.clip_lag_s - usual.lag_s),
        "clip_lag_error": _finite(float(np.hypot(synchrony.clip_lag_error_s, usual.lag_error_s))),
        "strength": _finite(synchrony.clip_strength),
        "at_beats": _finite(synchrony.clip_at_beats),
        "period": synchrony.period_s,
        "certain": synchrony.beat_certain,
    }


def _bytes(shares: np.ndarray) -> np.ndarray:
    return np.round(255 * shares.clip(0, 1)).astype(np.uint8)


def _hundredths(seconds: np.ndarray) -> np.ndarray:
    return np.round(_USED_HZ * seconds).astype("<u2")


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# --- over all clips


def sound_counts(contents: RunContents, music: PageMusic) -> dict | None:
    """The payload's `data.sound`; None: the run was made without the sound."""
    if "audio" not in contents.modalities:
        return None
    clips = contents.clips
    codes = []
    for code, count in contents.statistics["without"].get("audio", {}).items():
        named = clips.loc[clips["without_audio"] == code, "clip_id"].head(NAMED).tolist()
        codes.append({"code": code, "meaning": SOUND_CODES.get(code, ""), "count": count, "clips": named})
    same = clips["same_sound"].dropna()
    return {
        "decoded": int((clips["status"] != "failed").sum()),
        "heard": int(clips["shard_audio"].notna().sum()),
        "with_tempo": len(music.tempo),
        "codes": codes,
        "same": {
            "clips": len(same),
            "tracks": int(same.nunique()),
            "held_out_of_other_challenges": contents.statistics["same_sound"]["held_out_of_other_challenges"],
        },
    }


def challenge_music(contents: RunContents, music: PageMusic) -> dict[str, dict]:
    """Fields of the payload's `challenges` by name: tempo (median and the middle half), clips with one, usual lag."""
    tempo = pd.Series(dict(music.tempo), dtype=float)
    by_challenge = tempo.groupby(contents.clips["challenge"].astype(str).reindex(tempo.index))
    fields = {}
    for name in contents.challenges:
        found = by_challenge.get_group(name) if name in by_challenge.groups else tempo[:0]
        usual = music.usual.get(name)
        fields[name] = {
            "tempo": found.quantile([0.5, 0.25, 0.75]).tolist() if len(found) else None,
            "tempo_clips": len(found),
            "usual_lag": [usual.lag_s, usual.lag_error_s] if usual and usual.references else None,
        }
    return fields

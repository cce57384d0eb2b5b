"""Synchrony: whether the lead dancer is on the beat of the clip's music. Derived from poses and sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.virality.config import VdvConfig
from models.virality.skeleton import normalise
from pipeline.modalities.record import DerivedModality, Grid, ModalityRows, sequence_input
from pipeline.modalities.tracks import lead_of
from pipeline.music.kinematics import LIMBS
from pipeline.music.references import (
    POSE_WIDTH,
    SOUND_WIDTH,
    CountedClip,
    Member,
    Usual,
    count_clip,
    find_usual,
    relate,
)
from pipeline.music.synchrony import MAX_SHIFT_S, Music, Synchrony, closeness, find_pulse, measure_synchrony

if TYPE_CHECKING:
    from models.virality.inputs import InputSpec, ModalityInput

# Of a window (_window_features), its limbs' lags, and what all windows of a clip share.
_WINDOW = ("known", "lag", "late", "early", "close", "agreement", "certainty", "strength", "at_beats", "limbs_apart")
_CLIP = ("clip_lag", "clip_away", "clip_close", "clip_agreement", "alignment", "peak", "peak_close")
FEATURES = (*_WINDOW, *(f"{limb}_lag" for limb in LIMBS), *_CLIP)
_LAG_UNIT_S = 0.1  # so that features are of the order of 1
_MAX_UNITS = 5.0
_USUAL_ERROR_S = 0.02  # of a window's lag: such a lag is half certain
_MIN_JOINT_SCORE = VdvConfig().min_joint_score


@dataclass(frozen=True)
class SynchronyRows(ModalityRows):
    """The synchrony of a clip. Its grid are the windows: their numbers and middles."""

    modality: ClassVar[str] = "synchrony"
    synchrony: Synchrony
    counted: CountedClip
    seen: float  # share of the windows in which both motion and music are there
    confidence: float  # mean of the beats', 0..1


class SynchronyModality(DerivedModality):
    name = "synchrony"
    title = "keeping the beat"
    version = 2
    rows = SynchronyRows
    sources = ("pose", "audio")
    subject = "the lead dancer's time against the music's"

    def derive(self, rows: Mapping[str, ModalityRows]) -> SynchronyRows | None:
        """None: nobody dances, no music is heard, or no beats were found."""
        pose: Any = rows["pose"]
        audio: Any = rows["audio"]
        lead = lead_of(pose.tracks)
        if lead is None or not lead.valid.any():
            return None
        posture = normalise(lead.keypoints, lead.valid, pose.grid.timestamp, _MIN_JOINT_SCORE)
        shown = np.flatnonzero(posture.seen.any(1))
        if not len(shown):
            return None
        until = shown[-1] + 1
        music = Music(audio.beats, audio.beat_confidence, audio.onset, (float(audio.heard[0]), float(audio.heard[1])))
        dancer = (posture.seconds[:until], posture.position[:until], posture.seen[:until])
        synchrony, pulse = measure_synchrony(*dancer, music), find_pulse(music)
        if synchrony is None or pulse is None:
            return None
        counted = count_clip(*dancer, audio.log_mel, music.heard, pulse, float(np.nan_to_num(synchrony.clip_lag_s)))
        windows = len(synchrony.start_s)
        middles = (synchrony.start_s + synchrony.end_s) / 2
        return SynchronyRows(
            pose.clip_id,
            Grid(np.arange(windows, dtype=np.int32), middles),
            synchrony,
            counted,
            float(np.isfinite(synchrony.strength).mean()),
            float(np.mean(audio.beat_confidence)),
        )

    def reference(self, rows: SynchronyRows) -> dict[str, np.ndarray]:
        synchrony, counted = rows.synchrony, rows.counted
        about = (synchrony.clip_lag_s, synchrony.period_s, synchrony.clip_strength)
        return {"about": np.array(about, np.float32), "pose": counted.pose, "sound": counted.sound}

    def find_usual(self, references: Sequence[Mapping[str, np.ndarray]]) -> Usual:
        members = []
        for arrays in references:
            counted = CountedClip(arrays["pose"].reshape(-1, POSE_WIDTH), arrays["sound"].reshape(-1, SOUND_WIDTH))
            lag, period, strength = arrays["about"].tolist()
            members.append(Member(lag, period, strength, counted))
        return find_usual(members)

    def relate(self, rows: SynchronyRows, usual: Usual) -> SynchronyRows:
        return replace(rows, synchrony=relate(rows.synchrony, rows.counted, usual))

    def quality(self, rows: SynchronyRows, decoded: float, lead_faces: np.ndarray) -> float:
        """Share of the windows with both motion and music times the beats' mean confidence.

        A dancer who keeps to no beat is seen well.
        """
        return min(decoded, 1.0) * rows.seen * rows.confidence

    def input_spec(self, stored_width: int | None) -> "InputSpec":
        from models.virality.inputs import InputSpec

        return InputSpec(len(FEATURES))

    def read_input(
        self,
        rows: SynchronyRows | None,
        spec: "InputSpec",
        config: VdvConfig,
        lead_faces: np.ndarray,
        quality: float,
    ) -> "ModalityInput":
        if rows is None:
            return sequence_input(spec, quality)
        import torch

        values = torch.from_numpy(window_features(rows.synchrony))
        mask = torch.from_numpy(np.isfinite(rows.synchrony.strength))
        return sequence_input(spec, quality, values, mask, config.max_frames)


def window_features(synchrony: Synchrony) -> np.ndarray:
    """FEATURES of the windows, float32 [W, D], of the order of 1; lags count against the challenge's usual one.

    0 where something is not known, and `known` says whether the lag is.
    """
    lag = synchrony.lag_s - synchrony.usual_lag_s
    close = closeness(lag)
    limbs = synchrony.limb_lag_s - synchrony.usual_lag_s
    apart = np.array([np.std(row[np.isfinite(row)]) if np.isfinite(row).sum() > 1 else np.nan for row in limbs])
    window = [
        np.isfinite(lag).astype(float), _units(lag), _units(np.maximum(lag, 0)), _units(np.maximum(-lag, 0)), close,
        synchrony.strength * close, 1 / (1 + (synchrony.lag_error_s / _USUAL_ERROR_S) ** 2), synchrony.strength,
        synchrony.at_beats, _units(apart), *_units(limbs).T,
    ]  # fmt: skip
    clip_lag = np.array(synchrony.clip_lag_s - synchrony.usual_lag_s)
    peak = int(synchrony.correlation.argmax())
    peak_lag = np.array(np.linspace(-MAX_SHIFT_S, MAX_SHIFT_S, len(synchrony.correlation))[peak])
    clip = [
        _units(clip_lag), _units(np.abs(clip_lag)), closeness(clip_lag), np.array(synchrony.agreement),
        np.array(synchrony.alignment), synchrony.correlation[peak], closeness(peak_lag),
    ]  # fmt: skip
    columns = [*window, *(np.full(len(lag), value) for value in clip)]
    return np.nan_to_num(np.stack(columns, 1)).astype(np.float32)


def _units(lag_s: np.ndarray) -> np.ndarray:
    return np.clip(lag_s / _LAG_UNIT_S, -_MAX_UNITS, _MAX_UNITS)


SYNCHRONY = SynchronyModality()

"""Audio: what is heard in a clip, by a network trained to tell sounds apart, and the rhythm of its music."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from models.virality.config import VdvConfig
from models.weights.profiles import Entry, Rule
from pipeline.modalities.record import (
    CLIP_COLUMNS,
    GRID_COLUMNS,
    Column,
    Decoded,
    FeatureModality,
    FeatureTensors,
    Grid,
    ModalityRows,
    stacked,
)

if TYPE_CHECKING:
    import torch

    from models.extractors.audio.extractor import AudioExtractor, AudioWindow
    from models.virality.inputs import InputSpec
    from pipeline.modalities.record import StateDict

MEL_BANDS = 64
STATISTICS = ("loudness", "brightness", "bass", "onsets", "tempo", "rhythm")
SPECTRA_HZ = 100.0  # of log_mel and onset
# What is usual, and by how much clips differ from it.
_LOUD_DB, _RANGE_DB, _CONTRAST_DB, _USUAL_ONSETS, _USUAL_BPM = -20.0, 20.0, 10.0, 1.0, 112.0


@dataclass(frozen=True)
class AudioRows(ModalityRows):
    """One feature a window of the clip's sound, and its rhythm. The grid is that of the T windows."""

    modality: ClassVar[str] = "audio"
    feature: np.ndarray  # float16 [T, D]
    log_mel: np.ndarray  # float16 [S, 64] decibels, 100 a second from the clip's first frame
    onset: np.ndarray  # float32 [S] onset strength, decibels
    beats: np.ndarray  # float32 [B] seconds from the clip's first frame, ascending
    beat_confidence: np.ndarray  # float32 [B] 0..1
    tempo: np.float32  # beats a minute; 0: none found
    tempo_confidence: np.float32  # 0..1
    fingerprint: np.ndarray  # int32 [F] see pipeline.music.fingerprint
    heard: np.ndarray  # float32 [2] from where to where the file has sound, seconds from the clip's first frame


@dataclass(frozen=True)
class AudioEntry(Entry):
    """The table [audio] of a profile."""

    stride: Annotated[int, Rule(low=1, high=1)]  # frames have no part in it
    architecture: Annotated[str, Rule(choices=("cnn14-16k", "cnn8-w16"))]
    window_s: Annotated[float, Rule(low=0.5, high=30)]  # heard by the network at a time
    hop_s: Annotated[float, Rule(low=0.1, high=30)]  # from one window to the next

    def problems(self) -> list[str]:
        return [f"hop_s: {self.hop_s} s leave gaps between windows of {self.window_s} s"] * (self.hop_s > self.window_s)


class Audio(FeatureModality):
    name = "audio"
    title = "sound"
    version = 2
    entry = AudioEntry
    rows = AudioRows
    columns = (
        *CLIP_COLUMNS,
        *GRID_COLUMNS,
        Column("feature", "float16", "T,D", wide=True),
        Column("log_mel", "float16", f"S,{MEL_BANDS}", wide=True),
        Column("onset", "float32", "S"),
        Column("beats", "float32", "B"),
        Column("beat_confidence", "float32", "B"),
        Column("tempo", "float32"),
        Column("tempo_confidence", "float32"),
        Column("fingerprint", "int32", "F"),
        Column("heard", "float32", "2"),
    )
    reads = "sound"
    subject = "the sound"

    def build_extractor(self, entry: AudioEntry, state: "StateDict | None", **common: Any) -> "AudioExtractor":
        from models.extractors.audio.extractor import AudioExtractor

        return AudioExtractor(
            state, architecture=entry.architecture, window_s=entry.window_s, hop_s=entry.hop_s, **common
        )

    def assemble(self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: "Sequence[AudioWindow]") -> AudioRows:
        """results: one a window."""
        from pipeline.music.beats import find_rhythm  # it imports scipy's filters, half a second
        from pipeline.music.fingerprint import fingerprint

        spectra = [window.log_mel for window in results if window.log_mel is not None]
        log_mel = spectra[0] if spectra else np.zeros((0, MEL_BANDS), np.float16)
        rhythm = find_rhythm(log_mel, decoded.heard)
        return AudioRows(
            decoded.ending.clip_id,
            grid,
            stacked([window.feature for window in results], results[0].feature.shape if results else (0,), np.float16),
            log_mel,
            rhythm.onset,
            rhythm.beats,
            rhythm.beat_confidence,
            np.float32(rhythm.tempo),
            np.float32(rhythm.tempo_confidence),
            fingerprint(log_mel, decoded.heard),
            np.array(decoded.heard, np.float32),
        )

    def valid(self, rows: AudioRows) -> np.ndarray:
        """Windows whose centre is where there is sound, and whose feature is finite."""
        inside = (rows.grid.timestamp >= rows.heard[0]) & (rows.grid.timestamp <= rows.heard[1])
        return super().valid(rows) & inside

    def tensors(self, rows: AudioRows) -> FeatureTensors:
        import torch

        tensors = super().tensors(rows)
        valid = torch.from_numpy(self.valid(rows))
        return replace(tensors, feature=torch.where(valid[:, None], tensors.feature, 0.0), valid=valid)

    def quality(self, rows: AudioRows, decoded: float, lead_faces: np.ndarray) -> float:
        """Share of the windows with sound, half of it for the sound and half for how sure its rhythm is."""
        valid = self.valid(rows)
        share = float(valid.mean(dtype=float)) if len(valid) else 0.0
        return decoded * share * (0.5 + 0.5 * float(rows.tempo_confidence))

    def input_spec(self, stored_width: int | None) -> "InputSpec":
        """The features followed by STATISTICS, of which alone statistics are made: a few hundred clips teach six."""
        from models.virality.inputs import InputSpec

        assert stored_width is not None
        return InputSpec(stored_width + len(STATISTICS), len(STATISTICS))

    def model_features(self, rows: AudioRows, tensors: FeatureTensors) -> "torch.Tensor":
        import torch

        return torch.cat([tensors.feature, torch.from_numpy(sound_statistics(rows))], 1)

    def most_frames(self, config: VdvConfig) -> int:
        return config.max_frames


def sound_statistics(rows: AudioRows) -> np.ndarray:
    """float32 [T, 6]: STATISTICS of the part of the clip that is nearest to each window, on scales of about 1.

    Loudness: mean level of the bands; brightness: of the upper half of them against all; bass: of the lowest three;
    onsets: their mean strength. Tempo, in octaves from a usual one, and how sure it is are the clip's.
    """
    times, spectra = rows.grid.timestamp.astype(np.float64), rows.log_mel.astype(np.float32)
    edges = np.round(np.append((times[1:] + times[:-1]) / 2, np.inf if len(times) else []) * SPECTRA_HZ)
    ends = np.clip(edges, 1, max(1, len(spectra))).astype(int)
    statistics = np.zeros((len(times), len(STATISTICS)), np.float32)
    start = 0
    for place, end in enumerate(ends):
        level = spectra[start:end].mean(0) if end > start else np.full(MEL_BANDS, _LOUD_DB - _RANGE_DB, np.float32)
        onsets = rows.onset[start:end].mean() if end > start else 0.0
        mean = level.mean()
        statistics[place, :4] = (
            (mean - _LOUD_DB) / _RANGE_DB,
            (level[MEL_BANDS // 2 :].mean() - mean) / _CONTRAST_DB,
            (level[:3].mean() - mean) / _CONTRAST_DB,
            onsets - _USUAL_ONSETS,
        )
        start = end
    statistics[:, 4] = np.log2(rows.tempo / _USUAL_BPM) if rows.tempo > 0 else 0.0
    statistics[:, 5] = rows.tempo_confidence
    return statistics


AUDIO = Audio()

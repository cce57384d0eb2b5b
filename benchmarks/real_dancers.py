"""Synchrony of real dancers: poses by MediaPipe, sound and all else by vdv.

    python -m venv poses && poses/bin/pip install mediapipe==0.10.21
    python -m benchmarks.real_dancers --clips MANIFEST --mediapipe poses/bin/python

No pose network for real people comes with vdv, and MediaPipe's wheel has one (BlazePose full, Apache-2.0). It needs
another numpy than vdv, so it runs in a Python of its own on the frames that vdv's decoder samples.

Nobody has labelled how these people keep time. What can be asked without labels, of each clip with a tempo (of one
without, a show that changes its music, of its pieces of 10 s):

    known     a lag is known over the whole clip, and in how many windows
    halves    the lags of the clip's halves agree
    shifted   with the sound moved by 0.2 to 0.6 s, the lag moves as far, modulo a beat
    swapped   with the sound of each other clip a lag is known, too: then it means nothing
    by chance with a steady beat that parts from the music's by a beat and more, a lag is known: 5 % at most
    p of ...  the F test of a wave of one, two and four beats in the limbs' mean speed, and of one in the trunk's ups
              and downs, against the frequencies beside it
    apart     by how much the two halves of a clip differ in the phase of the wave of one beat, s
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import f as f_distribution

from benchmarks.common import save, table
from benchmarks.synchrony import audio_rows, moved, pose_rows
from models.extractors.audio.networks import SAMPLE_HZ
from models.virality.config import VdvConfig
from models.virality.skeleton import COCO17, normalise
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, Sound
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.audio import AudioRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.synchrony import SYNCHRONY
from pipeline.modalities.tracks import lead_of
from pipeline.music.kinematics import limb_steps
from pipeline.music.synchrony import Music, Pulse, Synchrony, find_pulse, wrapped

PIECE_S = 10.0
CHANCE_PERIODS_S = np.linspace(0.38, 0.75, 30)  # of steady beats that are not the music's
WAVES_BEATS = (1, 2, 4)
_LEAST_STEPS = 40  # in sight while there is a beat, below which waves are not looked for
TRUNK = [COCO17.joints.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("shoulder", "hip")]
_NEIGHBOURS = (-2, -1, 1, 2)  # frequencies that the noise is taken from, in units of one over the clip's duration
SHIFTS_S = (-0.6, -0.5, -0.4, -0.3, -0.2, 0.2, 0.3, 0.4, 0.5, 0.6)
CLOSE_S = 0.05  # lags this near one another agree
# COCO-17 in MediaPipe's 33 landmarks. Of several people it follows one.
_MEDIAPIPE = """
import sys
import mediapipe
import numpy

frames = numpy.load(sys.argv[1])
joints = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
keypoints = numpy.zeros((len(frames), 17, 3), numpy.float32)
with mediapipe.solutions.pose.Pose(model_complexity=1, smooth_landmarks=False) as network:
    for place, frame in enumerate(frames):
        landmarks = network.process(frame).pose_landmarks
        if landmarks:
            points = [landmarks.landmark[joint] for joint in joints]
            keypoints[place] = [(p.x * frame.shape[1], p.y * frame.shape[0], p.visibility) for p in points]
numpy.save(sys.argv[2], keypoints)
"""


@dataclass(frozen=True)
class RealClip:
    clip_id: str
    pose: PoseRows
    sound: np.ndarray  # float32 [N] at SAMPLE_HZ
    heard: tuple[float, float]  # s

    def audio(self) -> AudioRows:
        return audio_rows(self.clip_id, self.sound, self.heard)

    def with_sound(self, sound: np.ndarray, heard: tuple[float, float]) -> Synchrony | None:
        rows: Any = SYNCHRONY.derive({"pose": self.pose, "audio": audio_rows(self.clip_id, sound, heard)})
        return None if rows is None else rows.synchrony

    def synchrony(self) -> Synchrony | None:
        return self.with_sound(self.sound, self.heard)

    def shifted(self, by_s: float) -> Synchrony | None:
        return self.with_sound(*moved(self.sound, self.heard, by_s))

    def swapped(self, other: "RealClip") -> Synchrony | None:
        sound = other.sound[: len(self.sound)]
        start, end = other.heard
        return self.with_sound(sound, (start, min(end, len(sound) / SAMPLE_HZ)))

    def by_chance(self, own: Synchrony) -> list[bool]:
        """Whether a lag is known with steady beats that part from the music's by a beat and more, of each of them."""
        audio, end_s = self.audio(), float(own.end_s[-1])
        found = []
        for period_s in CHANCE_PERIODS_S[np.abs(1 / CHANCE_PERIODS_S - 1 / own.period_s) * end_s >= 1]:
            beats = np.arange(0, end_s, period_s).astype(np.float32)
            steady = replace(audio, beats=beats, beat_confidence=np.ones_like(beats))
            rows: Any = SYNCHRONY.derive({"pose": self.pose, "audio": steady})
            found.append(rows is not None and is_known(rows.synchrony))
        return found

    def pieces(self) -> list["RealClip"]:
        """The clip, or, where its music changes and has no tempo, its pieces of PIECE_S."""
        if self.audio().tempo > 0 or self.heard[1] < 2 * PIECE_S:
            return [self]
        (lead,), seconds = self.pose.tracks, self.pose.grid.timestamp
        cut = []
        for start in np.arange(self.heard[0], self.heard[1] - PIECE_S, PIECE_S):
            inside = (seconds >= start) & (seconds < start + PIECE_S)
            pose = pose_rows(f"{self.clip_id} from {start:.0f} s", seconds[inside] - start, lead.keypoints[inside])
            at = round(start * SAMPLE_HZ)
            sound = self.sound[at : at + round(PIECE_S * SAMPLE_HZ)]
            cut.append(RealClip(pose.clip_id, pose, sound, (0.0, PIECE_S)))
        return cut


def decoded(manifest: str) -> Iterator[tuple[str, np.ndarray, np.ndarray, Sound]]:
    """Of each clip with sound: id, frames uint8 RGB [T, H, W, 3], seconds [T], and the sound, valid until the next."""
    rows = [row for batch in read_manifests(manifest) for row in batch.rows.itertuples()]
    jobs = [DecodeJob(str(row.clip_id), str(row.uri), (1,), sound=True) for row in rows]
    frames: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, list[np.ndarray]] = {}
    with DecodePool(SamplingOptions(max_side=640), DecodeLimits(), 1) as pool:
        for event in pool.run(jobs):
            if isinstance(event, Chunk):
                frames.setdefault(event.clip_id, []).append(event.frames.copy())
                seconds.setdefault(event.clip_id, []).append(event.timestamp.copy())
            elif isinstance(event, Sound) and not event.code:
                pictures, times = frames.pop(event.clip_id), seconds.pop(event.clip_id)
                yield event.clip_id, np.concatenate(pictures), np.concatenate(times), event
            if hasattr(event, "release"):
                event.release()


def clips(manifest: str, mediapipe: str) -> Iterator[RealClip]:
    """The clips that have a sound, with the poses that MediaPipe, run by the Python `mediapipe`, finds in them."""
    for clip_id, frames, seconds, sound in decoded(manifest):
        with tempfile.TemporaryDirectory() as folder:
            shown, found = Path(folder) / "frames.npy", Path(folder) / "keypoints.npy"
            np.save(shown, frames)
            subprocess.run([mediapipe, "-c", _MEDIAPIPE, str(shown), str(found)], check=True, stderr=subprocess.DEVNULL)
            pose = pose_rows(clip_id, seconds, np.load(found))
        yield RealClip(clip_id, pose, sound.samples.astype(np.float32) / 32768, sound.heard)


def is_known(synchrony: Synchrony | None) -> bool:
    return synchrony is not None and bool(np.isfinite(synchrony.clip_lag_s))


def local_test(beat: np.ndarray, row: np.ndarray, beats: float) -> tuple[float, float]:
    """Test of a wave against the frequencies beside its own: p, of as strong a one in a flat spectrum; phase, radians.

    Args:
        beat: [N] the music's phase.
        row: [N] of motion.
        beats: the wave's period.
    """

    def fitted(frequency: float) -> np.ndarray:
        angle = 2 * np.pi * frequency * beat
        design = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], 1)
        return np.linalg.lstsq(design, row, rcond=None)[0][1:]

    apart = 1 / np.ptp(beat)
    own, noise = fitted(1 / beats), [fitted(1 / beats + place * apart) for place in _NEIGHBOURS]
    ratio = (own**2).sum() / max(np.mean([(wave**2).sum() for wave in noise]), 1e-12)
    return float(f_distribution.sf(ratio, 2, 2 * len(noise))), float(np.arctan2(own[1], own[0]))


def motion_rows(clip: RealClip, pulse: Pulse) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the steps that are seen: the music's phase, the limbs' mean root speed, the trunk's speed down; [N] each."""
    lead = lead_of(clip.pose.tracks)
    assert lead is not None
    posture = normalise(lead.keypoints, lead.valid, clip.pose.grid.timestamp, VdvConfig().min_joint_score)
    steps = limb_steps(posture.seconds, posture.position, posture.seen)
    roots = np.sqrt(steps.speed)
    roots = (roots - np.nanmean(roots, 1, keepdims=True)) / (np.nanstd(roots, 1, keepdims=True) + 1e-9)
    down = np.diff(posture.position[:, TRUNK, 1].mean(1)) / steps.duration_s
    phase = pulse.phase(steps.seconds)
    known = np.isfinite(roots).all(0) & np.isfinite(phase)
    return phase[known], roots[:, known].mean(0), down[known]


def judge_waves(clip: RealClip, audio: AudioRows) -> dict[str, Any]:
    """Where in the motion the beat is: p of waves of the limbs' speed and of the trunk, and how far halves differ."""
    pulse = find_pulse(Music(audio.beats, audio.beat_confidence, audio.onset, clip.heard))
    assert pulse is not None
    beat, speed, trunk = motion_rows(clip, pulse)
    if len(beat) < _LEAST_STEPS:
        return {}
    judged: dict[str, Any] = {f"p of {beats}": local_test(beat, speed, beats)[0] for beats in WAVES_BEATS}
    judged["p of trunk"], _ = local_test(beat, trunk, 1)
    early = beat < (beat[0] + beat[-1]) / 2
    for name, row in (("speeds", speed), ("trunk", trunk)):
        first, second = (local_test(beat[half], row[half], 1)[1] for half in (early, ~early))
        judged[f"apart: {name}"] = abs(float(wrapped(first - second, 2 * np.pi))) / (2 * np.pi) * pulse.period_s
    return judged


def judge(clip: RealClip, others: list[RealClip]) -> dict[str, Any]:
    """What can be asked of a clip without labels: see the module."""
    audio, found = clip.audio(), clip.synchrony()
    judged: dict[str, Any] = {
        "clip": clip.clip_id, "tempo": float(audio.tempo), "lag known": is_known(found),
        "swapped: lag known": f"{sum(is_known(clip.swapped(other)) for other in others)} of {len(others)}",
    }  # fmt: skip
    if found is None:
        return judged
    judged |= {"strength": found.clip_strength, "windows known": int(np.isfinite(found.lag_s).sum())}
    judged |= {"windows": len(found.lag_s), "period s": found.period_s}
    chance = clip.by_chance(found)
    judged |= {"by chance": f"{sum(chance)} of {len(chance)}"} | judge_waves(clip, audio)
    if is_known(found):
        middle = len(found.lag_s) // 2
        first, second = (np.nanmean(half) for half in (found.lag_s[:middle], found.lag_s[middle:]))
        judged["halves agree"] = bool(abs(wrapped(first - second, found.period_s)) < CLOSE_S)
        later = [(by, clip.shifted(by)) for by in SHIFTS_S]
        follows = [
            other is not None and abs(wrapped(other.clip_lag_s - found.clip_lag_s + by, found.period_s)) < CLOSE_S
            for by, other in later
        ]
        judged["shifted: lag follows"] = f"{sum(follows)} of {len(follows)}"
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="a manifest of real clips")
    parser.add_argument("--mediapipe", required=True, help="a Python that can import mediapipe")
    arguments = parser.parse_args()
    found = [clip.pieces() for clip in clips(arguments.clips, arguments.mediapipe)]
    judged = []
    for pieces in found:
        others = [other for clip in found if clip is not pieces for other in clip]
        judged += [judge(piece, others) for piece in pieces]
    columns = list(dict.fromkeys(name for row in judged for name in row))
    print(table([[row.get(name, "") for name in columns] for row in judged], columns))
    save("real-dancers", {"clips": judged})


if __name__ == "__main__":
    main()

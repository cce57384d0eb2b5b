"""Synchrony against the truth: lags of dancers, sound that is shifted or swapped, words on the beat.

    python -m benchmarks.synchrony --clips 512 --seed 1000
    python -m benchmarks.synchrony --world FOLDER --workspace WORKSPACE

The first makes clips without a picture: key points of the script with the errors of the bundled pose network
(simulation.filming.keypoints), the clip's sound, and its rhythm as the pipeline finds it. The second reads a rendered
and extracted world. What is usual in a challenge is taken from the clips of other creators: each half of the creators
is judged by the other half, in an extracted world all by its training clips.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.common import save, table
from models.extractors.audio.networks import HOP, SAMPLE_HZ, LogMel
from pipeline.core.options import SamplingOptions
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.rows import RowReader, read_usual
from pipeline.feedback.timing import find_off_beat
from pipeline.modalities.audio import AudioRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid
from pipeline.modalities.synchrony import SYNCHRONY, SynchronyRows
from pipeline.modalities.tracks import Track
from pipeline.music.beats import find_rhythm
from pipeline.music.synchrony import Synchrony
from simulation.filming.keypoints import film_keypoints
from simulation.music.clip_sound import clip_sound, on_clock
from simulation.music.timing import heard_interval, true_lag_s
from simulation.script import IN_TIME, ClipScript
from simulation.truth import read_clips_truth
from simulation.world import WorldOptions, make_world

SHIFT_S = (0.2, 0.6)  # by which sound is shifted, either way
IN_TIME_S = 0.12  # lag of a dancer who is in time: beyond, a shift may bring the music nearer
WRONG_S = 0.1  # error of a lag that is wrong by a beat, or by chance
ON_TIME_S, CLEARLY_S = 0.05, 0.15  # from the top clips' lag: of dancers of whom nothing is to be said, and something
TOP_CLIPS = 8


@dataclass(frozen=True)
class MadeClip:
    """A clip of a world as extraction would show it."""

    script: ClipScript
    pose: PoseRows
    sound: np.ndarray  # float32 [N] at SAMPLE_HZ on the clip's clock

    @property
    def lag_s(self) -> float:
        return true_lag_s(self.script)


@dataclass(frozen=True)
class Judged:
    """One clip, its true lag, and what was found; NaN where not known."""

    challenge: str
    kind: str
    true_s: float
    constant_s: float  # part of the true lag that is the same for all limbs
    alone: Synchrony | None  # by the clip alone
    found: Synchrony | None  # against other clips of its challenge


def make_clips(options: WorldOptions) -> Iterator[MadeClip]:
    """The clips of a world that can be read."""
    step = 1 / SamplingOptions().sample_fps
    for place, upload in enumerate(make_world(options)):
        script = upload.script
        if script.phone.damage:
            continue
        seconds = np.arange(0, script.duration_s, step)
        keypoints = film_keypoints(script, seconds, np.random.default_rng((options.seed, place)))
        sound = on_clock(clip_sound(script), script.duration_s, SAMPLE_HZ)
        yield MadeClip(script, pose_rows(script.clip_id, seconds, keypoints), sound)


def pose_rows(clip_id: str, seconds: np.ndarray, keypoints: np.ndarray) -> PoseRows:
    """Rows of one dancer with key points [T, 17, 3]."""
    frames = len(seconds)
    box = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], 1).astype(np.float32)
    lead = Track(0, True, np.ones(frames, bool), keypoints.astype(np.float32), box, np.full(frames, 0.9, np.float32))
    return PoseRows(clip_id, Grid(np.arange(frames, dtype=np.int32), seconds.astype(np.float32)), (lead,))


@cache
def _log_mel() -> LogMel:
    return LogMel()


@torch.inference_mode()
def audio_rows(clip_id: str, sound: np.ndarray, heard: tuple[float, float]) -> AudioRows:
    """Rows of a clip's sound with its rhythm, without embeddings. sound: float32 [N] at SAMPLE_HZ."""
    log_mel = _log_mel()(torch.from_numpy(sound))[: len(sound) // HOP + 1].half().numpy()
    rhythm = find_rhythm(log_mel, heard)
    return AudioRows(
        clip_id, Grid(np.zeros(1, np.int32), np.zeros(1, np.float32)), np.zeros((1, 1), np.float16), log_mel,
        rhythm.onset, rhythm.beats, rhythm.beat_confidence, np.float32(rhythm.tempo),
        np.float32(rhythm.tempo_confidence), np.zeros(0, np.int32), np.array(heard, np.float32),
    )  # fmt: skip


def derive(clip: MadeClip, sound: np.ndarray | None = None, heard: tuple[float, float] | None = None) -> Any:
    """SynchronyRows of a clip, with its own sound or another; None: it has none."""
    heard = heard_interval(clip.script) if heard is None else heard
    audio = audio_rows(clip.script.clip_id, clip.sound if sound is None else sound, heard)
    return SYNCHRONY.derive({"pose": clip.pose, "audio": audio})


def moved(sound: np.ndarray, heard: tuple[float, float], by_s: float) -> tuple[np.ndarray, tuple[float, float]]:
    """A sound `by_s` later, as long as before, and from where to where it is heard."""
    silence = np.zeros(round(abs(by_s) * SAMPLE_HZ), np.float32)
    parts = [silence, sound[: -len(silence)]] if by_s > 0 else [sound[len(silence) :], silence]
    end_s = len(sound) / SAMPLE_HZ
    return np.concatenate(parts), (max(0.0, heard[0] + by_s), min(end_s, heard[1] + by_s))


def shifted(clip: MadeClip, shift_s: float) -> SynchronyRows | None:
    """The clip's synchrony with its sound `shift_s` later."""
    return derive(clip, *moved(clip.sound, heard_interval(clip.script), shift_s))


def swapped(clip: MadeClip, other: MadeClip) -> SynchronyRows | None:
    """The clip's synchrony with the sound of another."""
    length = min(len(clip.sound), len(other.sound))
    start, end = heard_interval(other.script)
    return derive(clip, other.sound[:length], (start, min(end, length / SAMPLE_HZ)))


def find_usuals(clips: Sequence[MadeClip], rows: Sequence[SynchronyRows | None]) -> dict[tuple[str, int], Any]:
    """What is usual by challenge and half of the creators that is judged by it: by the clips of the other half."""
    members: dict[tuple[str, int], list] = {}
    for clip, of_clip in zip(clips, rows, strict=True):
        if of_clip is not None:
            members.setdefault((clip.script.dance, 1 - half(clip)), []).append(SYNCHRONY.reference(of_clip))
    return {key: SYNCHRONY.find_usual(references) for key, references in members.items()}


def half(clip: MadeClip) -> int:
    return clip.script.people[0].creator % 2


def relate(rows: SynchronyRows | None, usual: Any) -> Synchrony | None:
    return None if rows is None else SYNCHRONY.relate(rows, usual).synchrony


def agreement(synchrony: Synchrony | None) -> float:
    return synchrony.agreement if synchrony else 0.0


def judge_lags(judged: Sequence[Judged]) -> dict[str, float]:
    """Figures of the lags of clips that are danced to their music."""
    danced = [one for one in judged if one.kind in IN_TIME]
    alone, found = (
        np.array([synchrony.clip_lag_s if synchrony else np.nan for synchrony in column])
        for column in ([one.alone for one in danced], [one.found for one in danced])
    )
    true = np.array([one.true_s for one in danced])
    known = np.isfinite(found)
    error = found[known] - true[known]
    sigma = np.array([one.found.clip_lag_error_s for one in danced if one.found and np.isfinite(one.found.clip_lag_s)])
    right = np.abs(error) < WRONG_S
    return {
        "clips": len(danced),
        "known": float(known.mean()),
        "spearman": float(spearmanr(found[known], true[known])[0]),
        "median_error_s": float(np.median(np.abs(error))),
        "bias_s": float(np.median(error)),
        "wrong": float((~right).mean()),
        "within_two_sigma": float((np.abs(error) <= 2 * sigma)[right].mean()),
        "beat_certain": float(np.mean([one.found is not None and one.found.beat_certain for one in danced])),
        "spearman_alone": float(spearmanr(alone[known], true[known])[0]),
        "wrong_alone": float((np.abs(alone[known] - true[known]) >= WRONG_S).mean()),
    }


def judge_sounds(judged: Sequence[Judged]) -> dict[str, float]:
    """Mean agreement by kind of sound."""
    kinds = sorted({one.kind for one in judged})
    return {kind: float(np.mean([agreement(one.found) for one in judged if one.kind == kind])) for kind in kinds}


def judge_changes(clips: Sequence[MadeClip], judged: Sequence[Judged], usuals: dict, seed: int) -> dict[str, Any]:
    """How often synchrony falls with the sound shifted or swapped, of the clips whose lag is known.

    A shift brings some late dancers nearer, whose agreement has to rise: `shifted_would_fall` is in how many it would
    fall of a perfect measure, `shifted_as_true` in how many it goes the way of the true lag. With the tracks that part
    from the dance by a beat and more, a lag is known by chance only: `other_tempo_known`, of all clips.
    """
    rng = np.random.default_rng((seed, 1))
    shifts, swaps, by_chance = [], [], []
    for clip, one in zip(clips, judged, strict=True):
        shift = float(rng.choice((-1, 1)) * rng.uniform(*SHIFT_S))
        others = [other for other in clips if other.script.sound.track not in ("", clip.script.sound.track)]
        other = others[int(rng.integers(len(others)))]
        if one.kind not in IN_TIME or one.found is None:
            continue
        usual = usuals[clip.script.dance, half(clip)]
        alien = relate(swapped(clip, other), usual)
        if alien is not None and drift_beats(one.found, alien) >= 1:
            by_chance.append(np.isfinite(alien.clip_lag_s))
        if not np.isfinite(one.found.clip_lag_s):
            continue
        moved = relate(shifted(clip, shift), usual)
        shifts.append((one.true_s, one.true_s - shift, agreement(moved) < one.found.agreement))
        swaps.append(agreement(alien) < one.found.agreement)
    before, after, falls = (np.array(column) for column in zip(*shifts, strict=True))
    in_time, farther = np.abs(before) <= IN_TIME_S, np.abs(after) > np.abs(before)
    return {
        "clips": len(falls),
        "shifted_falls": float(falls.mean()),
        "shifted_would_fall": float(farther.mean()),
        "shifted_as_true": float((falls == farther).mean()),
        "shifted_in_time": int(in_time.sum()),
        "shifted_in_time_falls": float(falls[in_time].mean()),
        "shifted_away": int(farther.sum()),
        "shifted_away_falls": float(falls[farther].mean()),
        "swapped_falls": float(np.mean(swaps)),
        "swapped_in_time_falls": float(np.mean(np.array(swaps)[in_time])),
        "other_tempo": len(by_chance),
        "other_tempo_known": float(np.mean(by_chance)),
    }


def drift_beats(own: Synchrony, alien: Synchrony) -> float:
    """Beats by which the alien music parts from the own while it is heard."""
    return float(abs(1 / alien.period_s - 1 / own.period_s) * (alien.beats[-1] - alien.beats[0]))


def judge_words(judged: Sequence[Judged]) -> dict[str, float]:
    """How often feedback says a true thing of dancers off the beat, and anything of those on it.

    Top clips are played by the clips of the challenge with the least constant lags.
    """
    said_of_good, said_of_late, right, said = [], [], 0, 0
    for one in judged:
        if one.kind not in IN_TIME:
            continue
        others = [other for other in judged if other is not one and other.challenge == one.challenge
                  and other.kind in IN_TIME]  # fmt: skip
        top = sorted(others, key=lambda other: abs(other.constant_s))[:TOP_CLIPS]
        findings = find_off_beat(one.found, [other.found for other in top])
        off_s = one.true_s - float(np.median([other.true_s for other in top]))
        if abs(off_s) <= ON_TIME_S:
            said_of_good.append(bool(findings))
        elif abs(off_s) >= CLEARLY_S:
            signs = [finding.lag_s * off_s > 0 for finding in findings]
            said_of_late.append(bool(signs) and all(signs))
            right, said = right + sum(signs), said + len(signs)
    return {
        "on_time": len(said_of_good),
        "said_of_on_time": float(np.mean(said_of_good)),
        "clearly_off": len(said_of_late),
        "said_of_clearly_off": float(np.mean(said_of_late)),
        "of_those_right": right / max(said, 1),
    }


def made_world(options: WorldOptions) -> dict[str, Any]:
    clips = list(make_clips(options))
    rows = [derive(clip) for clip in clips]
    usuals = find_usuals(clips, rows)
    judged = []
    for clip, of_clip in zip(clips, rows, strict=True):
        sound, found = clip.script.sound, relate(of_clip, usuals.get((clip.script.dance, half(clip))))
        alone = of_clip.synchrony if of_clip else None
        judged.append(Judged(clip.script.dance, sound.kind, clip.lag_s, sound.lag_s, alone, found))
    dances = sorted({one.challenge for one in judged})
    by_dance = {dance: judge_lags([one for one in judged if one.challenge == dance]) for dance in dances}
    return {
        "seed": options.seed,
        "lags": judge_lags(judged),
        "lags_by_challenge": by_dance,
        "agreement": judge_sounds(judged),
        "changes": judge_changes(clips, judged, usuals, options.seed),
        "words": judge_words(judged),
    }


def extracted_world(world: Path, workspace: str, dataset: str) -> dict[str, Any]:
    """Figures of a rendered world's lags. dataset: place in the workspace."""
    folder, truth = DatasetFolder(workspace, dataset), read_clips_truth(world).set_index("clip_id")
    clips = folder.read_clips()
    alone, against = RowReader(workspace, clips), RowReader(workspace, clips, read_usual(folder))
    judged = []
    for row, clip_id in enumerate(clips["clip_id"]):
        about = truth.loc[clip_id]
        by_itself, rows = alone.read(row, SYNCHRONY.name), against.read(row, SYNCHRONY.name)
        judged.append(
            Judged(
                str(clips["challenge"].iat[row]), about["sound_kind"], float(about["lag_s"]),
                float(about["sound_lag_s"]), by_itself.synchrony if isinstance(by_itself, SynchronyRows) else None,
                rows.synchrony if isinstance(rows, SynchronyRows) else None,
            )
        )  # fmt: skip
    return {"lags": judge_lags(judged), "agreement": judge_sounds(judged), "words": judge_words(judged)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--world", type=Path, help="a rendered world's folder")
    parser.add_argument("--workspace", help="that it was extracted into")
    parser.add_argument("--dataset", help="place of its dataset, datasets/<id>; default: the newest")
    options = parser.parse_args()
    if options.world:
        from benchmarks.world import newest_dataset

        workspace = options.workspace or f"{options.world}-workspace"
        name, results = (
            "synchrony-extracted",
            extracted_world(options.world, workspace, options.dataset or newest_dataset(workspace)),
        )
    else:
        world = replace(WorldOptions(), seed=options.seed, clips=options.clips, creators=max(1, options.clips * 3 // 8))
        name, results = "synchrony", made_world(world)
    for part, figures in results.items():
        if isinstance(figures, dict) and part != "lags_by_challenge":
            print(table([[name, value] for name, value in figures.items()], [part, ""]), "\n")
    for dance, figures in results.get("lags_by_challenge", {}).items():
        print(dance.ljust(12), {name: round(value, 3) for name, value in figures.items()})
    save(name, results)


if __name__ == "__main__":
    main()

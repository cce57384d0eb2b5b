"""Music of a clip and of all clips, as the page gets it: true to the rows, short, with a reason where there is none."""

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.modalities.audio import AudioRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.synchrony import SYNCHRONY, SynchronyRows
from pipeline.music.references import CountedClip, Usual
from pipeline.report.music import (
    CURVES_HZ,
    LEAST_HZ,
    LINES,
    NONE_USUAL,
    SAMPLES,
    UNKNOWN,
    PageMusic,
    challenge_music,
    music_entry,
)
from pipeline.report.values import Pace, pace
from tests.support.feature_rows import audio_rows
from tests.support.learnable_world import Clip, dancing
from tests.support.made_reports import built, contents, make

SECONDS, BPM = 8, 120.0
WHOLE = Pace(CURVES_HZ, 100.0)


def clicks(beats: np.ndarray) -> AudioRows:
    """Sound about its beats, each a little louder than the one before, and silence between; heard from 0.5 s on."""
    rows = audio_rows(windows=SECONDS, bpm=BPM)
    level, at = np.full(100 * SECONDS, -90.0), np.round(100 * beats).astype(int)
    level[10:20] = 0.0  # of silence that was put before the sound there is nothing to be shown
    level[at - 2] = level[at - 1] = level[at] = level[at + 1] = -20 + np.arange(len(beats))
    onset = np.zeros(100 * SECONDS, np.float32)
    onset[at] = np.arange(1, len(beats) + 1)
    return replace(
        rows,
        log_mel=np.repeat(level[:, None], 64, 1).astype(np.float16),
        onset=onset,
        beats=beats.astype(np.float32),
        beat_confidence=np.linspace(0.5, 1, len(beats)).astype(np.float32),
        heard=np.array([0.5, SECONDS], np.float32),
    )


BEATS = np.arange(0.6, SECONDS - 0.2, 60 / BPM)


def bobbing(late_s: float) -> PoseRows:
    """A dancer whose arms, legs and trunk rest on every beat, so much later."""
    pose = dancing(Clip("clip", frames=10 * SECONDS))
    seconds = pose.grid.timestamp
    still = pose.tracks[1].keypoints[0]
    # Between two rests a limb goes to one side or back: it stands on beats, at either end.
    to_and_fro = -np.cos(np.pi * (seconds - late_s - BEATS[0]) * BPM / 60)
    reach = np.linspace(5, 40, 17)
    keypoints = np.repeat(still[None], len(seconds), 0).astype(np.float64)
    keypoints[..., 0] += to_and_fro[:, None] * reach
    keypoints[..., 1] += to_and_fro[:, None] * reach[::-1]
    keypoints[..., 2] = 0.9
    seen = np.ones(len(seconds), bool)
    lead = replace(pose.tracks[1], keypoints=keypoints.astype(np.float32), valid=seen)
    return replace(pose, tracks=(pose.tracks[0], lead))


def danced(late_s: float, audio: AudioRows) -> SynchronyRows:
    rows = SYNCHRONY.derive({"pose": bobbing(late_s), "audio": audio})
    assert isinstance(rows, SynchronyRows)
    return rows


def unpacked(text: str, kind: str = "u1") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def curves(entry: dict) -> np.ndarray:
    return unpacked(entry["curves"]).reshape(2 + (len(LINES) if entry["dance"] else 0), -1)


def test_loudness_and_onsets_are_where_they_are_heard() -> None:
    entry = music_entry(clicks(BEATS), None, "no_dancer", NONE_USUAL, WHOLE)
    loudness, onsets = curves(entry)
    assert len(loudness) == SECONDS * CURVES_HZ + 1
    peaks = np.round(BEATS * CURVES_HZ).astype(int)
    between = np.round((BEATS[:-1] + 30 / BPM) * CURVES_HZ).astype(int)
    for curve in (loudness, onsets):
        assert curve[peaks].min() > 0
        assert (curve[between] == 0).all()
        assert curve.argmax() == peaks[-1]
        assert curve.max() == 255
    assert (loudness[peaks - 1] == 0).all()
    assert (loudness[peaks + 1] == 0).all()
    assert (np.diff(loudness[peaks].astype(int)) > 0).all()
    assert loudness[: int(0.5 * CURVES_HZ)].max() == 0, "before the sound begins"
    assert entry["heard"] == [0.5, SECONDS]


def test_beats_keep_their_time_and_their_confidence() -> None:
    entry = music_entry(clicks(BEATS), None, "", NONE_USUAL, WHOLE)
    assert unpacked(entry["beats"], "<u2") / 100 == pytest.approx(BEATS, abs=0.006)
    assert unpacked(entry["confidence"]) / 255 == pytest.approx(np.linspace(0.5, 1, len(BEATS)), abs=0.003)
    assert entry["tempo"] == BPM


@pytest.mark.parametrize("late_s", [0.0, 0.12])
def test_speeds_and_kinematic_beats_are_the_dancers(late_s: float) -> None:
    audio = clicks(BEATS)
    entry = music_entry(audio, danced(late_s, audio), "", NONE_USUAL, WHOLE)
    speeds, dance = curves(entry)[2:], entry["dance"]
    assert len(speeds) == len(LINES) == len(dance["top"]) == len(dance["kinematic_counts"])
    ends = np.cumsum(dance["kinematic_counts"])
    for line, kinematic in zip(speeds, np.split(unpacked(dance["kinematic"], "<u2") / 100, ends[:-1]), strict=True):
        assert line.max() >= 250
        assert len(kinematic) >= len(BEATS) - 4
        away = np.abs(kinematic[:, None] - late_s - BEATS).min(1)
        assert np.median(away) < 0.04
        # Slow at kinematic beats, fast between them.
        at = np.round(kinematic * CURVES_HZ).astype(int)
        assert line[at].mean() < 100 < line[line > 0].mean()
    assert ends[-1] == len(unpacked(dance["kinematic"], "<u2"))


def test_the_lag_counts_against_the_challenges_usual_one_and_has_its_error() -> None:
    audio = clicks(BEATS)
    rows = danced(0.12, audio)
    alone = music_entry(audio, rows, "", NONE_USUAL, WHOLE)["dance"]
    usual = Usual(0.05, 0.03)
    dance = music_entry(audio, SYNCHRONY.relate(rows, usual), "", usual, WHOLE)["dance"]
    assert alone["clip_lag"] == pytest.approx(0.12, abs=0.03)
    assert dance["clip_lag"] == pytest.approx(alone["clip_lag"] - 0.05, abs=0.001)
    assert dance["clip_lag_error"] == pytest.approx(np.hypot(alone["clip_lag_error"], 0.03))
    middle, lag, error = unpacked(dance["lag"], "<i2").reshape(3, -1)
    assert middle[:3].tolist() == [150, 200, 250]
    known = lag != UNKNOWN
    assert known.mean() > 0.7
    assert lag[known] / 1000 == pytest.approx(rows.synchrony.lag_s[known] - 0.05, abs=0.001)
    assert error[known] / 1000 == pytest.approx(rows.synchrony.lag_error_s[known], abs=0.001)
    assert 0 < dance["strength"] <= 1


def test_a_window_without_a_lag_is_unknown() -> None:
    audio = clicks(BEATS)
    rows = danced(0.0, audio)
    lag = rows.synchrony.lag_s.copy()
    lag[1] = np.nan
    rows = replace(rows, synchrony=replace(rows.synchrony, lag_s=lag, clip_lag_s=float("nan")))
    dance = music_entry(audio, rows, "", NONE_USUAL, WHOLE)["dance"]
    packed = unpacked(dance["lag"], "<i2").reshape(3, -1)
    assert (packed[1:, 1] == UNKNOWN).all()
    assert (packed[1:, [0, 2]] != UNKNOWN).all()
    assert dance["clip_lag"] is None


def test_a_piece_of_a_long_clip_holds_nothing_of_the_rest() -> None:
    audio = clicks(BEATS)
    entry = music_entry(audio, danced(0.0, audio), "", NONE_USUAL, Pace(LEAST_HZ, 3.0))
    assert entry["seconds"] == 3
    assert curves(entry).shape[1] == 3 * LEAST_HZ + 1
    for times in (unpacked(entry["beats"], "<u2"), unpacked(entry["dance"]["kinematic"], "<u2"),
                  unpacked(entry["dance"]["lag"], "<i2").reshape(3, -1)[0]):  # fmt: skip
        assert len(times) > 0
        assert times.max() < 300
    assert len(unpacked(entry["confidence"])) == len(unpacked(entry["beats"], "<u2"))
    assert sum(entry["dance"]["kinematic_counts"]) == len(unpacked(entry["dance"]["kinematic"], "<u2"))


@pytest.mark.parametrize("clips", [1, 1000, 5000, 50_000])
def test_however_many_clips_their_music_fits(clips: int) -> None:
    """An entry of a clip with kinematic beats four times a second in every line."""
    seconds = np.random.default_rng(0).uniform(3, 60, clips)
    chosen = pace(seconds.tolist(), SAMPLES, CURVES_HZ, LEAST_HZ)
    shown = np.minimum(seconds, chosen.seconds)
    curve = (2 + len(LINES)) * (shown * chosen.rate + 1)
    times = shown * (3 * 2 + 4 * 2 * len(LINES) + 2 * 6)  # beats, kinematic beats, windows of lag
    assert (curve + times).sum() * 4 / 3 < 11e6 + 400 * clips


def test_the_page_holds_no_more_of_the_sound_than_two_curves_and_its_beats() -> None:
    entry = music_entry(clicks(BEATS), None, "", NONE_USUAL, WHOLE)
    assert len(curves(entry)) == 2
    assert set(entry) == {
        "seconds", "hz", "tempo", "tempo_confidence", "heard", "beats", "confidence", "why", "dance", "curves",
    }  # fmt: skip


# --- over a run


def entries(page_data: tuple[dict, list]) -> dict[str, dict]:
    payload, media = page_data
    return {payload["clips"]["id"][int(row)]: entry for block in media for row, entry in block.items()}


def test_every_clip_that_is_heard_has_its_music_and_every_other_its_reason(page_data: tuple[dict, list]) -> None:
    payload, _ = page_data
    clips = payload["clips"]
    of = entries(page_data)
    code = dict(zip(clips["id"], clips["without_sound"], strict=True))
    assert code["later"] == "silent"
    assert of["later"]["music"] is None
    assert "broken" not in of
    assert of["nobody"]["music"]["why"] == "no_dancer"
    assert {name for name in code if code[name]} == {"later"}, "a clip that was not read has no reason of its sound"
    heard = [name for name in of if of[name]["music"]]
    assert len(heard) == 25
    assert all(of[name]["music"]["dance"] for name in heard if name != "nobody")


def test_the_sound_of_all_clips_is_counted(page_data: tuple[dict, list]) -> None:
    payload, _ = page_data
    sound = payload["data"]["sound"]
    (silent,) = sound["codes"]
    assert (silent["code"], silent["count"], silent["clips"]) == ("silent", 1, ["later"])
    assert "nothing is to be heard" in silent["meaning"]
    assert (sound["decoded"], sound["heard"], sound["with_tempo"]) == (26, 25, 25)
    clips = payload["clips"]
    assert sound["same"]["clips"] == sum(one is not None for one in clips["same_sound"])
    for challenge in payload["challenges"]:
        assert challenge["tempo"] == [112, 112, 112]
    assert sum(challenge["tempo_clips"] for challenge in payload["challenges"]) == 25


def test_a_challenge_says_what_is_usual_in_it(workspace: str) -> None:
    run = contents(workspace)
    of_first = np.flatnonzero(run.clips["challenge"] == "shuffle")[:5].tolist()
    tempo = dict(zip(of_first, (100.0, 110.0, 112.0, 114.0, 200.0), strict=True))
    reference = CountedClip(np.zeros((4, 24), np.float32), np.zeros((4, 64), np.float32))
    usual = {"shuffle": Usual(0.03, 0.01, (reference,)), "wave": Usual()}
    fields = challenge_music(run, PageMusic({}, tempo, usual))
    assert fields == {
        "shuffle": {"tempo": [112, 110, 114], "tempo_clips": 5, "usual_lag": [0.03, 0.01]},
        "wave": {"tempo": None, "tempo_clips": 0, "usual_lag": None},
    }


def test_without_the_sound_nothing_is_said_of_it(few_clips: Path) -> None:
    payload, media = built(str(few_clips))
    assert payload["data"]["sound"] is None
    assert all(one is None for one in payload["clips"]["without_sound"])
    assert all(entry["music"] is None for entry in entries((payload, media)).values())
    assert all(challenge["tempo"] is None for challenge in payload["challenges"])


def test_without_poses_the_sound_is_there_and_no_dancer(tmp_path: Path) -> None:
    payload, media = built(make(tmp_path / "ws", modalities=("scene", "audio")))
    of = entries((payload, media))
    assert len(of) == 25
    assert {entry["music"]["why"] for entry in of.values()} == {"no_pose"}
    assert payload["titles"]["audio"] == "sound"

"""The modality of synchrony: from poses and sound to what the model reads, and no rows where nothing follows."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.synchrony import MadeClip, audio_rows, derive, make_clips, pose_rows
from models.virality.config import VdvConfig
from pipeline.modalities.audio import AudioRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.synchrony import FEATURES, SYNCHRONY, SynchronyRows, window_features
from pipeline.music.references import Usual
from simulation.music.timing import heard_interval
from simulation.world import WorldOptions

NO_FACES = np.zeros(0, np.int64)
CONFIG = VdvConfig()


@pytest.fixture(scope="module")
def clips() -> list[MadeClip]:
    made = make_clips(WorldOptions(seed=503, clips=12, creators=6, challenges=1, broken=0.0))
    return [clip for clip in made if clip.script.sound.kind == "music"]


@pytest.fixture(scope="module")
def rows(clips: list[MadeClip]) -> SynchronyRows:
    found = derive(clips[0])
    assert isinstance(found, SynchronyRows)
    return found


def sources(clip: MadeClip) -> tuple[PoseRows, AudioRows]:
    return clip.pose, audio_rows("clip", clip.sound, heard_interval(clip.script))


def column(rows: SynchronyRows, name: str) -> np.ndarray:
    return window_features(rows.synchrony)[:, FEATURES.index(name)]


def test_rows_are_the_windows_of_the_clip(clips: list[MadeClip], rows: SynchronyRows) -> None:
    assert rows.clip_id == clips[0].script.clip_id
    synchrony = rows.synchrony
    np.testing.assert_allclose(rows.grid.timestamp, (synchrony.start_s + synchrony.end_s) / 2)
    assert rows.grid.frame_index.tolist() == list(range(len(synchrony.start_s)))
    spec = SYNCHRONY.input_spec(None)
    given = SYNCHRONY.read_input(rows, spec, CONFIG, NO_FACES, 0.7)
    assert given.values.shape == (len(synchrony.start_s), spec.width) == (len(given.mask), len(FEATURES))
    assert given.mask.numpy().tolist() == np.isfinite(synchrony.strength).tolist()
    assert given.values.isfinite().all()
    assert given.values.abs().max() < 10
    assert float(given.quality) == pytest.approx(0.7)
    empty = SYNCHRONY.read_input(None, spec, CONFIG, NO_FACES, 0.0)
    assert empty.values.shape == (0, spec.width)


def test_nothing_follows_without_a_dancer_or_a_beat(clips: list[MadeClip]) -> None:
    pose, audio = sources(clips[0])
    assert SYNCHRONY.derive({"pose": pose, "audio": audio}) is not None
    nobody = replace(pose, tracks=())
    (lead,) = pose.tracks
    unseen = replace(pose, tracks=(replace(lead, valid=np.zeros_like(lead.valid)),))
    unsure = replace(pose, tracks=(replace(lead, keypoints=lead.keypoints * np.array([1, 1, 0.1], np.float32)),))
    for lacking in (nobody, unseen, unsure):
        assert SYNCHRONY.derive({"pose": lacking, "audio": audio}) is None
    silent = audio_rows("clip", np.zeros_like(clips[0].sound), (0.0, 7.0))
    assert not len(silent.beats)
    assert SYNCHRONY.derive({"pose": pose, "audio": silent}) is None


def test_lags_count_from_the_usual_one(rows: SynchronyRows) -> None:
    lag = rows.synchrony.clip_lag_s
    late = SYNCHRONY.relate(rows, Usual(lag_s=lag - 0.15))
    usual = SYNCHRONY.relate(rows, Usual(lag_s=lag))
    early = SYNCHRONY.relate(rows, Usual(lag_s=lag + 0.15))
    for related, sign in ((late, 1), (usual, 0), (early, -1)):
        np.testing.assert_allclose(column(related, "clip_lag"), 1.5 * sign, atol=1e-3)
        np.testing.assert_allclose(column(related, "clip_away"), 1.5 * abs(sign), atol=1e-3)
    assert column(usual, "agreement").mean() > 1.5 * column(late, "agreement").mean()
    assert column(usual, "clip_close").min() > 0.99
    assert column(late, "late").mean() > 1 > column(late, "early").mean()
    assert column(early, "early").mean() > 1 > column(early, "late").mean()


def test_what_is_not_known_is_said_so_and_is_no_number(rows: SynchronyRows) -> None:
    synchrony = rows.synchrony
    lag = synchrony.lag_s.copy()
    lag[2] = np.nan
    values = window_features(replace(synchrony, lag_s=lag))
    assert np.isfinite(values).all()
    assert values[2, FEATURES.index("known")] == 0
    assert values[2, FEATURES.index("lag")] == values[2, FEATURES.index("agreement")] == 0
    assert values[3, FEATURES.index("known")] == 1


def test_quality_is_how_well_motion_and_music_are_there_not_how_well_they_agree(clips: list[MadeClip]) -> None:
    clip = clips[0]
    pose, audio = sources(clip)
    other = clips[1].sound[: len(clip.sound)]  # the same track at another beat
    aligned, not_aligned = derive(clip), derive(clip, other, (0.0, len(other) / 16_000))
    assert aligned is not None
    assert not_aligned is not None
    both = [SYNCHRONY.quality(one, 1.0, NO_FACES) for one in (aligned, not_aligned)]
    assert both[0] == pytest.approx(both[1], abs=0.1)
    assert both[0] > 0.6
    assert SYNCHRONY.quality(aligned, 0.5, NO_FACES) == pytest.approx(both[0] / 2)
    (lead,) = pose.tracks
    half = np.arange(len(lead.valid)) < len(lead.valid) / 2
    seldom = SYNCHRONY.derive({"pose": replace(pose, tracks=(replace(lead, valid=half),)), "audio": audio})
    assert seldom is not None
    doubtful = replace(audio, beat_confidence=audio.beat_confidence * np.float32(0.5))
    unsure = SYNCHRONY.derive({"pose": pose, "audio": doubtful})
    assert unsure is not None
    assert SYNCHRONY.quality(unsure, 1.0, NO_FACES) == pytest.approx(both[0] / 2, rel=0.01)


def test_references_survive_their_table(clips: list[MadeClip]) -> None:
    """Flat arrays, as a table gives them back, tell the same as the clips themselves."""
    found = [derive(clip) for clip in clips]
    references = [SYNCHRONY.reference(one) for one in found if one is not None]
    usual = SYNCHRONY.find_usual([{name: array.ravel() for name, array in one.items()} for one in references])
    assert abs(usual.lag_s) < 0.1
    assert 0 < len(usual.references) <= len(references)
    assert all(reference.pose.ndim == reference.sound.ndim == 2 for reference in usual.references)
    related = [SYNCHRONY.relate(one, usual).synchrony for one in found if one is not None]
    errors = [abs(one.clip_lag_s - clip.lag_s) for one, clip in zip(related, clips, strict=True)]
    assert np.median(errors) < 0.03


def test_frames_that_come_unevenly_change_little(clips: list[MadeClip]) -> None:
    """Phones of a variable rate: each frame at its own time, some missing."""
    clip = clips[0]
    (lead,) = clip.pose.tracks
    kept = np.random.default_rng(0).random(len(lead.valid)) > 0.15
    seconds = clip.pose.grid.timestamp[kept]
    thinned = replace(clip, pose=pose_rows("clip", seconds, lead.keypoints[kept]))
    whole, some = derive(clip), derive(thinned)
    assert some.synchrony.clip_lag_s == pytest.approx(whole.synchrony.clip_lag_s, abs=0.03)

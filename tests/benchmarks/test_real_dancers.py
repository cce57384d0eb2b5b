"""What the benchmark of real dancers asks of a clip, asked of one whose dancer is known to keep the beat."""

import dataclasses

import numpy as np

from benchmarks.real_dancers import PIECE_S, RealClip, judge, local_test
from benchmarks.synchrony import derive, make_clips, pose_rows
from models.extractors.audio.networks import SAMPLE_HZ
from simulation.music.timing import heard_interval
from simulation.world import WorldOptions


def test_a_dancer_who_keeps_the_beat_passes_and_one_who_stands_still_does_not() -> None:
    world = WorldOptions(seed=504, clips=32, creators=12, challenges=1)
    made = next(clip for clip in make_clips(world) if (rows := derive(clip)) and rows.synchrony.clip_strength > 0.6)
    clip = RealClip("keeps", made.pose, made.sound, heard_interval(made.script))
    judged = judge(clip, [])
    assert judged["lag known"]
    assert judged["windows known"] > 0.8 * judged["windows"]
    assert judged["halves agree"]
    assert judged["shifted: lag follows"] == "10 of 10"
    assert judged["p of 1"] < 0.01
    assert judged["p of 2"] > 0.01
    assert judged["apart: speeds"] < 0.05
    found, tried = map(int, judged["by chance"].split(" of "))
    assert found <= 0.1 * tried
    assert tried > 20

    (dancer,) = made.pose.tracks
    still = dataclasses.replace(dancer, keypoints=np.repeat(dancer.keypoints[:1], len(dancer.keypoints), axis=0))
    judged = judge(dataclasses.replace(clip, pose=dataclasses.replace(made.pose, tracks=(still,))), [clip])
    assert not judged["lag known"]
    assert judged["swapped: lag known"] == "0 of 1"


def test_a_wave_is_found_at_its_own_period_and_phase_only() -> None:
    rng = np.random.default_rng(0)
    beat = np.linspace(0.0, 20.0, 100)
    row = np.cos(2 * np.pi * beat / 4 - 1.0) + rng.normal(0.0, 1.0, len(beat))
    found, phase = local_test(beat, row, 4)
    assert found < 0.01
    assert abs(phase - 1.0) < 0.5
    assert all(local_test(beat, row, beats)[0] > 0.05 for beats in (1, 2))
    crowded = row + 2 * np.cos(2 * np.pi * beat * (1 / 4 + 2 / 20))
    assert local_test(beat, crowded, 4)[0] > 0.05


def test_a_long_clip_without_one_tempo_is_cut_into_pieces_on_clocks_of_their_own() -> None:
    seconds = np.arange(0, 25, 0.1)
    keypoints = np.ones((len(seconds), 17, 3), np.float32)
    keypoints[:, :, 0] = seconds[:, None]
    sound = np.linspace(0, 1e-3, 25 * SAMPLE_HZ, dtype=np.float32)
    clip = RealClip("show", pose_rows("show", seconds, keypoints), sound, (0.0, 25.0))
    _, second = clip.pieces()
    assert second.clip_id == "show from 10 s"
    assert second.sound[0] == sound[10 * SAMPLE_HZ]
    assert len(second.sound) == PIECE_S * SAMPLE_HZ
    (lead,) = second.pose.tracks
    np.testing.assert_allclose(lead.keypoints[:, 0, 0] - second.pose.grid.timestamp, 10, atol=1e-4)
    short = dataclasses.replace(clip, heard=(0.0, 9.0))
    assert short.pieces() == [short]

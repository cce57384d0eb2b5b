"""What the benchmark of real dancers asks of a clip, asked of one whose dancer is known to keep the beat."""

import dataclasses

import numpy as np

from benchmarks.real_dancers import RealClip, judge
from benchmarks.synchrony import derive, make_clips
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

    (dancer,) = made.pose.tracks
    still = dataclasses.replace(dancer, keypoints=np.repeat(dancer.keypoints[:1], len(dancer.keypoints), axis=0))
    judged = judge(dataclasses.replace(clip, pose=dataclasses.replace(made.pose, tracks=(still,))), [clip])
    assert not judged["lag known"]
    assert judged["swapped: lag known"] == "0 of 1"

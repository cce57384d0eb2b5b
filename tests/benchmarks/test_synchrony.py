"""The benchmark of synchrony on a small world: it finds what is planted, and sees sound that does not belong."""

import pytest

from benchmarks.synchrony import (
    Judged,
    derive,
    judge_lags,
    judge_words,
    made_world,
    make_clips,
    shifted,
    swapped,
)
from pipeline.music.synchrony import wrapped
from simulation.world import WorldOptions

WORLD = WorldOptions(seed=504, clips=32, creators=12, challenges=1)


def test_figures_of_a_small_world_are_good() -> None:
    figures = made_world(WORLD)
    lags, changes = figures["lags"], figures["changes"]
    assert lags["clips"] > 20
    assert lags["known"] > 0.8
    assert lags["spearman"] > 0.85
    assert lags["median_error_s"] < 0.02
    assert changes["shifted_in_time_falls"] > 0.85
    assert changes["swapped_in_time_falls"] > 0.85
    assert changes["shifted_as_true"] > 0.85
    assert abs(changes["shifted_would_fall"] - changes["shifted_falls"]) < 0.1
    assert changes["other_tempo"] > 20
    assert changes["other_tempo_known"] < 0.15
    assert figures["agreement"]["music"] > 0.3
    assert figures["agreement"].get("other_track", 0) < 0.15


def test_a_shift_moves_the_lag_the_other_way_and_a_swap_takes_it_away() -> None:
    clips = [clip for clip in make_clips(WORLD) if clip.script.sound.kind == "music"]
    clip, found = next((clip, rows) for clip in clips if (rows := derive(clip)) and rows.synchrony.clip_strength > 0.6)
    moved = shifted(clip, 0.1)
    assert moved is not None
    change = moved.synchrony.clip_lag_s - found.synchrony.clip_lag_s
    assert wrapped(change, found.synchrony.period_s) == pytest.approx(-0.1, abs=0.02)  # the sound is later
    other = next(clip for clip in make_clips(WorldOptions(seed=505, clips=8, creators=3)) if
                 clip.script.dance == "wave" and len(clip.sound) and clip.script.sound.kind == "music")  # fmt: skip
    alien = swapped(clip, other)
    assert alien is None or alien.synchrony.clip_strength < 0.7 * found.synchrony.clip_strength


def test_wrong_lags_make_bad_figures() -> None:
    clips = list(make_clips(WORLD))
    judged: list[Judged] = []
    for clip in clips:
        rows = derive(clip)
        synchrony = rows.synchrony if rows else None
        judged.append(
            Judged(
                "x", clip.script.sound.kind, clip.lag_s + 0.2 * (-1) ** len(judged), clip.script.sound.lag_s, synchrony,
                synchrony,
            )
        )  # fmt: skip
    figures = judge_lags(judged)
    assert figures["median_error_s"] > 0.15
    assert figures["wrong"] > 0.8
    assert judge_words(judged)["clearly_off"] > 0

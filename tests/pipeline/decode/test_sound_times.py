"""Sound whose timestamps jump, tremble, stand still, wrap or start anew, on the clock of the pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.core.options import SOUND_HZ
from pipeline.decode.sound import _Clock, _Mix
from pipeline.decode.timeline import Timeline
from tests.support.heard_films import CLICKS, EARLY, NO_B, PCM, SECONDS, heard, track
from tests.support.made_films import joined
from tests.support.sounded_films import SoundTrack, film, onsets_s


def test_rates_and_channels_may_change_midway(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [{"rate": 44_100}, {"rate": 48_000, "layout": "mono"}, {"rate": 32_000}]
    parts = [film(tmp_path / f"{number}.ts", track(**kind)) for number, kind in enumerate(kinds)]
    sound = heard(joined(tmp_path / "joined.ts", parts))
    assert sound.code == ""
    at_s = [click_s + SECONDS * part for part in range(3) for click_s in CLICKS]
    np.testing.assert_allclose(onsets_s(sound.samples), at_s, atol=4e-3)


def test_a_change_without_a_gap_leaves_none() -> None:
    mix = _Mix(2.0)
    for second, (rate, layout, channels) in enumerate([(48_000, "stereo", 2), (44_100, "mono", 1)]):
        for start in range(0, rate, rate // 50):
            times = (start + np.arange(rate // 50)) / rate
            tone = 0.5 * np.sin(2 * np.pi * 440 * times).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone] * channels), "fltp", layout)
            frame.sample_rate = rate
            assert mix.add(frame, second + start / rate)
    mix.flush()
    expected = 16384 * np.sin(2 * np.pi * 440 * np.arange(2 * SOUND_HZ) / SOUND_HZ)
    away = np.abs(mix.mono()[100:-100] - expected[100:-100])
    assert away[:15_000].max() < 200
    assert away[16_800:].max() < 200
    assert away.max() < 8000  # at the joint the filters of both ring


def test_of_timestamps_that_wrap_around_the_near_ones_are_meant() -> None:
    wrap_s = 2**33 / 90_000
    timeline = Timeline(0.04, breaks=True, wrap_s=wrap_s)
    list(timeline.place([(wrap_s - 1 + number / 25, 0.04, None) for number in range(50)]))
    clock = _Clock(timeline)
    assert clock.place(-1.2, None) == pytest.approx(-0.2)
    assert clock.place(wrap_s - 0.9, -0.1) == pytest.approx(0.1)
    assert clock.place(0.5, 1.4) == pytest.approx(1.5)


@pytest.mark.parametrize("second_from_s", [0.0, 3600.0], ids=["anew", "an_hour_on"])
def test_sound_follows_the_pictures_where_timestamps_start_anew(second_from_s: float, tmp_path: Path) -> None:
    parts = [
        film(tmp_path / f"{start}.ts", replace(track(**EARLY), from_s=start), pictures_from_s=start + 0.5)
        for start in (0.0, second_from_s)
    ]
    sound = heard(joined(tmp_path / "joined.ts", parts))
    at_s = [click_s + SECONDS * part for part in range(2) for click_s in CLICKS]
    np.testing.assert_allclose(onsets_s(sound.samples), at_s, atol=4e-3)


@pytest.mark.parametrize("name", ["gap.mkv", "gap.ts", "gap.mp4"])
def test_a_gap_in_the_timestamps_is_zeros(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 2 * 44_100)).astype(np.float32)
    path = film(tmp_path / name, SoundTrack(noise, gaps=[(1.0, 0.8)]))
    sound = heard(path)
    assert sound.heard == pytest.approx((0.0, 2.8), abs=0.03)
    quiet = np.flatnonzero(sound.samples == 0)
    longest = max(np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1), key=len)
    limits = longest[[0, -1]] / SOUND_HZ
    longest_but_last = longest if limits[1] < 2.7 else quiet[quiet < 2.7 * SOUND_HZ]
    np.testing.assert_allclose(longest_but_last[[0, -1]] / SOUND_HZ, (1.0, 1.8), atol=0.06)


def test_trembling_timestamps_leave_no_gaps(tmp_path: Path) -> None:
    """As browsers record: 20 ms a packet, and times that are up to 9 ms off."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * 48_000) / 48_000).astype(np.float32)
    shifts = np.random.default_rng(2).uniform(-0.009, 0.009, 150)
    shifts[0] = 0.009
    path = film(tmp_path / "a.mkv", SoundTrack(tone[None], 48_000, "pcm_s16le", "mono"), options=NO_B)
    moved = _moved(path, tmp_path / "b.mkv", lambda number: float(shifts[number % len(shifts)]))
    still, sound = heard(path).samples.astype(float), heard(moved).samples.astype(float)
    lags = range(-200, 201)
    best = max(lags, key=lambda lag: float((np.roll(still, lag) * sound)[1000:-1000].sum()))
    assert abs(best) < 0.002 * SOUND_HZ  # the first packet alone is 9 ms late
    assert np.abs(sound - np.roll(still, best))[1000:-1000].max() < 600


def test_timestamps_that_stand_still_are_not_believed(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", track(**PCM), options=NO_B)
    sound = heard(_moved(path, tmp_path / "b.mkv", lambda number: -1e9))
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)


def test_more_sound_than_there_is_time_for_ends_it(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", track(seconds=90.0, **PCM), options=NO_B)
    slow = _moved(path, tmp_path / "b.mkv", lambda number: number * (0.001 - 1024 / 44_100))
    sound = heard(slow)
    assert (sound.code, sound.reason) == ("", "its timestamps contradict each other")


def _moved(path: Path, target: Path, shift_s: Callable[[int], float]) -> Path:
    """The film with the packets of its sound moved in time, though never before 0."""
    with av.open(str(path)) as given, av.open(str(target), "w") as container:
        streams = {stream.index: container.add_stream_from_template(stream) for stream in given.streams}
        number = 0
        for packet in given.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and packet.pts is not None:
                pts = max(0, packet.pts + round(shift_s(number) / packet.time_base))
                packet.pts = packet.dts = pts
                number += 1
            packet.stream = streams[packet.stream_index]
            container.mux(packet)
    return target

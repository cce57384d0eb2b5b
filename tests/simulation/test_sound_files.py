"""Sound in a clip's file: when it is heard after decoding, and that pictures and likes are as they were without it."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from simulation.filming.recording import record
from simulation.music.clip_sound import ClipSound, clip_sound, on_clock, resampled
from simulation.music.timing import true_beats
from simulation.render import render_clip
from simulation.script import ClipScript, Phone
from simulation.truth import PEOPLE, clips_table
from simulation.world import LikesOptions, Upload, WorldOptions, content_log_likes, make_world

RATE = 16_000
PHONE = Phone(96, 128, 30.0, False, 0, "h264", 30, "")
ENCODINGS = [("aac", 44_100, 2), ("aac", 48_000, 1), ("aac", 22_050, 1), ("aac", 16_000, 1), ("opus", 48_000, 2)]
WORLD = WorldOptions(seed=505, clips=64, creators=24)
SMALL = WorldOptions(seed=5, clips=2, creators=2, seconds=(0.5, 0.8), broken=0)

# Of the world SMALL as it was rendered before clips had sound: the first and the last frame, grey, 4 x 6 px.
PICTURES = {
    "w5-0000": ("4648483e6e5a5a4d675d614b505a644d616155505c66665d", "4648483e6e5a5a4a6b5d604c50556e4d616056535c67675f"),
    "w5-0001": ("2e34645e27556b755c805e6f508b625152754a48647b7a63", "2e33625d26516a745080646e507a7c494d646049627b7c62"),
}
# Of the world of seed 9 with hidden modalities, as it was before clips had sound: its scripts, its likes.
SCRIPTS, LIKES = "9780652d9c07c514dda44f145b751042", "e2a67b1024b25660dfae64b8c9946ef9"


def frames(count: int) -> Iterator[np.ndarray]:
    return (np.full((PHONE.height, PHONE.width, 3), 4 * (index % 60), np.uint8) for index in range(count))


def music_script() -> ClipScript:
    return next(upload.script for upload in make_world(WORLD) if upload.script.sound.kind == "music")


def heard(path: Path, seconds: float) -> np.ndarray:
    """The sound of a file on the clock of its pictures, float32 [N] mono at RATE."""
    with av.open(str(path)) as file:
        zero = next(file.decode(video=0)).time
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        rate, parts, begin = stream.codec_context.sample_rate, [], None
        for frame in file.decode(stream):
            begin = frame.time if begin is None else begin
            samples = frame.to_ndarray().astype(np.float32)
            channels = frame.layout.nb_channels
            parts.append(samples.mean(0) if len(samples) == channels else samples.reshape(-1, channels).mean(1))
    assert begin is not None
    assert zero is not None
    found = ClipSound(np.concatenate(parts), rate, begin - zero, "", 1, 0, (0, 0), np.empty(0))
    return on_clock(found, seconds, RATE)


@pytest.mark.parametrize("start_s", [0.0, 0.3, -0.2])
@pytest.mark.parametrize(("codec", "rate", "channels"), ENCODINGS)
def test_a_click_at_a_beat_is_heard_at_that_beat_after_decoding(
    tmp_path: Path, codec: str, rate: int, channels: int, start_s: float
) -> None:
    script = music_script()
    script = dataclasses.replace(
        script, duration_s=4.0, sound=dataclasses.replace(script.sound, start_offset_s=start_s)
    )
    beats = true_beats(script)[1:-1]
    samples = np.zeros(round((4.0 - start_s) * rate), np.float32)
    click = 0.8 * np.sin(2 * np.pi * 1_500 * np.arange(rate // 100) / rate)
    for beat in beats:
        samples[round((beat - start_s) * rate) :][: len(click)] = click
    sound = ClipSound(samples, rate, start_s, codec, channels, 48_000 * channels, (0, 4), beats)
    record(tmp_path / "clip.mp4", frames(120), np.arange(120) / 30, PHONE, sound)
    decoded = np.abs(heard(tmp_path / "clip.mp4", 4.0))
    assert len(beats) > 3
    for beat in beats:
        around = decoded[round((beat - 0.1) * RATE) : round((beat + 0.1) * RATE)]
        begins = np.flatnonzero(around > 0.3 * around.max())[0] / RATE - 0.1
        assert abs(begins) < 0.002, (beat, begins)


def test_the_music_of_uploads_is_in_their_files_when_and_as_long_as_their_scripts_say(tmp_path: Path) -> None:
    habits = {"late": (0.4, 0.0), "early": (-0.15, 0.0), "longer": (0.0, 1.0), "shorter": (0.0, -0.8)}
    for name, (start_s, end_s) in habits.items():
        script = music_script()
        sound = dataclasses.replace(script.sound, start_offset_s=start_s, end_offset_s=end_s)
        script = dataclasses.replace(script, duration_s=3.0, sound=sound)
        made = clip_sound(script)
        assert made is not None
        record(tmp_path / f"{name}.mp4", frames(90), np.arange(90) / 30, PHONE, made)
        decoded, expected = heard(tmp_path / f"{name}.mp4", 3.0), on_clock(made, 3.0, RATE)
        shifts = np.arange(-80, 81)  # 5 ms
        alike = [np.corrcoef(decoded[100:-100], np.roll(expected, shift)[100:-100])[0, 1] for shift in shifts]
        assert max(alike) > 0.9, name
        assert abs(shifts[int(np.argmax(alike))]) <= 32, name  # 2 ms
        first, last = (max(0.0, start_s), 3.0 + min(0.0, end_s))
        assert made.heard == pytest.approx((first, last))
        assert not (np.abs(decoded[: int((first - 0.07) * RATE)]) > 0.01).any() if first else True
        assert not (np.abs(decoded[int((last + 0.07) * RATE) :]) > 0.01).any()
        with av.open(str(tmp_path / f"{name}.mp4")) as file:
            assert (file.duration or 0) / av.time_base == pytest.approx(max(3.0, 3.0 + end_s), abs=0.08), name


def test_a_file_has_silence_or_no_audio_stream_where_its_script_says_so(tmp_path: Path) -> None:
    scripts = {upload.script.sound.kind: upload.script for upload in make_world(WORLD)}
    for kind in ("silent", "none"):
        record(tmp_path / f"{kind}.mp4", frames(60), np.arange(60) / 30, PHONE, clip_sound(scripts[kind]))
    assert not heard(tmp_path / "silent.mp4", 2.0).any()
    with av.open(str(tmp_path / "none.mp4")) as file:
        assert not file.streams.audio
        assert file.streams.video


def test_stereo_is_wide_and_its_mean_is_the_sound_itself(tmp_path: Path) -> None:
    sound = clip_sound(music_script())
    assert sound is not None
    sound = dataclasses.replace(sound, channels=2, bitrate=192_000, rate=44_100, codec="aac",
                                samples=0.5 * resampled(sound.samples, sound.rate, 44_100))  # fmt: skip
    record(tmp_path / "clip.mp4", frames(60), np.arange(60) / 30, PHONE, sound)
    with av.open(str(tmp_path / "clip.mp4")) as file:
        left, right = np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], axis=1)
    assert 0.5 < np.corrcoef(left, right)[0, 1] < 0.99
    mean, size = (left + right) / 2, 44_100
    assert np.corrcoef(mean[:size], sound.samples[:size])[0, 1] > 0.95


def packets(path: Path) -> list[tuple[bytes, Any, Any]]:
    with av.open(str(path)) as file:
        return [(bytes(packet), packet.pts, packet.dts) for packet in file.demux(video=0) if packet.size]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_pictures_of_a_file_are_the_same_bytes_with_sound_and_without(tmp_path: Path, codec: str) -> None:
    phone, seconds = dataclasses.replace(PHONE, codec=codec), np.arange(40) / 30
    record(tmp_path / "mute.mp4", frames(40), seconds, phone)
    record(tmp_path / "sound.mp4", frames(40), seconds, phone, clip_sound(music_script()))
    assert packets(tmp_path / "sound.mp4") == packets(tmp_path / "mute.mp4")
    with av.open(str(tmp_path / "sound.mp4")) as file:
        assert file.streams.audio


def test_pictures_are_those_of_the_world_before_it_had_sound(tmp_path: Path) -> None:
    """Networks that were trained on them stay valid."""
    for name in ("clips", PEOPLE):
        (tmp_path / name).mkdir(parents=True)
    for upload in make_world(SMALL):
        render_clip(tmp_path, upload)
        with av.open(str(tmp_path / upload.uri)) as file:
            assert bool(file.streams.audio) == (upload.script.sound.kind != "none")
            pictures = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
        for picture, before in zip((pictures[0], pictures[-1]), PICTURES[upload.script.clip_id], strict=True):
            small = cv2.resize(picture, (4, 6), interpolation=cv2.INTER_AREA).astype(int)
            # Another processor's pictures differ by about 1.
            assert np.abs(small.ravel() - np.frombuffer(bytes.fromhex(before), np.uint8)).max() <= 2


def plain(value: Any) -> Any:
    """A script without what sound has brought, numbers to nine digits."""
    if dataclasses.is_dataclass(value):
        names = [item.name for item in dataclasses.fields(value) if item.name != "sound"]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if name != "synchrony"}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:32]


def test_scripts_and_likes_are_those_of_the_world_before_it_had_sound() -> None:
    uploads = make_world(WorldOptions(seed=9, hidden=0.4))
    assert digest([upload.likes for upload in uploads]) == LIKES
    assert digest([plain(upload) for upload in uploads]) == SCRIPTS


def without_likes(upload: Upload) -> Upload:
    return dataclasses.replace(upload, likes=0, script=dataclasses.replace(upload.script, likes={}))


def test_a_weight_of_synchrony_changes_the_likes_by_its_term_and_nothing_else() -> None:
    default = make_world(WORLD)
    music = make_world(dataclasses.replace(WORLD, likes=LikesOptions(synchrony=1.2)))
    table = clips_table(music)
    assert [without_likes(upload) for upload in default] == [without_likes(upload) for upload in music]
    np.testing.assert_allclose(table["likes_synchrony"], 1.2 * (table["synchrony"] - 0.5))
    assert table["likes_synchrony"].std() == pytest.approx(table["likes_look"].std(), rel=0.5)
    for one, other in zip(default, music, strict=True):
        assert one.script.likes["synchrony"] == 0
        difference = content_log_likes(other) - content_log_likes(one)
        assert difference == pytest.approx(other.script.likes["synchrony"])
    assert [one.likes for one in default] != [other.likes for other in music]


def test_the_truth_says_what_is_heard() -> None:
    uploads = make_world(WORLD)
    table = clips_table(uploads).set_index("clip_id")
    for upload in uploads:
        row, sound = table.loc[upload.script.clip_id], upload.script.sound
        assert row["sound_kind"] == sound.kind
        musical = sound.kind in ("music", "voice_over", "other_track")
        assert np.isfinite(row["bpm"]) == musical
        assert np.isfinite(row["lag_s"]) == (sound.kind in ("music", "voice_over"))
        beats = true_beats(upload.script)
        assert len(beats) == 0 if not musical else np.diff(beats) == pytest.approx(60 / row["bpm"])
        assert (row["heard_end_s"] > row["heard_start_s"]) == (sound.kind != "none")
    assert {"aac", "opus"} == set(table["sound_codec"])
    assert (table["sound_start_offset_s"] < 0).any()
    assert (table["sound_start_offset_s"] > 0).any()
    assert (table["sound_end_offset_s"] < -0.05).any()
    assert (table["sound_end_offset_s"] > 0.05).any()
    assert table["sound_room"].gt(0).any()
    assert table["sound_rate"].nunique() >= 4

"""Sound of small films of every kind on the clock of their pictures: clicks are where they were put."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from pipeline.core.errors import SOUND_CODES
from pipeline.core.options import SOUND_HZ
from tests.support.heard_films import (
    CLICKS,
    EARLY,
    LATE,
    NO_B,
    OPUS,
    PCM,
    SAMPLING,
    SECONDS,
    CountedSource,
    heard,
    restamped,
    track,
)
from tests.support.sounded_films import FPS, SoundTrack, clicks, film, onsets_s

WRAP_S = 2**33 // 90_000 - 1.0  # 1 s and more before the clock of MPEG streams begins again
FILMS: dict[str, Callable[[Path], Path]] = {
    "aac.mp4": lambda path: film(path, track()),
    "aac_of_low_rate.mp4": lambda path: film(path, track(rate=8000, layout="mono")),
    "aac_in_fragments.mp4": lambda path: film(path, track(), movflags="frag_keyframe+empty_moov"),
    "aac_without_edit_list.mp4": lambda path: film(path, track(), use_editlist="0"),
    "aac.flv": lambda path: film(path, track()),
    "aac.ts": lambda path: film(path, track()),
    "aac_that_wraps.ts": lambda path: film(path, track(from_s=WRAP_S), pictures_from_s=WRAP_S, mpegts_copyts="1"),
    "opus.webm": lambda path: film(path, track(**OPUS), codec="libvpx"),
    "opus.mp4": lambda path: film(path, track(**OPUS)),
    "pcm.mov": lambda path: film(path, track(**PCM)),
    "pcm.avi": lambda path: film(path, track(**PCM)),
    "mp3.mp4": lambda path: film(path, track(codec="mp3")),
    "mp2.mpg": lambda path: film(path, track(codec="mp2", rate=48_000), codec="mpeg2video", format="vob"),
    "flac_96.mkv": lambda path: film(path, track(codec="flac", rate=96_000)),
    "ac3_5.1.mkv": lambda path: film(path, track(codec="ac3", rate=48_000, layout="5.1")),
    "early.mp4": lambda path: film(path, track(**EARLY), pictures_from_s=0.5),
    "early.webm": lambda path: film(path, track(**EARLY, **OPUS), pictures_from_s=0.5, codec="libvpx"),
    "early.ts": lambda path: film(path, track(**EARLY), pictures_from_s=0.5),
    "early.mov": lambda path: film(path, track(**EARLY, **PCM), pictures_from_s=0.5),
    "edited.mp4": lambda path: film(path, track(), pictures_from_s=-10 / FPS, seconds=SECONDS + 10 / FPS),
    "both_edited.mp4": lambda path: film(
        path, track(lead_s=0.4, seconds=SECONDS + 0.4, from_s=-0.4), pictures_from_s=-0.5, seconds=SECONDS + 0.5
    ),
    "9_channels.mkv": lambda path: film(path, track(**PCM, layout="9 channels")),
    "ambisonics.mkv": lambda path: film(
        path, track(**OPUS, layout="ambisonic 1", options={"mapping_family": "2"}), codec="libvpx"
    ),
}


@pytest.mark.parametrize("name", FILMS)
def test_clicks_are_heard_when_they_were_made(name: str, tmp_path: Path) -> None:
    sound = heard(FILMS[name](tmp_path / name))
    assert (sound.code, sound.reason) == ("", "")
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)
    assert sound.heard[0] < 0.01
    assert sound.heard[1] > SECONDS - 0.03


@pytest.mark.parametrize(
    ("name", "kind"),
    [("late.mp4", {}), ("late.ts", {}), ("late.mov", PCM), ("late.webm", OPUS)],
)
def test_sound_that_starts_late_has_zeros_before_it(name: str, kind: dict, tmp_path: Path) -> None:
    path = film(tmp_path / name, track(**LATE, **kind), codec="libvpx" if name.endswith("webm") else "libx264")
    sound = heard(path)
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS[1:], atol=2e-3)
    assert sound.heard[0] == pytest.approx(0.5, abs=0.03)  # an encoder's first samples are the ones before
    assert not sound.samples[: round(0.45 * SOUND_HZ)].any()


def test_sound_longer_or_shorter_than_the_pictures_lasts_as_long_as_they_do(tmp_path: Path) -> None:
    longer = heard(film(tmp_path / "longer.mp4", track(seconds=9.0)))
    assert longer.heard == (0.0, SECONDS)
    shorter = heard(film(tmp_path / "shorter.mp4", track(seconds=1.5)))
    assert shorter.heard == pytest.approx((0.0, 1.5), abs=0.03)
    assert not shorter.samples[round(1.6 * SOUND_HZ) :].any()
    np.testing.assert_allclose(onsets_s(shorter.samples), CLICKS[:2], atol=2e-3)


def test_sound_ends_where_the_clip_is_not_looked_at_any_more(tmp_path: Path) -> None:
    sound = heard(film(tmp_path / "a.mp4", track()), replace(SAMPLING, max_seconds=2.0))
    assert (len(sound.samples), sound.heard) == (2 * SOUND_HZ, (0.0, 2.0))


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_either_decoder_of_the_pictures_gives_the_same_zero(decoder: str, tmp_path: Path) -> None:
    path = film(tmp_path / "early.mp4", track(**EARLY), pictures_from_s=0.5)
    sound = heard(path, replace(SAMPLING, decoder=decoder))
    np.testing.assert_array_equal(sound.samples, heard(path).samples)
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)


# Sound that cannot be used


def test_what_cannot_be_heard_has_a_code_and_no_samples(tmp_path: Path) -> None:
    silence = SoundTrack(np.zeros((2, 3 * 44_100), np.float32))
    noise = replace(silence, samples=np.random.default_rng(0).normal(0, 1e-4, (2, 3 * 44_100)).astype(np.float32))
    after = replace(track(), from_s=5.0)
    renamed = film(tmp_path / "renamed.mkv", track())
    renamed.write_bytes(renamed.read_bytes().replace(b"A_AAC", b"A_AAX"))
    given = {
        film(tmp_path / "none.mp4"): ("no_sound", "the file has no audio stream"),
        film(tmp_path / "silence.mp4", silence): ("silent", "the sound is silence"),
        film(tmp_path / "hiss_of_a_converter.mp4", noise): ("silent", "the sound is silence"),
        film(tmp_path / "after.mp4", after): ("silent", "no sound lies in the time of the pictures"),
        renamed: ("undecodable", "FFmpeg has no decoder for its codec"),
    }
    for path, expected in given.items():
        sound = heard(path)
        assert (sound.code, sound.reason) == expected, path.name
        assert (len(sound.samples), sound.heard) == (0, (0.0, 0.0))


def test_the_page_on_endings_has_every_code_of_sound_and_how_many_films_are_tried() -> None:
    page = (Path(__file__).parents[3] / "docs" / "clip-endings.md").read_text()
    assert dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", page, re.MULTILINE)) == SOUND_CODES
    assert f"of {len(FILMS)} kinds of codec" in page


@pytest.mark.parametrize(("name", "kind"), [("a.mp4", {}), ("a.mkv", {"codec": "flac"})])
def test_a_damaged_sound_is_used_as_far_as_it_goes(name: str, kind: dict, tmp_path: Path) -> None:
    path = film(tmp_path / name, track(**kind))
    whole = heard(path).samples
    _spoil(path, 1.5)
    sound = heard(path)
    assert sound.code == ""
    assert sound.reason.startswith("damaged 1.")
    assert sound.heard == pytest.approx((0.0, 1.5), abs=0.11)
    end = round(sound.heard[1] * SOUND_HZ)
    np.testing.assert_array_equal(sound.samples[: end - 100], whole[: end - 100])
    assert not sound.samples[end + 100 :].any()


@pytest.mark.parametrize("step_ms", [100_000, 1_000, -1_200])
@pytest.mark.parametrize("at_ms", [0, 1_000, 1_500])  # 1,000: the piece after it has a click
def test_one_wrong_timestamp_costs_its_piece_of_sound_at_most(at_ms: int, step_ms: int, tmp_path: Path) -> None:
    wrong: list[int] = []

    def change(stamp_ms: int) -> int:
        if wrong or stamp_ms < at_ms:
            return stamp_ms
        wrong.append(stamp_ms)
        return max(0, stamp_ms + step_ms)

    sound = heard(restamped(film(tmp_path / "a.flv", track()), change))
    assert wrong
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)
    assert sound.heard[1] > SECONDS - 0.03


def test_timestamps_behind_the_pictures_time_and_again_end_no_sound(tmp_path: Path) -> None:
    """By 100 s, in one piece of ten: more than a second of sound in all."""
    seconds, seen = 16.0, iter(range(10_000))
    track_of = track(seconds=seconds, rate=8000, layout="mono")
    path = film(tmp_path / "a.flv", track_of, seconds=seconds)
    sound = heard(restamped(path, lambda stamp_ms: stamp_ms + (100_000 if next(seen) % 10 == 9 else 0)))
    assert sound.heard[1] > seconds - 0.3


@pytest.mark.parametrize("from_s", [SECONDS, SECONDS + 0.1])
@pytest.mark.parametrize("kind", [{}, PCM])
def test_damage_behind_the_last_picture_is_none_of_the_clip(kind: dict, from_s: float, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", track(seconds=2 * SECONDS, **kind))
    whole = heard(path)
    data = bytearray(path.read_bytes())
    behind = min(start for start, _ in _places(path, from_s))
    data[behind::7] = b"\xff" * len(data[behind::7])  # packets and what the container says of them
    path.write_bytes(data)
    sound = heard(path)
    assert (sound.code, sound.reason) == (whole.code, whole.reason) == ("", "")
    np.testing.assert_array_equal(sound.samples, whole.samples)


def test_damage_before_the_first_sound_is_passed_over(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", track())
    _spoil(path, 0.0, 0.1)
    sound = heard(path)
    assert (sound.code, sound.reason) == ("", "")
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)


def test_sound_that_is_damaged_throughout_is_undecodable_and_says_why(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", track())
    _spoil(path, -1.0)
    sound = heard(path)
    assert sound.code == "undecodable"
    assert sound.reason.startswith("damaged 0.00 s into the clip")


def test_a_file_that_is_cut_off_is_heard_to_where_it_is(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", track(seconds=6.0), seconds=6.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sound = heard(path)
    assert sound.code == ""
    assert 1.0 < sound.heard[1] < 5.0
    np.testing.assert_allclose(onsets_s(sound.samples)[:2], CLICKS[:2], atol=2e-3)


def _spoil(path: Path, from_s: float, to_s: float = 1e9) -> None:
    """Fill the file's packets of sound from one time to another with ones."""
    data = bytearray(path.read_bytes())
    for start, size in _places(path, from_s, to_s):
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)


def _places(path: Path, from_s: float, to_s: float = 1e9) -> list[tuple[int, int]]:
    """First byte and length of the file's packets of sound from one time to another."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        packets = [p for p in container.demux(stream) if p.size and from_s <= float((p.pts or 0) * p.time_base) < to_s]
        return [(data.index(bytes(packet), packet.pos), packet.size) for packet in packets]


# Which sound, and how much of it


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize(
    "marks",
    [Disposition.visual_impaired, Disposition.hearing_impaired, Disposition.comment, Disposition(0)],
    ids=["for_the_blind", "for_the_deaf", "commentary", "not_default"],
)
def test_the_sound_that_a_player_plays_is_taken(name: str, marks: Disposition, tmp_path: Path) -> None:
    other = SoundTrack(clicks([0.6], SECONDS), marks=marks | (marks and Disposition.default))
    meant = replace(track(), marks=Disposition.default if not marks else Disposition(0))
    sound = heard(film(tmp_path / name, other, meant))
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)


def test_of_equal_streams_the_first_is_taken(tmp_path: Path) -> None:
    sound = heard(film(tmp_path / "a.mkv", track(), SoundTrack(clicks([0.6], SECONDS))))
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)


def test_of_those_that_are_left_the_default_is_taken(tmp_path: Path) -> None:
    comment = SoundTrack(clicks([0.6], SECONDS), marks=Disposition.comment | Disposition.default)
    other = SoundTrack(clicks([0.9], SECONDS), marks=Disposition(0))
    sound = heard(film(tmp_path / "a.mkv", comment, other, replace(track(), marks=Disposition.default)))
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)


def test_a_sound_that_nothing_here_decodes_is_not_preferred(tmp_path: Path) -> None:
    unknown = SoundTrack(clicks([0.6], SECONDS, 48_000), 48_000, "ac3", marks=Disposition.default)
    path = film(tmp_path / "a.mkv", unknown, replace(track(), marks=Disposition(0)))
    path.write_bytes(path.read_bytes().replace(b"A_AC3", b"A_ACX"))
    np.testing.assert_allclose(onsets_s(heard(path).samples), CLICKS, atol=2e-3)


def test_channels_out_of_phase_do_not_cancel(tmp_path: Path) -> None:
    left = clicks(CLICKS, SECONDS, channels=1)
    apart = heard(film(tmp_path / "apart.mov", SoundTrack(np.concatenate([left, -left]), codec="pcm_s16le")))
    alike = heard(film(tmp_path / "alike.mov", SoundTrack(np.concatenate([left, left]), codec="pcm_s16le")))
    one = heard(film(tmp_path / "one.mov", SoundTrack(np.concatenate([left, 0 * left]), codec="pcm_s16le")))
    np.testing.assert_allclose(apart.samples, alike.samples, atol=2)
    np.testing.assert_allclose(2 * one.samples.astype(int), alike.samples, atol=3)
    assert np.abs(alike.samples.astype(int)).max() == pytest.approx(0.7 * 32768, rel=0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [SOUND_HZ, 44_100])
def test_samples_that_are_no_numbers_are_silence(value: float, rate: int, tmp_path: Path) -> None:
    samples = clicks(CLICKS, SECONDS, rate)
    samples[:, rate // 10 : rate // 5] = value
    sound = heard(film(tmp_path / "some.mkv", SoundTrack(samples, rate, "pcm_f32le")))
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)
    samples[:] = value
    assert heard(film(tmp_path / "all.mkv", SoundTrack(samples, rate, "pcm_f32le"))).code == "silent"


def test_no_more_is_read_and_decoded_than_is_needed(tmp_path: Path) -> None:
    """Half an hour of sound under three seconds of pictures."""
    sound = track(seconds=1800.0, rate=8000, layout="mono", codec="pcm_s16le")
    paths = film(tmp_path / "a.mkv", sound), film(tmp_path / "a.mov", sound, movflags="faststart")
    for path in paths:
        source = CountedSource(path)
        found = heard(path, source=source)
        np.testing.assert_allclose(onsets_s(found.samples), CLICKS, atol=2e-3)
        assert not found.reason
        assert source.read < 0.02 * source.size_bytes


def test_pictures_are_not_read_again_for_the_sound(tmp_path: Path) -> None:
    sound = track(rate=8000, layout="mono", codec="pcm_s16le")
    source = CountedSource(film(tmp_path / "a.mov", sound, size=(1920, 1080), codec="mjpeg", movflags="faststart"))
    np.testing.assert_allclose(onsets_s(heard(Path(source.name), source=source).samples), CLICKS, atol=2e-3)
    assert source.read < 0.75 * source.size_bytes


def test_what_lies_long_before_the_first_picture_is_not_decoded(tmp_path: Path) -> None:
    late = 600.0
    path = film(tmp_path / "a.mp4", track(late, late + SECONDS, rate=8000, layout="mono"), pictures_from_s=late)
    sound = heard(path)
    assert (sound.code, sound.reason) == ("", "")  # else more would come than there is time for
    np.testing.assert_allclose(onsets_s(sound.samples), CLICKS, atol=2e-3)


def test_sound_of_too_many_samples_a_second_is_not_decoded(tmp_path: Path) -> None:
    layout, rate = "64 channels", 768_000
    sound = SoundTrack(clicks(CLICKS[:1], 0.5, rate, 64), rate, "pcm_s16le", layout)
    bomb = heard(film(tmp_path / "a.mkv", sound, options=NO_B))
    assert bomb.code == "undecodable"
    assert bomb.reason == "64 channels of 768000 Hz are more than 8000000 samples a second"

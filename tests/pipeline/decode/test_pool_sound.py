"""Sound through the pool of decode workers: behind the pictures, whatever it does to its worker."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.options import SOUND_HZ, DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, Sound
from tests.pipeline.decode.test_pool import hostile  # noqa: F401 (a fixture)
from tests.pipeline.decode.test_sound import CLICKS, SECONDS, heard, track
from tests.support.sounded_films import FPS, SoundTrack, film, onsets_s

LIMITS = DecodeLimits(slot_mb=1)


def run(jobs: Iterable[DecodeJob], limits: DecodeLimits = LIMITS) -> list[Chunk | Sound | Ending]:
    """The events of jobs, with their pictures and samples copied."""
    events: list[Chunk | Sound | Ending] = []
    with DecodePool(SamplingOptions(), limits, 1) as pool:
        for event in pool.run(jobs):
            if isinstance(event, Ending):
                events.append(event)
                continue
            if isinstance(event, Chunk):
                events.append(replace(event, frames=event.frames.copy()))
            else:
                events.append(replace(event, samples=event.samples.copy()))
            event.release()
    return events


def only_sound(path: Path, limits: DecodeLimits = LIMITS) -> tuple[list[Sound], Ending]:
    *sounds, ending = run([DecodeJob("film", str(path), (), sound=True)], limits)
    assert all(isinstance(sound, Sound) for sound in sounds)
    assert isinstance(ending, Ending)
    return sounds, ending  # type: ignore[return-value]


def test_the_sound_comes_between_the_pictures_and_the_ending(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", track())
    events = run([DecodeJob("film", str(path), (2,), sound=True)])
    assert [type(event) for event in events] == [Chunk, Sound, Ending]
    sound = events[1]
    assert isinstance(sound, Sound)
    assert (sound.clip_id, sound.attempt, sound.code, sound.reason) == ("film", 1, "", "")
    np.testing.assert_array_equal(sound.samples, heard(path).samples)
    assert sound.heard == heard(path).heard


def test_sound_is_decoded_only_where_it_is_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", track())
    assert [type(event) for event in run([DecodeJob("film", str(path), (1,))])] == [Chunk, Ending]


def test_without_pictures_a_clip_ends_as_with_them(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", track())
    with_pictures, *_ = (event for event in run([DecodeJob("a", str(path), (1,))]) if isinstance(event, Ending))
    sounds, ending = only_sound(path)
    assert len(sounds) == 1
    assert replace(ending, clip_id="a", decode_s=0.0) == replace(with_pictures, decode_s=0.0)
    assert (ending.frames, ending.width, ending.height) == (SECONDS * 10, 64, 48)


def test_a_frame_that_fits_no_slot_fails_its_clip_whatever_is_asked_for(tmp_path: Path) -> None:
    large = film(tmp_path / "a.mp4", track(), size=(960, 540))
    sounds, ending = only_sound(large)
    assert (sounds, ending.status, ending.code) == ([], "failed", "too_large")


@pytest.mark.parametrize("slots", [1, 3])
def test_a_sound_larger_than_a_slot_comes_in_one_piece(slots: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 50 * SOUND_HZ)).astype(np.float32)
    path = film(tmp_path / "a.mov", SoundTrack(noise, SOUND_HZ, "pcm_s16le", "mono"), seconds=50.0, codec="mjpeg")
    limits = replace(LIMITS, slots=slots)
    events = run([DecodeJob(name, str(path), (), sound=True) for name in "ab"], limits)
    sounds = [event for event in events if isinstance(event, Sound)]
    assert [sound.clip_id for sound in sounds] == ["a", "b"]
    for sound in sounds:
        assert sound.samples.nbytes == 2 * 50 * SOUND_HZ > 2**20
        np.testing.assert_allclose(sound.samples, noise[0] * 32767, atol=1.0)


def test_what_a_consumer_holds_is_not_written_over(tmp_path: Path) -> None:
    paths = [film(tmp_path / f"{number}.mp4", track(seconds=1.2 * (1 + number % 2))) for number in range(6)]
    held: list[tuple[Sound, np.ndarray]] = []
    with DecodePool(SamplingOptions(), replace(LIMITS, slots=2), 1) as pool:
        for event in pool.run(DecodeJob(path.stem, str(path), (), sound=True) for path in paths):
            if isinstance(event, Sound):
                assert not event.samples.flags.writeable
                held.append((event, event.samples.copy()))
                if len(held) == 2:
                    sound, copied = held.pop(0)
                    np.testing.assert_array_equal(sound.samples, copied)
                    sound.release()
                    sound.release()


@pytest.mark.parametrize("code", ["no_sound", "silent", "undecodable"])
def test_a_sound_that_cannot_be_used_says_why_and_the_clip_is_ok(code: str, tmp_path: Path) -> None:
    silence = SoundTrack(np.zeros((2, 3 * 44_100), np.float32))
    path = film(tmp_path / "a.mkv", *{"no_sound": [], "silent": [silence], "undecodable": [track()]}[code])
    if code == "undecodable":
        path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_AAX"))
    ((sound,), ending) = only_sound(path)
    assert (sound.code, len(sound.samples), sound.heard) == (code, 0, (0.0, 0.0))
    assert sound.reason
    assert (ending.status, ending.code) == ("ok", "")


def test_a_clip_whose_pictures_fail_has_no_sound(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", track())
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/AVX"))
    sounds, ending = only_sound(path)
    assert (sounds, ending.status) == ([], "failed")


# What sound does to its worker


@pytest.mark.parametrize(
    ("kind", "attempts", "reason"),
    [("segfault", 2, "SIGSEGV"), ("ask", 2, "memory limit"), ("spin", 1, "not done after 3 s")],
)
def test_a_sound_that_takes_its_worker_down_costs_the_sound_alone(
    kind: str,
    attempts: int,
    reason: str,
    tmp_path: Path,
    hostile: None,  # noqa: F811
) -> None:
    bad = film(tmp_path / f"sound-{kind}-1.mp4", track())
    good = film(tmp_path / "good.mp4", track())
    limits = replace(LIMITS, deadline_s=3.0, memory_limit_mb=1024)
    events = run([DecodeJob(path.stem, str(path), (1,), sound=True) for path in (bad, good)], limits)
    endings = {event.clip_id: event for event in events if isinstance(event, Ending)}
    sounds = {event.clip_id: event for event in events if isinstance(event, Sound)}
    expected = (SECONDS * FPS * 10 / FPS, attempts)
    for ending, tries in ((endings[bad.stem], attempts), (endings["good"], 1)):
        assert (ending.status, ending.code, ending.reason) == ("ok", "", "")
        assert (ending.frames, ending.attempts, ending.width) == (expected[0], tries, 64)
        assert ending.sketches
    assert (sounds[bad.stem].code, sounds[bad.stem].attempt) == ("undecodable", attempts)
    assert reason in sounds[bad.stem].reason
    np.testing.assert_allclose(onsets_s(sounds["good"].samples), CLICKS, atol=2e-3)


def test_a_crash_that_passes_costs_one_more_attempt(tmp_path: Path, hostile: None) -> None:  # noqa: F811
    ((sound,), ending) = only_sound(film(tmp_path / "once-sound-segfault-1.mp4", track()))
    assert (sound.attempt, sound.code, ending.status, ending.attempts) == (2, "", "ok", 2)


def test_a_worker_that_dies_behind_the_sound_has_it_sent_again(tmp_path: Path, hostile: None) -> None:  # noqa: F811
    sounds, ending = only_sound(film(tmp_path / "once-done-segfault-1.mp4", track()))
    assert [(sound.attempt, sound.code) for sound in sounds] == [(1, ""), (2, "")]
    np.testing.assert_array_equal(sounds[0].samples, sounds[1].samples)
    assert (ending.status, ending.attempts) == ("ok", 2)

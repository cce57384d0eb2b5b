"""Music of the simulated world: its tracks, its times against the dance, the value of synchrony."""

import dataclasses

import numpy as np
import pytest
from scipy import signal

from simulation.dancers.performance import DELAY_BEATS, limb_delays, music_clock, perform
from simulation.music.clip_sound import clip_sound, on_clock
from simulation.music.composition import BAR, BEATS, compose
from simulation.music.instruments import DRUMS, KITS, RATE, TIMBRES, drum, note
from simulation.music.styles import OTHER_TRACKS, draw_style, style_of
from simulation.music.timing import OUT_OF_TIME_S, synchrony_value, tempo_bpm, true_beats, true_lag_s
from simulation.music.tracks import add_to_loop, synthesise, track
from simulation.script import DANCES, IN_TIME, LIMBS, MUSICAL, ClipScript, Fault, Skill, SoundScript
from simulation.world import WorldOptions, make_world

SCRIPTS = [upload.script for upload in make_world(WorldOptions(seed=503, clips=96, creators=36))]


def script_of(kind: str) -> ClipScript:
    return next(script for script in SCRIPTS if script.sound.kind == kind)


def with_sound(script: ClipScript, **changes: object) -> ClipScript:
    return dataclasses.replace(script, sound=dataclasses.replace(script.sound, **changes))  # type: ignore[arg-type]


def with_skill(script: ClipScript, **changes: float) -> ClipScript:
    lead = script.people[0]
    lead = dataclasses.replace(lead, skill=dataclasses.replace(lead.skill, **changes))
    return dataclasses.replace(script, people=(lead, *script.people[1:]))


def onset_strength(samples: np.ndarray) -> np.ndarray:
    """Half-wave rectified difference of loudness in 24 bands of equal musical width, float [T] at 100 Hz."""
    hz, _, spectrum = signal.stft(samples, RATE, nperseg=1024, noverlap=1024 - RATE // 100, padded=False)
    band = np.digitize(hz, np.geomspace(40, 12_000, 25))
    power = np.stack([np.square(np.abs(spectrum[band == one])).sum(0) for one in np.unique(band)])
    return np.asarray(np.maximum(np.diff(power**0.25, axis=1), 0).mean(axis=0))


@pytest.mark.parametrize("kit", KITS)
def test_every_stroke_of_a_kit_begins_at_its_first_sample_and_dies_away(kit: str) -> None:
    for name in DRUMS:
        stroke = np.abs(drum(kit, name))
        assert stroke.max() == pytest.approx(1)
        loud = np.flatnonzero(stroke > 0.3)
        assert loud[0] < 0.015 * RATE, name
        assert stroke[-50:].max() < 0.05, name


@pytest.mark.parametrize("timbre", TIMBRES)
def test_a_note_has_its_pitch(timbre: str) -> None:
    sound = note(timbre, 57, 1.0)  # A3, 220 Hz
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hz = np.fft.rfftfreq(len(sound), 1 / RATE)
    below = hz < 330
    assert hz[below][spectrum[below].argmax()] == pytest.approx(220, abs=4)
    high = note(timbre, 93, 1.0)  # 1,760 Hz
    spectrum = np.abs(np.fft.rfft(high * np.hanning(len(high))))
    hz = np.fft.rfftfreq(len(high), 1 / RATE)
    assert spectrum[hz < 1_600].max() < 0.01 * spectrum.max()  # nothing folds back


def test_every_challenge_has_a_track_of_its_own_style_at_the_tempo_of_its_dance() -> None:
    styles = [style_of(dance) for dance in DANCES]
    assert len({style.style for style in styles}) == len({(style.key, style.mode) for style in styles}) == len(DANCES)
    assert max(style.energy for style in styles) - min(style.energy for style in styles) > 0.5
    for script in SCRIPTS[: len(DANCES)]:
        lead = script.people[0]
        assert music_clock(script.dance, lead)[1] * 60 == pytest.approx(style_of(script.dance).bpm, rel=0.021)


def test_the_same_properties_give_the_same_track_and_another_seed_another() -> None:
    style = draw_style(9)
    assert np.array_equal(synthesise(style).loop, synthesise(style).loop)
    other = synthesise(dataclasses.replace(style, seed=10)).loop
    assert np.corrcoef(synthesise(style).loop, other)[0, 1] < 0.95
    assert draw_style(10) != style


@pytest.mark.parametrize("name", [*DANCES, *OTHER_TRACKS])
def test_a_person_could_tap_the_beat_of_a_track(name: str) -> None:
    """More begins on beats than anywhere between them."""
    music = track(name)
    strength = onset_strength(music.loop)
    beat = 100 * music.samples_per_beat / RATE
    phases = np.arange(0, 1, 0.125)
    found = []
    for phase in phases:
        at = (np.arange(1, BEATS - 1) + phase) * beat
        found.append(np.mean([strength[int(one) - 3 : int(one) + 4].max() for one in at]))
    assert phases[int(np.argmax(found))] in (0.0, 0.125, 0.875), dict(zip(phases, found, strict=True))
    assert np.abs(music.loop).max() <= 1
    assert np.isfinite(music.loop).all()


def test_beats_are_not_trivial_everywhere() -> None:
    """In some tracks a kick lies off the beat, in some it is missing on most beats, in some it pauses for a section."""
    kicks = {
        dance: np.array([stroke.beat for stroke in compose(style_of(dance)).drums if stroke.drum == "kick"])
        for dance in DANCES
    }
    on_beat = {dance: np.unique(beats[np.abs(beats - beats.round()) < 0.01]) for dance, beats in kicks.items()}
    assert sum(len(on_beat[dance]) < len(np.unique(kicks[dance])) for dance in DANCES) >= 3
    assert sum(len(beats) < 0.6 * BEATS for beats in on_beat.values()) >= 3
    pauses = {dance: np.diff(np.append(np.unique(beats), BEATS + beats.min())).max() for dance, beats in kicks.items()}
    assert sum(pause > 3 * BAR for pause in pauses.values()) >= 3
    assert any(style_of(dance).swing > 0.2 for dance in DANCES)


def test_what_rings_over_the_end_of_a_loop_sounds_at_its_beginning() -> None:
    loop = np.zeros(10, np.float32)
    add_to_loop(loop, np.array([1, 2, 3, 4], np.float32), 8, 0.5)
    add_to_loop(loop, np.array([1], np.float32), 13, 1.0)
    add_to_loop(loop, np.array([1], np.float32), -1, 1.0)
    assert loop.tolist() == [1.5, 2, 0, 1, 0, 0, 0, 0, 0.5, 2]


def speeds(script: ClipScript, seconds: np.ndarray) -> np.ndarray:
    points = perform(script.dance, script.people[0], seconds).points
    return np.asarray(np.linalg.norm(np.gradient(points, seconds, axis=0), axis=2).mean(axis=1))


@pytest.mark.parametrize("lag_s", [0.0, 0.12, -0.1])
def test_a_dancer_with_perfect_timing_stands_still_on_the_beat_or_as_long_after_it_as_the_lag(lag_s: float) -> None:
    for script in [script for script in SCRIPTS if script.sound.kind == "music"][:8]:
        clean = with_skill(script, timing=1.0, sharpness=1.0, amplitude=1.0, balance=1.0)
        clean = with_sound(clean, lag_s=lag_s, start_offset_s=0.0, end_offset_s=0.0)
        seconds = np.arange(0, clean.duration_s, 0.005)
        speed = speeds(clean, seconds)
        shifts = np.arange(-0.24, 0.24, 0.01)
        beats = true_beats(clean)
        beats = beats[(beats > 0.3) & (beats < clean.duration_s - 0.3)]
        mean = [np.interp(beats + shift, seconds, speed).mean() for shift in shifts]
        # A pose is held for about half a beat: the middle of the slow part is where it is on the beat.
        slow = shifts[np.array(mean) < np.quantile(mean, 0.3)]
        assert slow.mean() == pytest.approx(lag_s, abs=0.035), script.dance


def test_the_true_lag_is_how_far_the_body_is_behind_a_dancer_with_perfect_timing() -> None:
    seconds = np.arange(0.5, 5.5, 0.02)
    for script in [script for script in SCRIPTS if script.sound.kind == "music"][:8]:
        poor = with_sound(with_skill(script, timing=0.2, sharpness=0.5), lag_s=0.0)
        late = perform(poor.dance, poor.people[0], seconds).points
        perfect = with_skill(poor, timing=1.0).people[0]
        shifts = np.arange(0.0, 0.3, 0.005)
        off = [np.square(late - perform(poor.dance, perfect, seconds - shift).points).sum() for shift in shifts]
        measured = shifts[int(np.argmin(off))]
        assert true_lag_s(poor) == pytest.approx(measured, abs=0.05)
        beat_s = 60 / tempo_bpm(poor.sound)
        assert true_lag_s(poor) == pytest.approx(0.8 * DELAY_BEATS / 2 * beat_s, abs=0.02)
        assert true_lag_s(with_sound(poor, lag_s=0.25)) == pytest.approx(true_lag_s(poor) + 0.25)
        assert true_lag_s(with_skill(poor, timing=1.0)) == pytest.approx(0.0, abs=1e-9)


def test_a_limb_that_is_late_for_a_while_is_late_by_so_much() -> None:
    lead = dataclasses.replace(SCRIPTS[0].people[0], faults=(Fault("late", "left_arm", 1.0, 5.0, 0.3),))
    plain = limb_delays(SCRIPTS[0].dance, SCRIPTS[0].people[0], np.array([3.0, 6.0]))
    skilled = dataclasses.replace(lead, skill=Skill(1.0, 1.0, 1.0, 1.0))
    delays = limb_delays(SCRIPTS[0].dance, skilled, np.array([3.0, 6.0]))
    expected = np.zeros((len(LIMBS), 2))
    expected[LIMBS.index("left_arm"), 0] = 0.3
    np.testing.assert_allclose(delays, expected, atol=1e-9)
    assert (plain >= 0).mean() > 0.7


def test_true_beats_are_those_of_the_tempo_as_heard_while_something_is_heard() -> None:
    script = with_sound(script_of("music"), start_offset_s=0.7, end_offset_s=-1.0)
    beats = true_beats(script)
    assert np.diff(beats) == pytest.approx(60 / tempo_bpm(script.sound))
    assert beats[0] >= 0.7
    assert beats[-1] <= script.duration_s - 1.0
    assert beats[0] - 60 / tempo_bpm(script.sound) < 0.7
    for kind in ("silent", "none"):
        assert not len(true_beats(script_of(kind)))
    # Music is heard earlier by as much as the dance is late.
    later = with_sound(script, lag_s=script.sound.lag_s + 0.05)
    assert later.sound.speed == script.sound.speed
    shift = (true_beats(later)[:, None] - true_beats(script)[None]).ravel()
    assert np.abs(shift + 0.05).min() < 1e-9


@pytest.mark.parametrize("dance", DANCES)
def test_the_music_of_a_clip_is_its_track_at_its_beats(dance: str) -> None:
    """What is heard at a true beat is what the track has at a beat: one whole track time-scaled fits the clip."""
    script = next(one for one in SCRIPTS if one.dance == dance and one.sound.kind == "music")
    script = with_sound(
        script, room=0.0, gain_db=-6.0, rate=32_000, lag_s=0.1, speed=1.02, start_offset_s=0.0, end_offset_s=0.0
    )
    sound = clip_sound(script)
    assert sound is not None
    np.testing.assert_array_equal(sound.beats, true_beats(script))
    music, first = track(dance), sound.beats[2]
    number = script.sound.start_beat + (first + 0.1) * tempo_bpm(script.sound) / 60
    assert number == pytest.approx(round(number))
    size = int(0.1 * RATE)
    heard = sound.samples[round(first * RATE) :][:size]
    at = round(number) * music.samples_per_beat + np.arange(size) * 1.02
    expected = np.interp(at % len(music.loop), np.arange(len(music.loop)), music.loop)
    low = signal.butter(4, 4_000, fs=RATE, output="sos")  # above, the expected values are interpolated too roughly
    assert np.corrcoef(*signal.sosfiltfilt(low, np.stack([heard, expected])))[0, 1] > 0.98


def test_kinds_of_sound_are_what_they_say() -> None:
    assert clip_sound(script_of("none")) is None
    silent = clip_sound(script_of("silent"))
    assert silent is not None
    assert not silent.samples.any()
    for kind in MUSICAL:
        sound = clip_sound(script_of(kind))
        assert sound is not None
        assert np.sqrt(np.mean(sound.samples**2)) > 0.01
        assert np.abs(sound.samples).max() <= 1
        assert np.isfinite(sound.samples).all()
    other = script_of("other_track")
    assert other.sound.track in OTHER_TRACKS
    talking = with_sound(script_of("voice_over"), room=0.0)
    spoken, plain = clip_sound(talking), clip_sound(with_sound(talking, kind="music"))
    assert spoken is not None
    assert plain is not None
    assert len(true_beats(talking)) == len(plain.beats) > 0
    assert 0.05 < np.corrcoef(spoken.samples, plain.samples)[0, 1] < 0.95  # the music goes on under the voice


def test_on_the_clips_clock_early_sound_is_cut_and_before_late_sound_there_is_silence() -> None:
    script = with_sound(script_of("music"), rate=32_000, room=0.0, start_offset_s=0.0, end_offset_s=0.0)
    seconds = script.duration_s
    plain = on_clock(clip_sound(script), seconds, RATE)
    assert len(plain) == round(seconds * RATE)
    early = on_clock(clip_sound(with_sound(script, start_offset_s=-0.2)), seconds, RATE)
    np.testing.assert_allclose(early[400:-400], plain[400:-400], atol=1e-5)
    late = on_clock(clip_sound(with_sound(script, start_offset_s=0.5, end_offset_s=-0.5)), seconds, RATE)
    assert not late[: RATE // 2].any()
    assert not late[-RATE // 2 :].any()
    np.testing.assert_allclose(
        late[RATE // 2 + 400 : -RATE // 2 - 400], plain[RATE // 2 + 400 : -RATE // 2 - 400], atol=1e-5
    )
    assert not on_clock(None, seconds, RATE).any()
    half = on_clock(clip_sound(script), seconds, RATE // 2)
    assert np.corrcoef(half, signal.resample_poly(plain, 1, 2)[: len(half)])[0, 1] > 0.999


def test_synchrony_is_worth_most_in_time_nothing_from_a_stated_lag_on_and_half_where_nothing_is_heard() -> None:
    script = with_skill(script_of("music"), timing=1.0)
    values = [synchrony_value(with_sound(script, lag_s=lag)) for lag in (0.0, 0.1, 0.2, OUT_OF_TIME_S, 0.35)]
    assert values[0] == 1.0
    assert values[1] == pytest.approx(0.75)
    assert values[2] == pytest.approx(0.25)
    assert values[3:] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert synchrony_value(with_sound(script, lag_s=-0.1)) == pytest.approx(values[1])
    assert synchrony_value(with_skill(script, timing=0.2)) < 0.95
    assert [synchrony_value(script_of(kind)) for kind in ("none", "silent", "other_track")] == [0.5, 0.5, 0.0]


def test_the_share_of_clips_that_is_asked_for_is_clearly_out_of_time_and_the_rest_is_not() -> None:
    def lags(share: float) -> np.ndarray:
        uploads = make_world(WorldOptions(seed=504, clips=400, creators=96, lag=share))
        return np.array([u.script.sound.lag_s for u in uploads if u.script.sound.kind in IN_TIME])

    few, many = lags(0.2), lags(0.6)
    assert (np.abs(lags(0.0)) <= 0.02).all()
    for share, found in ((0.2, few), (0.6, many)):
        out = np.abs(found) > 0.02
        assert out.mean() == pytest.approx(share, abs=0.07)
        assert np.abs(found[out]).min() >= 0.06
        assert found.min() >= -0.15
        assert found.max() <= 0.35
    assert (many < -0.06).any()
    np.testing.assert_array_equal(few[np.abs(few) > 0.02], many[np.abs(few) > 0.02])  # a larger share adds to a smaller


def test_a_clip_without_a_sound_script_is_mute() -> None:
    assert clip_sound(dataclasses.replace(SCRIPTS[0], sound=SoundScript())) is None

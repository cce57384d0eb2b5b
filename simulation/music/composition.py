"""Notes and strokes of a track, from its properties and a seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulation.music.styles import GROOVES, Groove, TrackStyle

BEATS = 64  # of a track, which is a loop: four sections of four bars
SECTION = 16
BAR = 4
_LOUDNESS = {"X": 1.0, "x": 0.62, "o": 0.33}
_HEAVY = ("kick", "snare", "clap", "open", "tom", "crash")  # silent where drums are light

# Roots of the four bars of a section, degrees of the scale.
_PROGRESSIONS = {
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6), (0, 2, 6, 3)),
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (1, 4, 0, 5), (0, 3, 1, 4)),
}
_SCALES = {"minor": (0, 2, 3, 5, 7, 8, 10), "major": (0, 2, 4, 5, 7, 9, 11)}
_PENTATONIC = {"minor": (0, 3, 5, 7, 10), "major": (0, 2, 4, 7, 9)}


@dataclass(frozen=True)
class Stroke:
    """One stroke of a drum."""

    beat: float
    drum: str
    loudness: float  # 0..1


@dataclass(frozen=True)
class Note:
    """One note."""

    beat: float
    beats: float  # length
    midi: int
    loudness: float


@dataclass(frozen=True)
class Score:
    """All that is played in a track."""

    drums: tuple[Stroke, ...]
    bass: tuple[Note, ...]
    chords: tuple[Note, ...]
    melody: tuple[Note, ...]


def compose(style: TrackStyle) -> Score:
    """The score of a track of BEATS beats; beat 0 is a downbeat."""
    rng = np.random.default_rng((style.seed, 32))
    groove = GROOVES[style.style]
    progressions = _PROGRESSIONS[style.mode]
    progression = progressions[int(rng.integers(len(progressions)))]
    theme = _theme(style, rng)
    drums, bass, chords, melody = [], [], [], []
    for section, playing in enumerate(groove.form):
        start = float(section * SECTION)
        if "D" in playing or "d" in playing:
            drums += list(_drums(style, groove, rng, start, light="d" in playing))
        if "R" in playing:
            drums += list(_roll(start))
        for bar, degree in enumerate(progression):
            at = start + bar * BAR
            if "B" in playing:
                bass += _bass(style, groove, degree, at)
            if "C" in playing:
                chords += _chords(style, groove, degree, at)
        if "M" in playing:
            melody += [Note(start + note.beat, note.beats, note.midi, note.loudness) for note in theme]
    return Score(tuple(drums), tuple(bass), tuple(chords), tuple(melody))


def swung(beat: float, swing: float) -> float:
    """The beat at which a step on the grid is played: every second sixteenth is late."""
    return beat + swing / 4 if round(beat * 4) % 2 else beat


def _drums(style: TrackStyle, groove: Groove, rng: np.random.Generator, start: float, light: bool) -> Iterator[Stroke]:
    """One section: the groove, a crash at its beginning, a fill in its last bar."""
    fill = rng.random() < 0.75 and not light
    for drum, steps in groove.drums.items():
        if light and drum in _HEAVY:
            continue
        for step in range(SECTION * 4):
            mark = steps[step % len(steps)]
            if mark == "." or (mark == "o" and rng.random() > 0.3 + style.energy):
                continue
            if fill and step >= SECTION * 4 - 6 and drum in ("snare", "clap", "closed"):
                continue
            loudness = _LOUDNESS[mark] * float(rng.uniform(0.88, 1.0))
            yield Stroke(swung(start + step / 4, style.swing), drum, loudness)
    if fill:
        drums = ("snare", "snare", "tom", "tom", "tom", "snare")
        for step, drum in zip(range(SECTION * 4 - 6, SECTION * 4), drums, strict=True):
            if rng.random() < 0.75:
                yield Stroke(swung(start + step / 4, style.swing), drum, float(rng.uniform(0.5, 0.9)))
    if style.energy > 0.4 and not light:
        yield Stroke(start, "crash", 0.8)


def _roll(start: float) -> Iterator[Stroke]:
    """The build-up of a break: claps on the beats of its second half, at last in sixteenths, ever louder."""
    beats = [*np.arange(8, 12, 1.0), *np.arange(12, 14, 0.5), *np.arange(14, 16, 0.25)]
    for beat in beats:
        yield Stroke(start + float(beat), "clap", 0.2 + 0.05 * (float(beat) - 8))


def _pitch(style: TrackStyle, degree: int, octave: int) -> int:
    """MIDI number of a degree of the track's scale, any integer."""
    scale = _SCALES[style.mode]
    return 12 * octave + style.key + 12 * (degree // 7) + scale[degree % 7]


def _bass(style: TrackStyle, groove: Groove, degree: int, at: float) -> list[Note]:
    root = 28 + (_pitch(style, degree, 2) - 28) % 12  # E1 to D sharp 2
    return [Note(swung(at + beat, style.swing), length, root + up, 0.9) for beat, length, up in groove.bass]


def _chords(style: TrackStyle, groove: Groove, degree: int, at: float) -> list[Note]:
    """Close chords between F sharp 3 and F 4, so that voices move little."""
    steps = (0, 2, 4, 6) if groove.sevenths else (0, 2, 4)
    midis = [54 + (_pitch(style, degree + step, 4) - 54) % 12 for step in steps]
    return [Note(swung(at + beat, style.swing), length, midi, 0.8) for beat, length in groove.chords for midi in midis]


def _theme(style: TrackStyle, rng: np.random.Generator) -> list[Note]:
    """A melody of one section: a phrase of two bars, the same with another end, twice."""
    lively = 0.35 + 0.3 * style.energy
    odds = np.where(np.arange(16) % 2 == 0, lively + 0.2, lively - 0.05)  # of an eighth: the beat, between beats
    steps = np.flatnonzero(rng.random(16) < odds)
    steps = steps if len(steps) >= 4 else np.array([0, 3, 6, 10])
    walk = np.cumsum(rng.choice((-2, -1, -1, 0, 1, 1, 2), (2, len(steps))), axis=1)
    tones = _PENTATONIC[style.mode]
    notes = []
    for phrase in range(2 * SECTION // 16):
        moves = np.where(np.arange(len(steps)) < 0.6 * len(steps), walk[0], walk[phrase % 2])
        for index, step in enumerate(steps):
            position = int(np.clip(moves[index], -4, 5))
            midi = 72 + (style.key + 6) % 12 - 6 + 12 * (position // 5) + tones[position % 5]
            until = steps[index + 1] if index + 1 < len(steps) else 16
            beat = phrase * 8 + step / 2
            notes.append(Note(float(beat), float(min(until - step, 3)) / 2 * 0.9, midi, float(rng.uniform(0.6, 0.9))))
    return notes

"""Styles of music: grooves as drum machines write them, and the properties of the tracks of a world.

A step is a sixteenth, a bar has 16. `X` is a stroke, `x` a softer one, `o` a ghost note.
"""

from dataclasses import dataclass

import numpy as np

from simulation.dancers.choreography import choreography
from simulation.music.instruments import KITS
from simulation.script import DANCES

MODES = ("minor", "major")
OTHER_TRACKS = tuple(f"other_{number}" for number in range(4))  # no challenge dances to them
OTHER_BPM = (84.0, 138.0)
_OTHER_SEED = 7_000_000

Rhythm = tuple[tuple[float, float], ...]  # beat in the bar, length in beats


@dataclass(frozen=True)
class TrackStyle:
    """Properties of a track, and all that determines it."""

    name: str
    style: str  # of GROOVES
    kit: str  # of instruments.KITS
    energy: float  # 0..1: how hard the drums are hit, how many there are, how bright everything is
    mode: str  # of MODES
    key: int  # semitones above C, 0..11
    bpm: float
    swing: float  # delay of every second sixteenth, share of a sixteenth
    seed: int


@dataclass(frozen=True)
class Groove:
    """What makes a style."""

    drums: dict[str, str]  # steps of a bar or two
    bass: tuple[tuple[float, float, int], ...]  # beat in the bar, length in beats, semitones above the root
    bass_timbre: str
    chords: Rhythm
    chord_timbre: str
    melody_timbre: str
    sevenths: bool
    pump: float  # how far the kick presses everything else down (side-chain), 0..1
    reverb: float  # share
    loose_s: float  # standard deviation of strokes from the grid: 0 a machine
    form: tuple[str, str, str, str]  # of a section's instruments: D drums, d light ones, R a roll, B, C, M


GROOVES = {
    "house": Groove(
        {"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..X...X...X...X.",
         "closed": "x.oxx.oxx.oxx.ox"},
        ((0.5, 0.4, 0), (1.5, 0.4, 0), (2.5, 0.4, 12), (3.5, 0.4, 0)), "bass",
        ((0.0, 0.4), (1.5, 0.4), (2.5, 0.6)), "piano", "pluck", True, 0.65, 0.22, 0.0,
        ("DBC", "DBCM", "dCMR", "DBCM"),
    ),
    "funk": Groove(
        {"kick": "X.....x.X.x....o", "snare": "....X..o.o..X..o", "closed": "X.ooX.xoX.ooX.x.",
         "open": "..............x."},
        ((0.0, 0.3, 0), (0.75, 0.2, 12), (1.5, 0.3, 0), (2.25, 0.2, 7), (2.5, 0.3, 10), (3.5, 0.3, 12)), "slap",
        ((0.5, 0.15), (1.25, 0.15), (1.75, 0.2), (3.0, 0.15), (3.75, 0.2)), "guitar", "organ", True, 0.0, 0.10, 0.004,
        ("DB", "DBC", "DBCM", "DBCM"),
    ),
    "rnb": Groove(
        {"kick": "X......x..X.....", "snare": "....X.......X...", "closed": "x.xox.x.x.xox.xo",
         "rim": "..........o....o"},
        ((0.0, 1.4, 0), (1.75, 0.7, 0), (2.5, 1.2, 7)), "sub",
        ((0.0, 1.9), (2.0, 1.9)), "epiano", "flute", True, 0.15, 0.35, 0.005,
        ("CMd", "DBC", "DBCM", "DBC"),
    ),
    "reggaeton": Groove(
        {"kick": "X...X...X...X...", "snare": "...X..X....X..X.", "shaker": "x.x.x.x.x.x.x.x.",
         "conga": "......o......o.o"},
        ((0.0, 0.7, 0), (1.5, 0.4, 0), (2.0, 0.7, 0), (3.5, 0.4, 7)), "sub",
        ((0.75, 0.4), (1.5, 0.4), (2.75, 0.4), (3.5, 0.4)), "pluck", "flute", False, 0.30, 0.18, 0.0,
        ("DBC", "DBM", "DBCM", "DBCM"),
    ),
    "synthwave": Groove(
        {"kick": "X.......X.x.....", "snare": "....X.......X...", "closed": "x.o.x.o.x.o.x.o.",
         "tom": "..............o."},
        tuple((beat / 2, 0.4, 12 * (beat % 4 == 3)) for beat in range(8)), "bass",
        ((0.0, 3.8),), "pad", "lead", False, 0.25, 0.35, 0.0,
        ("dBC", "DBC", "DBCM", "DBCM"),
    ),
    "edm": Groove(
        {"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..X...X...X...X.",
         "closed": "X.xoX.ooX.xoX.oo"},
        tuple((beat + part, 0.22, 0) for beat in range(4) for part in (0.25, 0.5, 0.75)), "bass",
        ((0.0, 0.6), (0.75, 0.6), (1.5, 0.4), (2.0, 0.6), (2.75, 0.6), (3.5, 0.4)), "supersaw", "lead", False, 0.80,
        0.25, 0.0, ("DBC", "DBCM", "CMR", "DBCM"),
    ),
    "garage": Groove(
        {"kick": "X.........X.....X......x..X.....", "snare": "....X.......X...", "closed": "X.xoX.ooX.xoX.oo",
         "rim": ".......o......o.", "shaker": "..x...x...x...x."},
        ((0.0, 0.6, 0), (1.75, 0.3, 0), (2.5, 0.7, 3), (3.5, 0.3, 12)), "sub",
        ((0.5, 0.25), (1.75, 0.4), (2.5, 0.25), (3.25, 0.4)), "organ", "bell", True, 0.35, 0.20, 0.002,
        ("DBC", "DBCM", "dBC", "DBCM"),
    ),
    "afro": Groove(
        {"kick": "X...x...X.....x.", "rim": "X..X..X...X.X...", "shaker": "xoxxxoxxxoxxxoxx",
         "conga": "..o..oX...o..oX.", "snare": "............x..."},
        ((0.0, 0.6, 0), (0.75, 0.5, 0), (2.0, 0.4, 7), (2.75, 0.6, 0), (3.5, 0.4, 12)), "sub",
        ((0.0, 0.3), (0.75, 0.3), (1.5, 0.3), (2.5, 0.3), (3.0, 0.3)), "guitar", "bell", False, 0.10, 0.22, 0.006,
        ("DC", "DBC", "DBCM", "DBM"),
    ),
    "rock": Groove(
        {"kick": "X.....x.X.x.....", "snare": "....X.......X...", "closed": "X.x.X.x.X.x.X.x."},
        tuple((beat / 2, 0.45, 0) for beat in range(8)), "bass",
        ((0.0, 1.4), (1.5, 0.9), (2.5, 1.4)), "guitar", "lead", False, 0.0, 0.15, 0.005,
        ("DBC", "DBCM", "DBCM", "DBC"),
    ),
    "ballad": Groove(
        {"kick": "X.........x.....", "snare": "....x.......X...", "closed": "x.o.x.o.x.o.x.o."},
        ((0.0, 1.9, 0), (2.0, 1.9, 0)), "sub",
        tuple((float(beat), 0.95) for beat in range(4)), "piano", "flute", True, 0.0, 0.40, 0.004,
        ("CM", "DBC", "DBCM", "DBCM"),
    ),
}  # fmt: skip

_CHALLENGES = {  # style, kit, energy, mode, key, swing
    "arms_up": ("house", "electronic", 0.85, "minor", 9, 0.0),
    "side_step": ("funk", "acoustic", 0.70, "minor", 4, 0.12),
    "wave": ("rnb", "soft", 0.25, "major", 5, 0.25),
    "squat_drop": ("reggaeton", "latin", 0.75, "minor", 11, 0.0),
    "cross_arms": ("synthwave", "808", 0.55, "minor", 2, 0.0),
    "kick": ("edm", "electronic", 1.00, "major", 6, 0.0),
    "spin_hands": ("garage", "electronic", 0.65, "minor", 7, 0.30),
    "hip_sway": ("afro", "latin", 0.50, "major", 0, 0.08),
}


def style_of(name: str) -> TrackStyle:
    """Properties of a track of DANCES or OTHER_TRACKS. Raises KeyError: there is no such track."""
    if name in OTHER_TRACKS:
        return draw_style(_OTHER_SEED + OTHER_TRACKS.index(name), name)
    style, kit, energy, mode, key, swing = _CHALLENGES[name]
    return TrackStyle(name, style, kit, energy, mode, key, choreography(name).bpm, swing, DANCES.index(name))


def draw_style(seed: int, name: str = "") -> TrackStyle:
    """A random track: any style with any kit, key and mode."""
    rng = np.random.default_rng((seed, 31))
    return TrackStyle(
        name=name or f"track_{seed}",
        style=str(rng.choice(list(GROOVES))),
        kit=str(rng.choice(list(KITS))),
        energy=round(float(rng.uniform(0.1, 1.0)), 3),
        mode=MODES[int(rng.integers(2))],
        key=int(rng.integers(12)),
        bpm=round(float(rng.uniform(*OTHER_BPM)), 1),
        swing=round(float(rng.choice((0.0, rng.uniform(0.05, 0.33)))), 3),
        seed=seed,
    )

"""One person's performance of a dance: the choreography, changed by skill, style and planted faults.

The pose is a function of the moment, never of the moments before: any frame rate samples the same motion.
"""

from dataclasses import dataclass

import numpy as np

from simulation.dancers.body import LIMB_COLUMNS, NEUTRAL, POSE, POSE_INDEX, place_joints
from simulation.dancers.choreography import Dance, choreography, limb_at, smoothstep
from simulation.script import LIMBS, Fault, Motion, Person, Skill

# Effects of the worst of each skill, chosen so that 0.1 and 0.9 differ at a glance and survive a pose network's noise.
DELAY_BEATS = 0.34  # spread of the limbs' constant delays
JITTER_BEATS = 0.15  # deviation of each limb from its constant delay, from beat to beat
SMALLEST = 0.5  # remaining share of a movement
UNEVEN = 0.15  # difference of that share between limbs
SWAY_M = 0.09
SWAY_RAD_PER_M = np.radians(10) / SWAY_M  # the trunk leans as far as the hips are off
FEET_M = 0.05  # displacement of the feet
SHIFT_S = 1.3  # between two shifts of a foot
TEMPO = 0.02
STYLE_DEG = 3.0  # harmless offsets of angles
JITTER_TABLE = 67  # beats until the jitter repeats
SHIFT_TABLE = 61
FAULT_SWAY_HZ = 0.8
RAMP_S = 0.4  # in which a fault begins and ends


@dataclass(frozen=True)
class _Habits:
    """Random parts of a performance, drawn independently of the skill: changing one component changes only that."""

    tempo: float  # factor
    phase: float  # beats
    style: np.ndarray  # [len(POSE)] added to every pose
    delay: np.ndarray  # [limbs] 0..1
    jitter: np.ndarray  # [JITTER_TABLE, limbs] -1..1
    uneven: np.ndarray  # [limbs] mean 0
    sway_hz: np.ndarray  # [4, 2] pelvis x and z, trunk pitch and roll
    sway_phase: np.ndarray  # [4, 2]
    shift: np.ndarray  # [SHIFT_TABLE, 2 feet, 2] -1..1 out and ahead
    shift_phase: float


def draw_skill(rng: np.random.Generator) -> Skill:
    """Random skill: an evenly spread talent that all components share, plus each component's own deviation."""
    talent = rng.uniform(0.05, 0.95)
    timing, amplitude, sharpness, balance = np.clip(talent + rng.normal(0.0, 0.18, 4), 0.0, 1.0)
    return Skill(float(timing), float(amplitude), float(sharpness), float(balance))


def perform(dance: str, person: Person, seconds: np.ndarray) -> Motion:
    """Joints and head of a person at `seconds` float64 [T] from the clip's start, ascending at any spacing.

    The dancer is at the origin facing +z, feet on the floor y = 0 (ball at 0.025 m, ankle at 0.08 m); `x_m`, `z_m` and
    `turn` are not applied.

    Raises:
        KeyError: the dance is unknown.
        ValueError: times are not one ascending row, or a fault's kind or limb does not exist.
    """
    seconds = np.asarray(seconds, np.float64)
    if seconds.ndim != 1 or (np.diff(seconds) < 0).any():
        raise ValueError(f"seconds must be one ascending row of times, not of shape {seconds.shape} or out of order")
    for fault in person.faults:
        _check(fault)
    steps, habits, skill = choreography(dance), _habits(person.seed), person.skill

    pose = np.empty((len(seconds), len(POSE)))
    for index, limb in enumerate(LIMBS):
        columns = LIMB_COLUMNS[limb]
        beat = _beat(steps, habits, seconds - _lateness(person, limb, seconds), index, skill.timing)
        away = limb_at(steps, limb, beat, skill.sharpness) - NEUTRAL[columns]
        if limb == "trunk":
            away[:, 1] += steps.bounce * (0.5 + 0.5 * np.cos(2 * np.pi * beat))
        size = SMALLEST + (1 - SMALLEST) * skill.amplitude
        size *= 1 + UNEVEN * (1 - skill.amplitude) * habits.uneven[index]
        scale = np.full(len(seconds), size)
        for fault in person.faults:
            if fault.kind == "small" and fault.limb == limb:
                scale *= 1 - fault.size * _window(fault, seconds)
        pose[:, columns] = NEUTRAL[columns] + away * scale[:, None]
    pose += habits.style
    _lose_balance(pose, habits, seconds, person)
    points, head = place_joints(person.body, pose)
    return Motion(points, head)


def music_clock(dance: str, person: Person) -> tuple[float, float]:
    """Beat of the music that a person dances to: its value at the clip's start, and beats a second."""
    habits = _habits(person.seed)
    return habits.phase, choreography(dance).bpm * habits.tempo / 60


def limb_delays(dance: str, person: Person, seconds: np.ndarray) -> np.ndarray:
    """How long each limb of LIMBS is behind the person's music at `seconds` [T], float64 [len(LIMBS), T] s."""
    steps, habits = choreography(dance), _habits(person.seed)
    phase, beats_a_second = music_clock(dance, person)
    return np.stack(
        [
            seconds + (phase - _beat(steps, habits, seconds - late, index, person.skill.timing)) / beats_a_second
            for index, late in enumerate(_lateness(person, limb, seconds) for limb in LIMBS)
        ]
    )


def _lateness(person: Person, limb: str, seconds: np.ndarray) -> np.ndarray:
    """Delay of a limb by planted faults at `seconds` [T], s."""
    late = np.zeros(len(seconds))
    for fault in person.faults:
        if fault.kind == "late" and fault.limb == limb:
            late += _window(fault, seconds) * fault.size
    return late


def _habits(seed: int) -> _Habits:
    common, style, mistakes = (np.random.default_rng((seed, stream)) for stream in range(3))
    signs = mistakes.choice((-1.0, 1.0), (JITTER_TABLE, len(LIMBS)))
    uneven = mistakes.permutation(np.linspace(-1.0, 1.0, len(LIMBS)))
    return _Habits(
        tempo=1 + common.uniform(-TEMPO, TEMPO),
        phase=common.uniform(0.0, 16.0),
        style=_style(style),
        delay=mistakes.permutation(np.linspace(0.0, 1.0, len(LIMBS))),
        jitter=signs * mistakes.uniform(0.6, 1.0, (JITTER_TABLE, len(LIMBS))),
        uneven=uneven,
        sway_hz=np.stack([mistakes.uniform(0.22, 0.32, 4), mistakes.uniform(0.40, 0.55, 4)], axis=1),
        sway_phase=mistakes.uniform(0.0, 2 * np.pi, (4, 2)),
        shift=mistakes.choice((-1.0, 1.0), (SHIFT_TABLE, 2, 2)) * mistakes.uniform(0.5, 1.0, (SHIFT_TABLE, 2, 2)),
        shift_phase=mistakes.uniform(0.0, 1.0),
    )


def _style(rng: np.random.Generator) -> np.ndarray:
    """Random posture [len(POSE)]: some degrees, and a hundredth or two of a leg's length for feet and hips."""
    angle = np.array([not name.endswith((".out", ".lift", ".ahead", ".x", ".drop", ".z")) for name in POSE])
    style = np.where(angle, STYLE_DEG * np.clip(rng.normal(size=len(POSE)), -2, 2), 0.0)
    for limb in ("left_leg", "right_leg"):
        style[POSE_INDEX[f"{limb}.point"]] = 0.0  # or nobody could put a foot flat
        style[POSE_INDEX[f"{limb}.out"]] = rng.uniform(-0.01, 0.025)
        style[POSE_INDEX[f"{limb}.ahead"]] = rng.uniform(-0.015, 0.015)
    style[POSE_INDEX["trunk.drop"]] = rng.uniform(0.0, 0.02)
    return style


def _beat(dance: Dance, habits: _Habits, seconds: np.ndarray, limb: int, timing: float) -> np.ndarray:
    """Beats [T] of a limb, which are later than the music's the poorer the timing."""
    music = seconds * dance.bpm * habits.tempo / 60 + habits.phase
    whole = np.floor(music).astype(int)
    part = smoothstep(music - whole)
    table = habits.jitter[:, limb]
    stray = table[whole % JITTER_TABLE] * (1 - part) + table[(whole + 1) % JITTER_TABLE] * part
    return music - (1 - timing) * (DELAY_BEATS * habits.delay[limb] + JITTER_BEATS * stray)


def _lose_balance(pose: np.ndarray, habits: _Habits, seconds: np.ndarray, person: Person) -> None:
    """Add the sway and shifting feet of poor balance, and the sway of faults, to poses [T, len(POSE)] in place."""
    lack, leg = 1 - person.skill.balance, person.body.leg_length
    waves = np.sin(2 * np.pi * habits.sway_hz[:, :, None] * seconds + habits.sway_phase[:, :, None])  # [4, 2, T]
    sway = lack * SWAY_M * (waves[:, 0] + 0.5 * waves[:, 1]) / 1.3
    for fault in person.faults:
        if fault.kind == "unsteady":
            turns = 2 * np.pi * FAULT_SWAY_HZ * seconds + habits.sway_phase[:, 0, None]
            sway += fault.size * _window(fault, seconds) * np.sin(turns)
    pose[:, POSE_INDEX["trunk.x"]] += sway[0] / leg
    pose[:, POSE_INDEX["trunk.z"]] += 0.6 * sway[1] / leg
    pose[:, POSE_INDEX["trunk.pitch"]] += np.degrees(0.7 * SWAY_RAD_PER_M * sway[2])
    pose[:, POSE_INDEX["trunk.roll"]] += np.degrees(SWAY_RAD_PER_M * sway[3])

    for foot, limb in enumerate(("left_leg", "right_leg")):
        clock = seconds / SHIFT_S + habits.shift_phase + 0.5 * foot  # the feet take turns
        whole = np.floor(clock).astype(int)
        smooth = smoothstep(np.clip((clock - whole) / 0.3, 0.0, 1.0))[:, None]
        table = habits.shift[:, foot]
        shift = table[(whole - 1) % SHIFT_TABLE] * (1 - smooth) + table[whole % SHIFT_TABLE] * smooth
        pose[:, POSE_INDEX[f"{limb}.out"]] += lack * FEET_M * shift[:, 0] / leg
        pose[:, POSE_INDEX[f"{limb}.ahead"]] += lack * FEET_M * shift[:, 1] / leg


def _window(fault: Fault, seconds: np.ndarray) -> np.ndarray:
    """Weights [T]: 1 while a fault lasts, 0 outside, smooth between, so slowly that a late limb never goes back."""
    ramp = max(RAMP_S, 2 * fault.size) if fault.kind == "late" else RAMP_S
    ramp = min(ramp, (fault.end_s - fault.start_s) / 2)
    return smoothstep(np.clip(np.minimum(seconds - fault.start_s, fault.end_s - seconds) / ramp, 0.0, 1.0))


def _check(fault: Fault) -> None:
    if fault.kind not in ("late", "small", "unsteady") or fault.limb not in LIMBS:
        raise ValueError(f"no fault {fault.kind!r} of {fault.limb!r}; kinds are late, small, unsteady, limbs {LIMBS}")
    if fault.kind == "unsteady" and fault.limb != "trunk":
        raise ValueError(f"only the trunk can be unsteady, not {fault.limb!r}")
    if not fault.end_s > fault.start_s:
        raise ValueError(f"a fault must end after it starts, not {fault.start_s} s to {fault.end_s} s")

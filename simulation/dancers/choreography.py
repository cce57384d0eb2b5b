"""Choreographies of the eight challenges, as key poses on beats and half-beats, as dance teachers write them down.

Every dance is written for eight beats and repeated mirrored, so a loop is sixteen beats long and uses both arms, both
legs and the trunk.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from simulation.dancers.body import LEG, LIMB_COLUMNS, NEUTRAL, NEUTRAL_ARM, NEUTRAL_LEG, POSE, POSE_INDEX
from simulation.script import DANCES

# Postures of an arm: forward, up, twist, elbow, wrist (degrees; see body.ARM).
ARMS = {
    "down": NEUTRAL_ARM,
    "up": (12.0, 76.0, 12.0, 14.0, 0.0),
    "vee": (8.0, 48.0, 0.0, 10.0, 0.0),
    "tee": (6.0, 2.0, 0.0, 8.0, 0.0),
    "low": (8.0, -42.0, 0.0, 14.0, 10.0),
    "goal": (18.0, 4.0, 82.0, 88.0, 0.0),  # goalpost: forearm up
    "drop": (12.0, 6.0, -82.0, 85.0, 0.0),  # scarecrow: forearm hangs
    "front": (80.0, 2.0, 20.0, 10.0, 0.0),
    "punch": (88.0, 8.0, 30.0, 8.0, -6.0),
    "fist": (28.0, -66.0, 28.0, 122.0, 0.0),  # cocked beside the chest
    "hip": (-26.0, -48.0, -52.0, 92.0, 20.0),
    "head": (-22.0, 44.0, 84.0, 108.0, 10.0),  # hand behind the head
    "cross": (58.0, -46.0, 2.0, 118.0, 0.0),  # hand at the other shoulder
    "clap": (52.0, -46.0, -6.0, 88.0, 0.0),
    "over": (98.0, 4.0, 12.0, 26.0, 0.0),  # straight across the body
    "point": (40.0, 40.0, 0.0, 8.0, 0.0),  # up and ahead
    "sweep": (84.0, -52.0, 0.0, 22.0, 0.0),  # low across the other thigh
    "knee": (62.0, -62.0, -8.0, 24.0, 0.0),  # hands towards the knees
    "back": (-46.0, -66.0, 0.0, 14.0, 0.0),  # thrown back
    "roll_high": (58.0, -40.0, -24.0, 96.0, 0.0),  # forearms roll about each other
    "roll_low": (30.0, -66.0, -34.0, 76.0, 0.0),
    "sky_high": (66.0, 44.0, 30.0, 82.0, 0.0),  # the same before the face and above
    "sky_low": (62.0, 12.0, 20.0, 92.0, 0.0),
    "crest": (8.0, 26.0, -88.0, 52.0, -46.0),  # an arm wave: elbow, then wrist, then fingers highest
    "curl": (8.0, 8.0, -88.0, 14.0, 44.0),
    "trough": (8.0, -22.0, -88.0, 10.0, -40.0),
}

# Postures of a leg: out, lift, ahead (leg lengths from under the hip), turnout, point (degrees; see body.LEG).
LEGS = {
    "stand": NEUTRAL_LEG,
    "close": (0.0, 0.0, 0.0, 6.0, 0.0),
    "wide": (0.19, 0.0, 0.0, 20.0, 0.0),
    "wider": (0.31, 0.0, 0.0, 36.0, 0.0),
    "tap": (0.36, 0.0, 0.06, 24.0, 34.0),  # toes touch the floor at the side
    "heel": (0.06, 0.0, 0.36, 8.0, -28.0),
    "behind": (-0.20, 0.0, -0.22, 18.0, 40.0),
    "over": (-0.27, 0.0, 0.17, -4.0, 12.0),  # crosses in front
    "knee": (0.05, 0.42, 0.24, 10.0, 32.0),
    "kick": (0.03, 0.52, 0.76, 6.0, 22.0),
    "low_kick": (-0.06, 0.20, 0.50, 8.0, 24.0),
    "side_kick": (0.62, 0.40, 0.06, 24.0, 16.0),
    "flick": (0.10, 0.40, -0.34, 10.0, 62.0),  # heel to the seat
    "lunge": (0.42, 0.0, 0.08, 44.0, 0.0),
    "bent": (0.05, 0.0, 0.10, 4.0, 38.0),  # heel up, knee pushed in: the weight is on the other leg
    "meet": (-0.28, 0.0, 0.0, 4.0, 20.0),  # beside a foot that has stepped out
}


@dataclass(frozen=True)
class Dance:
    """One choreography, looped."""

    name: str  # of DANCES
    bpm: float
    bounce: float  # leg lengths that the hips go down on every beat
    beats: np.ndarray  # float64 [K] ascending, the first at 0
    poses: np.ndarray  # float64 [K, len(POSE)]
    loop: float  # beats until the first pose comes again


def _step(
    beat: float, left_arm: str, right_arm: str, left_leg: str, right_leg: str, turn: float = 0.0, **trunk: float
) -> tuple[float, np.ndarray]:
    """Beat and pose of one key pose; `turn` degrees to the left of the whole body, `trunk` parameters of body.TRUNK."""
    pose = NEUTRAL.copy()
    pose[LIMB_COLUMNS["left_arm"]], pose[LIMB_COLUMNS["right_arm"]] = ARMS[left_arm], ARMS[right_arm]
    for name, value in trunk.items():
        pose[POSE_INDEX[f"trunk.{name}"]] = value
    pose[POSE_INDEX["trunk.hip_yaw"]] += turn
    x, drop, z = pose[POSE_INDEX["trunk.x"] : POSE_INDEX["trunk.z"] + 1]
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    for limb, leg, sign in (("left_leg", left_leg, 1.0), ("right_leg", right_leg, -1.0)):
        out, lift, ahead, turnout, point = LEGS[leg]
        hip = sign * 0.11  # half of the hips' width in leg lengths
        side, front = (hip + sign * out) * cos + ahead * sin, ahead * cos - (hip + sign * out) * sin
        pose[LIMB_COLUMNS[limb]] = sign * (side - hip), lift, front, turnout + sign * turn, point
        if lift == 0:  # a standing leg must reach: wide steps lower the hips
            apart = (side - hip * cos - x) ** 2 + (front + hip * sin - z) ** 2
            drop = max(drop, 0.97 - np.sqrt(max(0.985**2 - apart, 0.0)))
    pose[POSE_INDEX["trunk.drop"]] = drop
    return beat, pose


def _mirrored(pose: np.ndarray) -> np.ndarray:
    """The pose with left and right exchanged."""
    other = pose.copy()
    for a, b in (("left_arm", "right_arm"), ("left_leg", "right_leg")):
        other[LIMB_COLUMNS[a]], other[LIMB_COLUMNS[b]] = pose[LIMB_COLUMNS[b]], pose[LIMB_COLUMNS[a]]
    for index, name in enumerate(POSE):
        if name == "trunk.x" or name.endswith(("yaw", "roll")):
            other[index] = -pose[index]
    return other


_Steps = list[tuple[float, np.ndarray]]


def _arms_up() -> _Steps:
    return [
        _step(0, "up", "up", "wide", "wide"),
        _step(1, "goal", "goal", "wide", "wide", drop=0.13, pitch=6),
        _step(2, "up", "goal", "wide", "wide", x=0.07, hip_roll=-6, roll=14, head_roll=6),
        _step(3, "goal", "up", "wide", "wide", x=-0.07, hip_roll=6, roll=-14, head_roll=-6),
        _step(4, "down", "down", "wide", "wide", drop=0.24, hip_pitch=14, pitch=18, head_pitch=-10),
        _step(5, "vee", "vee", "knee", "stand", x=-0.09, pitch=-8),
        _step(6, "up", "hip", "lunge", "stand", x=0.16, drop=0.10, roll=-10),
        _step(7, "up", "up", "tap", "stand", x=-0.08, roll=-8, head_roll=-6),
    ]


def _side_step() -> _Steps:
    return [
        _step(0, "tee", "over", "lunge", "stand", x=0.16, yaw=10),
        _step(1, "clap", "clap", "wider", "meet", x=0.27, drop=0.04),
        _step(2, "over", "tee", "wider", "stand", x=0.10, yaw=-10),
        _step(3, "clap", "clap", "close", "close", drop=0.05),
        _step(4, "low", "low", "lunge", "stand", x=0.18, turn=18, drop=0.12, pitch=8),
        _step(5, "sweep", "back", "wider", "behind", x=0.22, turn=18, drop=0.10, yaw=-14, pitch=10),
        _step(6, "vee", "low", "tap", "stand", x=-0.06, roll=-10, hip_yaw=-10),
        _step(7, "down", "vee", "close", "close", drop=0.08, roll=8),
    ]


def _wave() -> _Steps:
    return [
        _step(0, "tee", "tee", "wide", "wide"),
        _step(0.5, "crest", "tee", "wide", "wide", x=0.04, roll=6, hip_roll=-4),
        _step(1, "curl", "tee", "wide", "wide", x=0.06, roll=9, hip_roll=-7),
        _step(1.5, "trough", "crest", "wide", "wide", x=0.0, drop=0.05),
        _step(2, "tee", "curl", "wide", "wide", x=-0.05, roll=-8, hip_roll=7),
        _step(2.5, "tee", "trough", "wide", "wide", x=-0.03, roll=-4),
        # A body wave, from the chest down.
        _step(3, "front", "front", "stand", "heel", z=-0.07, hip_pitch=8, pitch=-20, head_pitch=-12),
        _step(4, "low", "low", "stand", "heel", z=0.09, hip_pitch=-16, pitch=8, drop=0.08),
        _step(4.5, "down", "down", "stand", "stand", z=-0.10, hip_pitch=18, pitch=22, drop=0.24, head_pitch=8),
        _step(5, "back", "back", "stand", "stand", z=-0.10, hip_pitch=34, pitch=12, drop=0.26, head_pitch=-12),
        _step(6, "vee", "vee", "tap", "stand", x=-0.07, pitch=-12, roll=-6),
        _step(7, "vee", "hip", "wide", "behind", x=0.05, turn=20, roll=6),
    ]


def _squat_drop() -> _Steps:
    return [
        _step(0, "fist", "fist", "wider", "wider", drop=0.10),
        _step(1, "knee", "knee", "wider", "wider", drop=0.42, hip_pitch=30, pitch=12, z=-0.16, head_pitch=-8),
        _step(2, "goal", "goal", "wider", "wider", drop=0.36, hip_pitch=8, z=-0.06),
        _step(3, "up", "up", "wide", "wide", pitch=-6),
        _step(4, "tee", "head", "lunge", "wide", x=0.20, drop=0.22, roll=12),
        _step(5, "head", "tee", "lunge", "wide", x=0.0, drop=0.38, hip_pitch=14, roll=-12),
        _step(6, "front", "front", "wider", "wider", drop=0.40, hip_pitch=20, z=-0.12, turn=-14),
        _step(7, "low", "low", "knee", "stand", x=-0.09, pitch=10),
    ]


def _cross_arms() -> _Steps:
    return [
        _step(0, "cross", "cross", "stand", "stand", drop=0.07, head_pitch=14),
        _step(1, "low", "low", "tap", "stand", x=-0.07, roll=-6),
        _step(2, "cross", "low", "over", "stand", x=-0.06, drop=0.09, turn=-10, yaw=-12),
        _step(3, "tee", "tee", "wide", "wide"),
        _step(4, "over", "over", "stand", "stand", drop=0.16, hip_pitch=10, pitch=14, head_pitch=-6),
        _step(5, "drop", "goal", "wide", "stand", x=0.08, hip_roll=-6, roll=8),
        _step(6, "goal", "drop", "stand", "over", x=0.06, drop=0.08, roll=-8, yaw=12),
        _step(7, "cross", "vee", "wide", "tap", x=0.08, roll=8, head_roll=8),
    ]


def _kick() -> _Steps:
    return [
        _step(0, "fist", "fist", "stand", "stand", drop=0.08, pitch=6),
        _step(1, "back", "front", "kick", "stand", x=-0.10, z=-0.03, hip_pitch=-8, pitch=6, yaw=14),
        _step(2, "fist", "fist", "wide", "stand", drop=0.12, pitch=8),
        _step(3, "punch", "fist", "wide", "wide", yaw=-26, drop=0.10, x=0.04),
        _step(4, "fist", "punch", "wide", "wide", yaw=26, drop=0.10, x=-0.04),
        _step(5, "low", "up", "side_kick", "stand", x=-0.12, hip_roll=-10, roll=-8, head_roll=6),
        _step(6, "fist", "fist", "stand", "stand", drop=0.12, turn=16),
        _step(7, "sweep", "low", "stand", "flick", x=0.09, roll=6, hip_pitch=6, turn=16),
    ]


def _spin_hands() -> _Steps:
    return [
        _step(0, "roll_high", "roll_low", "wide", "wide", drop=0.10, pitch=10),
        _step(0.5, "roll_low", "roll_high", "wide", "wide", drop=0.13, pitch=12, x=0.03),
        _step(1, "roll_high", "roll_low", "wide", "wide", drop=0.16, pitch=14, x=0.06, hip_roll=-5),
        _step(1.5, "roll_low", "roll_high", "wide", "bent", drop=0.10, pitch=8, x=0.08, hip_roll=-7, turn=15),
        _step(2, "sky_high", "sky_low", "wide", "bent", x=0.09, pitch=-4, hip_roll=-7, turn=30),
        _step(2.5, "sky_low", "sky_high", "wide", "bent", x=0.07, pitch=-6, turn=30),
        _step(3, "sky_high", "sky_low", "wide", "wide", pitch=-6, drop=0.05, turn=12),
        _step(4, "vee", "vee", "stand", "low_kick", x=0.10, pitch=-4),
        _step(5, "roll_low", "vee", "wide", "wide", x=-0.08, roll=-12, drop=0.10, hip_roll=4),
        _step(6, "vee", "roll_low", "heel", "stand", x=-0.05, roll=10, z=-0.04),
        _step(7, "hip", "up", "stand", "tap", x=0.06, roll=10, turn=-16),
    ]


def _hip_sway() -> _Steps:
    return [
        _step(0, "hip", "hip", "stand", "bent", x=0.13, hip_roll=-11, roll=17, drop=0.04),
        _step(1, "hip", "hip", "bent", "stand", x=-0.13, hip_roll=11, roll=-17, drop=0.04),
        _step(2, "head", "hip", "stand", "bent", x=0.13, hip_roll=-11, roll=17, drop=0.04),
        _step(3, "head", "head", "bent", "stand", x=-0.13, hip_roll=11, roll=-17, drop=0.04),
        # A circle of the hips, going down.
        _step(4, "low", "low", "wide", "wide", z=0.10, hip_pitch=-14, pitch=16, drop=0.12),
        _step(5, "low", "low", "wide", "wide", x=0.14, hip_roll=-10, roll=16, drop=0.20, hip_yaw=-16, yaw=16),
        _step(6, "up", "low", "wide", "wide", z=-0.12, hip_pitch=22, pitch=-4, drop=0.22),
        _step(7, "point", "hip", "stand", "behind", x=0.08, roll=10, hip_roll=-6, turn=14),
    ]


_DANCES = {  # key poses, beats a minute, bounce
    "arms_up": (_arms_up, 120.0, 0.020),
    "side_step": (_side_step, 112.0, 0.026),
    "wave": (_wave, 100.0, 0.008),
    "squat_drop": (_squat_drop, 108.0, 0.012),
    "cross_arms": (_cross_arms, 116.0, 0.022),
    "kick": (_kick, 128.0, 0.016),
    "spin_hands": (_spin_hands, 124.0, 0.020),
    "hip_sway": (_hip_sway, 104.0, 0.010),
}
HALF = 8.0  # beats before the mirror image
QUICK_BEATS = 0.48  # how long a perfectly sharp move takes: a quarter of a second
UNREACHED = 0.22  # share of the way to its neighbours by which a pose without sharpness is missed


def smoothstep(x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 to 1 for x from 0 to 1, level at both ends."""
    return x * x * (3 - 2 * x)


@cache
def choreography(dance: str) -> Dance:
    """The dance of that name. Raises KeyError: the name is not in DANCES."""
    if dance not in _DANCES:
        raise KeyError(f"no dance {dance!r}; there are {', '.join(DANCES)}")
    half, bpm, bounce = _DANCES[dance]
    steps = half()
    steps += [(beat + HALF, _mirrored(pose)) for beat, pose in steps]
    beats = np.array([beat for beat, _ in steps])
    poses = np.stack([pose for _, pose in steps])
    beats.setflags(write=False)
    poses.setflags(write=False)
    return Dance(dance, bpm, bounce, beats, poses, 2 * HALF)


def limb_at(dance: Dance, limb: str, beat: np.ndarray, sharpness: float) -> np.ndarray:
    """Parameters of a limb float64 [T, columns of the limb] at beats [T], any real numbers.

    Sharpness is 0..1 as in Skill. The middle of a move is the same at every sharpness, so that sharpness does not look
    like timing.
    """
    keys = dance.poses[:, LIMB_COLUMNS[limb]]
    # Without sharpness a pose is left for the next one before it is reached.
    reached = keys + UNREACHED * (1 - sharpness) * (0.5 * (np.roll(keys, 1, axis=0) + np.roll(keys, -1, axis=0)) - keys)
    if limb.endswith("leg"):  # but everybody's foot comes down
        lift = LEG.index("lift")
        reached[:, lift] = np.where(keys[:, lift] > 0, reached[:, lift], 0.0)
    beat = np.mod(beat, dance.loop)
    start = np.searchsorted(dance.beats, beat, side="right") - 1
    ends = np.append(dance.beats[1:], dance.loop)
    interval = (ends - dance.beats)[start]
    done = (beat - dance.beats[start]) / interval
    quick = np.minimum(QUICK_BEATS / interval, 1.0)  # share of the interval that the move takes
    share = quick + (1 - quick) * (1 - sharpness)
    moved = smoothstep(np.clip((done - 0.5) / share + 0.5, 0.0, 1.0))[:, None]
    return reached[start] * (1 - moved) + reached[(start + 1) % len(reached)] * moved

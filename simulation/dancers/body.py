"""A body's proportions, the parameters of a pose, and the joints that follow from both.

A pose is a row of POSE numbers. Trunk, head and arms are joint angles (forward kinematics). Legs are given by the place
of each foot, and hip and knee angles are solved for (two-bone inverse kinematics), so that feet stay on the floor when
the hips move.
"""

import numpy as np

from simulation.geometry import JOINT, JOINTS
from simulation.script import LIMBS, Body

# Arms, in the frame of the chest. `forward` and `up` turn the arm away from pointing straight out to its side: (0, -90)
# hangs, (0, 90) points at the sky, (90, 0) forward, their straight mixes lie between, more than 90 in all crosses the
# body's middle. `twist` turns the elbow: at 0 it bends forward when the arm hangs, across the chest when it points
# forward; at 90 it bends upwards when the arm is out. Elbow 0 is straight, and `wrist` adds to the elbow's bend.
ARM = ("forward", "up", "twist", "elbow", "wrist")  # degrees
# Legs, on the floor. `out`, `lift` and `ahead` place the foot from where it is below its hip when standing, in leg
# lengths; `turnout` is degrees outwards; `point` degrees of heel above toe, below 0 toes up.
LEG = ("out", "lift", "ahead", "turnout", "point")
# Trunk. The pelvis's place in leg lengths (`drop` below standing); the other nine are degrees: yaw (to the left), pitch
# (forwards), roll (to the left) of the pelvis, of the chest from the pelvis, of the head from where it looks by itself.
TRUNK = (
    "x", "drop", "z", "hip_yaw", "hip_pitch", "hip_roll", "yaw", "pitch", "roll", "head_yaw", "head_pitch", "head_roll",
)  # fmt: skip
POSE = tuple(f"{limb}.{name}" for limb, names in zip(LIMBS, (ARM, ARM, LEG, LEG, TRUNK), strict=True) for name in names)
POSE_INDEX = {name: index for index, name in enumerate(POSE)}
LIMB_COLUMNS = {  # of a pose, by limb
    limb: slice(POSE_INDEX[f"{limb}.{names[0]}"], POSE_INDEX[f"{limb}.{names[-1]}"] + 1)
    for limb, names in zip(LIMBS, (ARM, ARM, LEG, LEG, TRUNK), strict=True)
}

NEUTRAL_ARM = (6.0, -79.0, 0.0, 16.0, 4.0)
NEUTRAL_LEG = (0.03, 0.0, 0.0, 9.0, 0.0)
# float64 [len(POSE)] at ease, the feet under the hips
NEUTRAL = np.array([*NEUTRAL_ARM * 2, *NEUTRAL_LEG * 2, *[0.0] * len(TRUNK)])

ANKLE_M = 0.08  # above the floor
TOE_M = 0.025  # the ball of the foot, above the floor
SOFT_KNEES = 0.03  # share of the leg's length that standing with soft knees takes off
UPPER_ARM = 0.56  # share of shoulder to wrist; from Winter's segment table (0.186 and 0.146 of the height)
HAND = 0.17  # wrist to knuckles, as a share of shoulder to wrist
THIGH = 0.5  # share of hip to ankle
LOOK_AHEAD = 0.35  # share of the chest's turning that the head follows: dancers look at the camera


def draw_body(rng: np.random.Generator) -> Body:
    """Random body of a teenager or adult, 1.52 to 1.90 m; spreads of the proportions after Winter and ANSUR II."""
    height = float(np.clip(rng.normal(1.69, 0.09), 1.52, 1.90))

    def share(middle: float, spread: float) -> float:
        return float(height * (middle + spread * np.clip(rng.normal(), -2.2, 2.2)))

    return Body(
        height_m=height,
        shoulder_width=share(0.207, 0.010),
        hip_width=share(0.107, 0.006),
        arm_length=share(0.332, 0.009),
        leg_length=share(0.484, 0.011),
        girth=float(np.clip(rng.normal(1.0, 0.13), 0.75, 1.4)),
        head_size=float(np.clip(rng.normal(1.0, 0.04), 0.9, 1.1)),
    )


def place_joints(body: Body, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints float64 [T, len(JOINTS), 3] in metres and head rotations float64 [T, 3, 3] of poses [T, len(POSE)].

    The dancer faces +z. Columns of a head rotation are its left, up and forward. A foot that a leg cannot reach slides
    towards its hip, and its heel leaves the floor before its toes do.
    """
    column = dict(zip(POSE, pose.T, strict=True))
    points = np.zeros((len(pose), len(JOINTS), 3))
    leg = body.leg_length

    hips = [np.radians(column[f"trunk.hip_{axis}"]) for axis in ("yaw", "pitch", "roll")]
    bends = [np.radians(column[f"trunk.{axis}"]) for axis in ("yaw", "pitch", "roll")]
    chest = [hip + bend for hip, bend in zip(hips, bends, strict=True)]
    head = [
        LOOK_AHEAD * turned + np.radians(column[f"trunk.head_{axis}"])
        for turned, axis in zip(chest, ("yaw", "pitch", "roll"), strict=True)
    ]
    pelvis_turn, chest_turn, head_turn = turn(*hips), turn(*chest), turn(*head)
    waist_turn = turn(*(0.5 * (below + above) for below, above in zip(hips, chest, strict=True)))
    neck_turn = turn(*(0.5 * (below + above) for below, above in zip(chest, head, strict=True)))

    standing = ANKLE_M + leg * (1 - SOFT_KNEES)
    pelvis = np.stack([leg * column["trunk.x"], standing - leg * column["trunk.drop"], leg * column["trunk.z"]], axis=1)
    back, neck_length = _back_lengths(body)
    points[:, JOINT["pelvis"]] = pelvis
    points[:, JOINT["chest"]] = pelvis + waist_turn[:, :, 1] * 0.55 * back
    points[:, JOINT["neck"]] = points[:, JOINT["chest"]] + chest_turn[:, :, 1] * 0.45 * back
    points[:, JOINT["head"]] = points[:, JOINT["neck"]] + neck_turn @ np.array([0.0, neck_length, 0.02])

    for side, sign in (("left", 1.0), ("right", -1.0)):
        to_world = (chest_turn * np.array([sign, 1.0, 1.0])).transpose(0, 2, 1)  # from an arm's own axes
        angles = [np.radians(column[f"{side}_arm.{name}"]) for name in ARM]
        upper, fore, hand = (part[:, None] @ to_world for part in _arm_directions(*angles))
        shoulder = points[:, JOINT["neck"]] + chest_turn @ np.array([sign * body.shoulder_width / 2, -0.03, 0.0])
        elbow = shoulder + upper[:, 0] * body.arm_length * UPPER_ARM
        wrist = elbow + fore[:, 0] * body.arm_length * (1 - UPPER_ARM)
        points[:, JOINT[f"{side}_shoulder"]], points[:, JOINT[f"{side}_elbow"]] = shoulder, elbow
        points[:, JOINT[f"{side}_wrist"]] = wrist
        points[:, JOINT[f"{side}_hand"]] = wrist + hand[:, 0] * body.arm_length * HAND

        hip = pelvis + pelvis_turn @ np.array([sign * body.hip_width / 2, 0.0, 0.0])
        out, lift, ahead, turnout, point = (column[f"{side}_leg.{name}"] for name in LEG)
        place = np.stack([sign * (body.hip_width / 2 + leg * out), leg * lift, leg * ahead], axis=1)
        foot = (np.sin(sign * np.radians(turnout)), np.cos(np.radians(turnout)))
        knee, ankle, toe = _leg(body, hip, place, np.stack(foot, axis=1), np.radians(point), hips[0])
        points[:, JOINT[f"{side}_hip"]], points[:, JOINT[f"{side}_knee"]] = hip, knee
        points[:, JOINT[f"{side}_ankle"]], points[:, JOINT[f"{side}_toe"]] = ankle, toe
    return points, head_turn


def turn(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Rotation matrices [T, 3, 3] from radians [T]: yaw to the left, pitch forwards, roll to the left, roll first."""
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (np.cos, np.sin))
    rows = [
        [cy * cr - sy * sp * sr, cy * sr + sy * sp * cr, sy * cp],
        [-cp * sr, cp * cr, -sp],
        [-sy * cr - cy * sp * sr, -sy * sr + cy * sp * cr, cy * cp],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _back_lengths(body: Body) -> tuple[float, float]:
    """Metres from pelvis to neck, and from neck to the middle of the skull."""
    back = 0.825 * body.height_m - body.leg_length - ANKLE_M
    crown = 0.13 * body.head_size  # the middle of the skull to its top
    return back, 0.175 * body.height_m - crown


def _arm_directions(
    forward: np.ndarray, up: np.ndarray, twist: np.ndarray, elbow: np.ndarray, wrist: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors [T, 3] (outwards, up, ahead) along upper arm, forearm and hand, from radians [T].

    The upper arm is the side direction turned the shortest way by the angle hypot(forward, up): smooth everywhere but
    at pointing through the body at the other side.
    """
    swing = np.hypot(forward, up)
    sine = np.sinc(swing / np.pi)  # sin(swing) / swing
    bow = -0.5 * np.sinc(swing / (2 * np.pi)) ** 2  # (cos(swing) - 1) / swing**2
    upper = np.stack([np.cos(swing), sine * up, sine * forward], axis=1)
    turned_up = np.stack([-sine * up, 1 + bow * up * up, bow * up * forward], axis=1)
    turned_ahead = np.stack([-sine * forward, bow * up * forward, 1 + bow * forward * forward], axis=1)
    inside = np.cos(twist)[:, None] * turned_ahead + np.sin(twist)[:, None] * turned_up

    def bent(angle: np.ndarray) -> np.ndarray:
        return np.cos(angle)[:, None] * upper + np.sin(angle)[:, None] * inside

    return upper, bent(elbow), bent(elbow + wrist)


def _leg(
    body: Body, hip: np.ndarray, place: np.ndarray, foot: np.ndarray, point: np.ndarray, hip_yaw: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knee, ankle and toe [T, 3] of the leg from a hip [T, 3] to a foot at `place` [T, 3].

    `foot` [T, 2] is the unit direction x, z of the foot; `point` and `hip_yaw` are radians [T].
    """
    leg, thigh = body.leg_length, body.leg_length * THIGH
    length = 0.11 * body.height_m  # heel side to ball, along the floor
    flat = np.arctan2(ANKLE_M - TOE_M, length)
    bone = np.hypot(ANKLE_M - TOE_M, length)
    slope = flat + point
    ankle_y = place[:, 1] + _smooth_max(TOE_M + bone * np.sin(slope), ANKLE_M, 0.004)
    toe_y = ankle_y - bone * np.sin(slope)
    ankle = np.stack([place[:, 0], ankle_y, place[:, 2]], axis=1)
    ankle[:, [0, 2]] += foot * (length - bone * np.cos(slope))[:, None]  # the ball of the foot stays, the heel rises

    # Within reach: first along the floor, so that the foot stays down, then along the leg.
    reach = ankle - hip
    room = _smooth_max((0.99 * leg) ** 2 - reach[:, 1] ** 2, 0.0, (0.05 * leg) ** 2)
    shrink = (1 + ((reach[:, 0] ** 2 + reach[:, 2] ** 2) / room) ** 6) ** (-1 / 12)
    reach[:, [0, 2]] *= shrink[:, None]
    distance = np.linalg.norm(reach, axis=1)
    along = reach / distance[:, None]
    distance = -_smooth_max(-distance, -0.995 * leg, 0.01 * leg)
    distance = _smooth_max(distance, 0.36 * leg, 0.01 * leg)  # heel to seat
    ankle = hip + along * distance[:, None]

    # The knee bends the way between where hip and foot look, carried along as the leg swings up from hanging.
    way = np.arctan2(foot[:, 0], foot[:, 1]) * 0.5 + hip_yaw * 0.5
    ahead = np.stack([np.sin(way), np.zeros_like(way), np.cos(way)], axis=1)
    slant = (ahead * along).sum(axis=1) / np.maximum(1 - along[:, 1], 1e-3)
    bend = ahead - slant[:, None] * (along - np.array([0.0, 1.0, 0.0]))
    half = (distance**2 + thigh**2 - (leg - thigh) ** 2) / (2 * distance)
    knee = hip + along * half[:, None] + bend * np.sqrt(thigh**2 - half**2)[:, None]

    sine = np.clip((ankle[:, 1] - toe_y) / bone, -0.98, 0.98)
    toe = ankle + bone * np.stack([foot[:, 0] * np.sqrt(1 - sine**2), -sine, foot[:, 1] * np.sqrt(1 - sine**2)], axis=1)
    return knee, ankle, toe


def _smooth_max(a: np.ndarray, b: np.ndarray | float, width: float) -> np.ndarray:
    """Maximum of two, rounded off where they are within about `width` of each other."""
    return 0.5 * (a + b + np.sqrt((a - b) ** 2 + width**2))

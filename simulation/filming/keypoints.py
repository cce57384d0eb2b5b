"""Keypoints of a clip's lead as a pose network would find them, without a picture: for worlds of thousands of clips."""

import numpy as np

from simulation.dancers.performance import perform
from simulation.filming.film import place_motion
from simulation.filming.shots import cameras
from simulation.filming.visibility import BODY_KEYPOINTS, HEAD_PLACES
from simulation.geometry import JOINT
from simulation.script import ClipScript

# Errors as shares of a dancer's height in the picture, after those of the bundled pose network in the demo world: the
# median of visible joints is 0.7 % an axis, one in ten is 2.4 % off. Independent for each joint and frame.
ERROR, OUTLIER_ERROR = 0.011, 0.05
OUTLIER_SHARE, MISSED_SHARE = 0.06, 0.005  # of the joints
# Scores are spread as the network's are, and say nothing else: one that is always the same teaches a network nothing of
# a number that real clips vary.
USUAL_SCORES, SCORE_SPREAD, UNSEEN_SCORE = (0.7, 1.0), 0.1, 0.1
LEAST_SCORE = 0.35


def film_keypoints(script: ClipScript, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keypoints float64 [T, 17, 3] of the lead at `seconds` [T]: x, y in pixels of the upright frame, score 0..1.

    Joints are at their true place plus an error, occluded ones too. Joints outside of the picture, and some others,
    have UNSEEN_SCORE, others LEAST_SCORE at least.
    """
    person = script.people[0]
    motion = place_motion(perform(script.dance, person, seconds), person)
    head = motion.points[:, JOINT["head"], None] + person.body.head_size * np.einsum(
        "tij,kj->tki", motion.head, HEAD_PLACES
    )
    world = np.concatenate([head, motion.points[:, list(BODY_KEYPOINTS)]], 1)
    views = cameras(script.shots, seconds, script.phone.width, script.phone.height)
    pixels = np.stack([camera.project(joints)[0] for camera, joints in zip(views, world, strict=True)])
    inside = ((pixels >= 0) & (pixels < (script.phone.width, script.phone.height))).all(2)
    height = np.median(np.ptp(pixels[..., 1], axis=1))
    error = np.where(rng.random(inside.shape) < OUTLIER_SHARE, OUTLIER_ERROR, ERROR) * height
    noisy = pixels + rng.normal(size=pixels.shape) * error[..., None]
    seen = inside & (rng.random(inside.shape) >= MISSED_SHARE)
    score = rng.normal(rng.uniform(*USUAL_SCORES), SCORE_SPREAD, inside.shape).clip(LEAST_SCORE, 1)
    return np.concatenate([noisy, np.where(seen, score, UNSEEN_SCORE)[..., None]], 2)

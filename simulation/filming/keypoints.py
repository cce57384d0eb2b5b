"""A clip's lead as a pose network would find her, without drawing a picture: for worlds of thousands of clips."""

import numpy as np

from simulation.dancers.performance import perform
from simulation.filming.film import placed
from simulation.filming.shots import cameras
from simulation.filming.visibility import BODY_KEYPOINTS, HEAD_PLACES
from simulation.geometry import J
from simulation.script import ClipScript

# Of a dancer's height in the picture: what the bundled pose network misses the truth by in the demo world: the
# median of visible joints is 0.7 % an axis, one in ten is 2.4 % off. Each joint and frame by itself.
ERROR, WILD_ERROR = 0.011, 0.05
WILD, LOST = 0.06, 0.005  # shares of the joints: far off; not seen
SURE, UNSURE = 0.9, 0.1


def film_keypoints(script: ClipScript, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 [T, 17, 3] of the lead at `seconds` [T]: x, y in pixels of the upright frame, score 0..1.

    Joints are where they are, plus an error; what hides behind a limb or somebody else is found all the same. Joints
    outside of the picture, and some others, have the score of what is not seen.
    """
    person = script.people[0]
    motion = placed(perform(script.dance, person, seconds), person)
    head = motion.points[:, J["head"], None] + person.body.head_size * np.einsum(
        "tij,kj->tki", motion.head, HEAD_PLACES
    )
    world = np.concatenate([head, motion.points[:, list(BODY_KEYPOINTS)]], 1)
    views = cameras(script.shots, seconds, script.phone.width, script.phone.height)
    place = np.stack([camera.project(joints)[0] for camera, joints in zip(views, world, strict=True)])
    inside = ((place >= 0) & (place < (script.phone.width, script.phone.height))).all(2)
    height = np.median(np.ptp(place[..., 1], axis=1))
    error = np.where(rng.random(inside.shape) < WILD, WILD_ERROR, ERROR) * height
    found = place + rng.normal(size=place.shape) * error[..., None]
    seen = inside & (rng.random(inside.shape) >= LOST)
    return np.concatenate([found, np.where(seen, SURE, UNSURE)[..., None]], 2)
